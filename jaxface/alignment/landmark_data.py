"""Training data of the landmark network: frames cut out around annotated faces, and random squares of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxface.alignment.landmark_net import SIDE
from jaxface.alignment.photo_crops import warp_photos
from jaxface.alignment.points import MIRROR_ORDER, reduce_points
from jaxface.alignment.resample import warp
from jaxface.alignment.similarity import transform_points
from jaxface.alignment.squares import point_square
from jaxface.data.fingerprint import digest
from jaxface.data.source import UnreadableRow
from jaxface.formats.images import decode_image
from jaxface.formats.landmarks import AnnotatedFace
from jaxface.models.preprocess import Preprocess

# Squares that are drawn at once.
_BATCH = 128
# A frame shows more than a square, so that squares can be moved and turned.
FRAME_SIDE = 160


class LandmarkSource:
  """Annotated faces as frames of one size, in memory; see `jaxface.data.Source`.

  Args:
    root: folder of the photos.
    faces: faces with points; each is one record.
    points: number of points of a target; those of a face are reduced to them.
    progress: show a bar.
  Attributes:
    target_nt: [N, 2·points] float32, x and y of each point in pixels of the frame.
  Raises:
    ValueError: no face, or points from which `points` do not follow.
    DamagedData: a photo cannot be read.
  """

  template = "none"
  num_identities = 1

  def __init__(self, root: Path | str, faces: Sequence[AnnotatedFace], points: int = 68, *, progress: bool = False):
    if not faces:
      raise ValueError(f"{root}: no annotated face")
    self._names = [face.file for face in faces]
    self.num_records = len(faces)
    self.label_n = np.zeros(len(faces), np.int32)
    self.image_shape = (FRAME_SIDE, FRAME_SIDE, 3)
    margin = (FRAME_SIDE - SIDE) / 2
    frames, targets = [], []
    for face in tqdm(faces, desc="annotated faces", disable=not progress):
      path = Path(root) / face.file
      photo_hwc = decode_image(path.read_bytes(), where=str(path))
      matrix_23 = point_square(face.point_k2, upright=True) + np.array([[0, 0, margin], [0, 0, margin]])
      frames.append(warp_photos([photo_hwc], [matrix_23], (FRAME_SIDE, FRAME_SIDE), border="replicate")[0])
      targets.append(np.asarray(transform_points(matrix_23, reduce_points(face.point_k2, points))).reshape(-1))
    self._frame_nhwc = np.stack(frames)
    self.target_nt = np.stack(targets).astype(np.float32)

  def names(self) -> list[str]:
    """File of each face."""
    return self._names

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Copies frames into `out`."""
    out[:] = self._frame_nhwc[record_n]
    return []

  def fingerprint(self) -> dict[str, object]:
    """Identifies photos and points."""
    return {"records": self.num_records, "sha256": digest([*self._names, self._frame_nhwc, self.target_nt])}


@dataclass(frozen=True)
class SquareJitter:
  """Random squares of a frame with their points: turned, scaled, moved and mirrored. A `JointAugmentation`.

  The strengths are those of the widest squares: each square takes a random share of them, so that squares near the mean face, as a
  second pass sees them, are frequent.

  Attributes:
    points: number of points of a target.
    degrees: largest angle.
    scale: largest factor, and its inverse.
    shift: largest move along each axis, a share of the side.
    mirror: probability of swapping left and right.
  """

  points: int = 68
  degrees: float = 25.0
  scale: float = 1.25
  shift: float = 0.12
  mirror: float = 0.5

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Shape of a frame."""
    return (FRAME_SIDE, FRAME_SIDE, 3)

  @property
  def target_size(self) -> int:
    """Numbers of a target."""
    return 2 * self.points

  def __call__(self, image_bhwc: jax.Array, target_bt: jax.Array, key_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squares [B, SIDE, SIDE, 3] of frames, and their points."""
    number_b6 = jax.vmap(lambda key: jax.random.uniform(key, (6,)))(key_b)
    share_b = number_b6[:, 0]
    turn_b, scale_b, x_b, y_b = (share_b * (2 * number_b6[:, index] - 1) for index in range(1, 5))
    angle_b, factor_b = jnp.deg2rad(self.degrees) * turn_b, self.scale**scale_b
    cos_b, sin_b = factor_b * jnp.cos(angle_b), factor_b * jnp.sin(angle_b)
    middle, to = (FRAME_SIDE - 1) / 2, (SIDE - 1) / 2
    move_x, move_y = to + self.shift * SIDE * x_b, to + self.shift * SIDE * y_b
    matrix_b23 = jnp.stack([
      jnp.stack([cos_b, -sin_b, move_x - middle * (cos_b - sin_b)], -1),
      jnp.stack([sin_b, cos_b, move_y - middle * (sin_b + cos_b)], -1),
    ], 1)
    # Frames and squares have about the same resolution.
    square_bhwc = warp(image_bhwc, matrix_b23, (SIDE, SIDE), border="replicate", antialias=False)
    point_bk2 = transform_points(matrix_b23, target_bt.reshape(len(target_bt), self.points, 2))
    mirrored = point_bk2[:, np.array(MIRROR_ORDER[self.points])] * jnp.array([-1.0, 1.0]) + jnp.array([SIDE - 1.0, 0.0])
    on_b = number_b6[:, 5] < self.mirror
    square_bhwc = jnp.where(on_b[:, None, None, None], square_bhwc[:, :, ::-1], square_bhwc)
    return square_bhwc, jnp.where(on_b[:, None, None], mirrored, point_bk2).reshape(len(target_bt), -1)


def draw_squares(source: LandmarkSource, convention: Preprocess, *, squares: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Random squares of each face: [N, SIDE, SIDE] float32 in a grey input convention, and [N, K, 2] points.

  Args:
    source: the faces.
    convention: the input convention.
    squares: number of squares of each face.
    seed: of what is random.
  """
  frame_nhwc = np.empty((source.num_records, *source.image_shape), np.uint8)
  source.read(np.arange(source.num_records), frame_nhwc)
  points = source.target_nt.shape[1] // 2
  jitter, grey, found = jax.jit(SquareJitter(points).__call__), [], []
  for turn in range(squares):
    key_n = jax.random.split(jax.random.fold_in(jax.random.key(seed), turn), source.num_records)
    for at in range(0, source.num_records, _BATCH):
      rows = slice(at, at + _BATCH)
      square_bhwc, point_bt = jitter(frame_nhwc[rows], source.target_nt[rows], key_n[rows])
      grey.append(np.asarray(convention.apply(jnp.rint(square_bhwc)))[..., 0])
      found.append(np.asarray(point_bt).reshape(-1, points, 2))
  return np.concatenate(grey), np.concatenate(found)


__all__ = ["FRAME_SIDE", "LandmarkSource", "SquareJitter", "draw_squares"]
