"""Computes the generic 3-D face of `jaxface/alignment/generic_shape.py` from the mean head of the synthetic faces.

  python docs/make_generic_shape.py shape                                   the points
  python docs/make_generic_shape.py spread DATA/photos/helen_train.json     how far measured points lie from the fitted camera's

A point has the x and y of HELEN's mean shape, in pixels of arcface112, and the depth of the head's surface there, in the same unit, towards
the viewer. A point beyond the head's outline is moved towards the middle of the face until it is on the head.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.alignment.mean_shape import MEAN_SHAPE_68
from jaxface.data import synthetic_render
from jaxface.data.synthetic_identity import mean_identity
from jaxface.data.synthetic_scene import Nuisance, draw_scene
from jaxface.data.synthetic_solid import Solid, solid, union

MIDDLE = (55.913, 72.0)
# The jaw's points, and the same moved towards the middle of the face: what the outline shows of a turned head.
MOVED = (1.0, 0.92, 0.84, 0.76)
# On the forehead and the temples, where no points are measured: the left half and the middle.
EXTRA = ((16.5, 38.0), (22.0, 25.0), (34.0, 27.0), (55.913, 28.0), (31.0, 10.0), (43.0, 7.0), (55.913, 6.0))
# Distance to the outline from which a point is on the head, in units of the distance of the eyes.
INSIDE = 0.03
JAW = 17


def mean_head(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Solid:
  """The mean head without expression, in the frame of arcface112; angles in radians."""
  scene = draw_scene(0, np.zeros(1, int), np.zeros(1, int), Nuisance(0, 0, 0, 0, 0, 0))
  angles = {name: np.array([value], np.float32) for name, value in (("yaw", yaw), ("pitch", pitch), ("roll", roll))}
  return solid(mean_identity(), scene._replace(**angles))


def to_head(shape: Solid, point_n2: np.ndarray) -> np.ndarray:
  """Pixels of arcface112 to the viewer's coordinates: complex [N]."""
  real, imaginary, left, top = shape.grid[0].astype(np.float64)
  return complex(real, imaginary) * ((np.asarray(point_n2) + 0.5) / 112 @ (1, 1j)) + complex(left, top)


def on_head(point_n2: np.ndarray, share: float = 1.0) -> np.ndarray:
  """Points of the frontal head, [N, 3] in pixels of arcface112; the mean of those of a point and of its mirror image.

  Args:
    point_n2: x and y in pixels of arcface112.
    share: of their distance from the middle of the face.
  """
  point_n2 = np.asarray(point_n2, np.float64)
  other_n3 = _one_side(point_n2 * (-1, 1) + np.array([2 * MIDDLE[0], 0]), share)
  return (_one_side(point_n2, share) + other_n3 * (-1, 1, 1) + np.array([2 * MIDDLE[0], 0, 0])) / 2


def _one_side(point_n2: np.ndarray, share: float) -> np.ndarray:
  shape, middle = mean_head(), np.array(MIDDLE)
  step_s = np.linspace(share, share - 0.45, 46)
  place_sn2 = middle + step_s[:, None, None] * (np.asarray(point_n2) - middle)
  at_sn = to_head(shape, place_sn2)
  with jax.enable_x64(True):
    surface = jax.jit(union)(shape.face[0].astype(np.float64), at_sn.real, at_sn.imag)
  first_n = np.argmax(np.asarray(surface.inside) > INSIDE, 0)
  rows = first_n, np.arange(len(first_n))
  depth_n = np.asarray(surface.depth)[rows] * 112 / abs(complex(*shape.grid[0, :2].astype(float)))
  return np.concatenate([place_sn2[rows], depth_n[:, None]], -1)


@functools.cache
def renderer(size: int) -> Callable:
  """Compiled function to [size, size, 3] from the traits of one image."""
  def one(who, scene, shape):
    return jnp.stack(synthetic_render.compose(synthetic_render.draw_layers(who, scene, synthetic_render.view(scene, shape, size)), scene), -1)

  return jax.jit(one)


def rendered(yaw: float, pitch: float, roll: float, size: int = 224) -> tuple[np.ndarray, np.ndarray]:
  """The mean head in flat light, and its 68 points in the image, the jaw's on the outline; degrees."""
  from jaxface.alignment import generic_shape

  shape = mean_head(*np.deg2rad([yaw, pitch, roll]))
  scene = draw_scene(0, np.zeros(1, int), np.zeros(1, int), Nuisance(0, 0, 0, 0, 0, 0))
  flat = scene._replace(light_colour=np.zeros((1, 3), np.float32), ambient_colour=np.ones((1, 3), np.float32))
  image = renderer(size)(*jax.tree.map(lambda leaf: np.asarray(leaf, np.float32)[0], (mean_identity(), flat, shape)))
  frontal = mean_head()
  jaw = np.stack([np.array(part) for part in (generic_shape._POINTS_68[:JAW], generic_shape._JAW_1, generic_shape._JAW_2, generic_shape._JAW_3)], 1)

  def seen(point_n3):
    at = to_head(frontal, point_n3[:, :2])
    depth = point_n3[:, 2] * abs(complex(*frontal.grid[0, :2])) / 112
    head = np.stack([at.real, at.imag, depth], -1) @ shape.turn[0].T
    real, imaginary, left, top = shape.grid[0]
    place = ((head[:, 0] + 1j * head[:, 1]) - complex(left, top)) / complex(real, imaginary)
    return size * np.stack([place.real, place.imag], -1) - 0.5

  point_k2 = seen(np.array(generic_shape._POINTS_68))
  jaw_cj2 = seen(jaw.reshape(-1, 3)).reshape(*jaw.shape[:2], 2)
  across = np.array([np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll))])
  out = np.sign(np.arange(JAW) - JAW // 2)[:, None] * (jaw_cj2 @ across)
  point_k2[:JAW] = jaw_cj2[np.arange(JAW), out.argmax(1)]
  return np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8), point_k2


def print_shape() -> None:
  """Prints the numbers as they stand in the module."""
  mean_k2 = np.array(MEAN_SHAPE_68)
  parts = {"_POINTS_68": on_head(mean_k2), "_EXTRA": on_head(np.array(EXTRA))}
  parts |= {f"_JAW_{number}": on_head(mean_k2[:17], share) for number, share in enumerate(MOVED) if number}
  for name, point_n3 in parts.items():
    rows = [f"({x:.2f}, {y:.2f}, {z:.2f})" for x, y, z in point_n3]
    print(f"{name} = (")
    for start in range(0, len(rows), 5):
      print("  " + ", ".join(rows[start : start + 5]) + ",")
    print(")")


def print_spread(file: Path) -> None:
  """Prints the deviation of each point along x and y, and the length over which deviations are alike."""
  from jaxface.alignment.camera import fit_camera, project
  from jaxface.alignment.frontal import march
  from jaxface.alignment.generic_shape import generic_shape, to_67
  from jaxface.alignment.photo_crops import align_matrix
  from jaxface.alignment.points import reduce_points
  from jaxface.alignment.similarity import transform_points
  from jaxface.formats import read_landmarks

  shape = generic_shape()
  faces = [face.point_k2 for face in read_landmarks(file, points="points68")]
  moved = [transform_points(align_matrix(np.asarray(reduce_points(point_k2, 5))), point_k2) for point_k2 in faces]
  point_nk2 = to_67(np.stack(moved))
  plain = np.eye(2 * point_nk2.shape[1])
  fitted_nk3 = np.asarray(march(point_nk2, shape, plain))
  rest_nk2 = np.asarray(point_nk2 - project(fit_camera(point_nk2, fitted_nk3, plain), fitted_nk3))
  mirrored_nk2 = rest_nk2[:, shape.mirror_v[: rest_nk2.shape[1]]] * (-1, 1)
  deviation_k2 = np.sqrt((np.concatenate([rest_nk2, mirrored_nk2]) ** 2).mean(0))
  rows = [f"({x:.2f}, {y:.2f})" for x, y in deviation_k2]
  for start in range(0, len(rows), 8):
    print("  " + ", ".join(rows[start : start + 8]) + ",")
  unit_nk2 = rest_nk2 / deviation_k2
  alike_kk = np.einsum("nik,njk->ij", unit_nk2, unit_nk2) / (2 * len(unit_nk2))
  away_kk = np.linalg.norm(shape.vertex_v3[: len(alike_kk), None, :2] - shape.vertex_v3[None, : len(alike_kk), :2], axis=-1)
  lengths = np.arange(1.0, 30, 0.5)
  off = [((alike_kk - np.exp(-away_kk / length))[away_kk > 0] ** 2).mean() for length in lengths]
  print(f"correlation length {lengths[int(np.argmin(off))]:.1f} pixels, {len(faces)} faces")


def main() -> None:
  """Prints numbers."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("what", choices=("shape", "spread"))
  parser.add_argument("file", type=Path, nargs="?", help="helen_train.json, for spread")
  options = parser.parse_args()
  if options.what == "shape":
    print_shape()
  elif options.file is None:
    parser.error("spread needs a file of faces")
  else:
    print_spread(options.file)


if __name__ == "__main__":
  main()
