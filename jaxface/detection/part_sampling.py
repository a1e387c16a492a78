"""Patches with their parts of a face, and windows with and without a face, for the training of Faceness.

Labelled points give the parts as far as they reach: the place of the eyes, the nose, the mouth. They do not show hair or beard: "hair" is the
forehead and what is above it, "beard" the chin and what is beside it, whether or not there is any. The paper learns from attributes of people.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from jaxface.alignment.mean_shape import MEAN_SHAPE_68
from jaxface.alignment.points import means_matrix
from jaxface.alignment.similarity import fit_on_host
from jaxface.detection.crop_sampling import TrainingPhoto, squares_about, squares_anywhere, squares_inside
from jaxface.detection.detector_data import training_pixels
from jaxface.detection.faceness_score import WINDOW
from jaxface.detection.part_nets import PARTS, PATCH
from jaxface.detection.window_sampling import A_FACE, resampled
from jaxface.geometry.rectangles import iou
from jaxface.losses.detection import NEGATIVE, POSITIVE, TARGETS
from jaxface.losses.ranges import check_range

# Side of a face, of a square with its area, as a share of the side of its window.
FACE_SHARE = 0.65
# A patch in the same unit.
_PATCH_SHARE = PATCH / WINDOW / FACE_SHARE
_MEAN_K2 = np.array(MEAN_SHAPE_68)
_FIVE_K2 = means_matrix(68, 5) @ _MEAN_K2


def part_boxes() -> np.ndarray:
  """[5, 4] float64: where the middles of patches of `PARTS` are, x0, y0, x1, y1 in the mean face of `MEAN_SHAPE_68`; they do not overlap."""

  def about(points: slice | list[int]) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = _MEAN_K2[points].min(0), _MEAN_K2[points].max(0)
    return x0, y0, x1, y1

  eyes, nose, mouth, brows, chin = (about(points) for points in (slice(36, 48), slice(29, 36), slice(48, 68), slice(17, 27), [6, 7, 8, 9, 10]))
  face = chin[3] - brows[1]
  hair = brows[0], brows[1] - 0.6 * face, brows[2], brows[1] - 0.1 * face
  return np.array([hair, eyes, nose, mouth, (chin[0], mouth[3] + 1, chin[2], chin[3])])


@dataclass(frozen=True)
class PatchSampling:
  """How many patches and windows are taken from a photo.

  Attributes:
    smallest: faces with a shorter side, in pixels, give none.
    each: patches of each part of a face with points.
    beside: patches anywhere on such a face and beside it, most of them of no part.
    anywhere: patches anywhere in a photo.
    windows: windows about each face, and half as many beside it, for the regions of the parts.
    others: windows anywhere in a photo, likewise.
  """

  smallest: float = 16.0
  each: int = 6
  beside: int = 15
  anywhere: int = 40
  windows: int = 2
  others: int = 4

  def __post_init__(self) -> None:
    check_range(self, "smallest", 1)
    for name in ("each", "beside", "anywhere", "windows", "others"):
      check_range(self, name, 0)


def part_kinds(middle_n2: np.ndarray, point_52: np.ndarray) -> np.ndarray:
  """[N] int: 1 + p for middles of patches in the box of part p of a face, 0 for others.

  Args:
    middle_n2: [N, 2] x, y in pixels of the photo.
    point_52: [5, 2] the points of the face in the same coordinates.
  """
  matrix_23 = fit_on_host(point_52, _FIVE_K2)
  place_n12 = (middle_n2 @ matrix_23[:, :2].T + matrix_23[:, 2])[:, None]
  box_p4 = part_boxes()
  inside_np = ((place_n12 >= box_p4[:, :2]) & (place_n12 <= box_p4[:, 2:])).all(-1)
  return np.where(inside_np.any(-1), 1 + inside_np.argmax(-1), 0)


def draw_patches(photo: TrainingPhoto, size: tuple[int, int], counts: PatchSampling, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Random patches of a photo.

  Args:
    photo: the photo.
    size: its height and width in pixels.
    counts: how many patches.
    draw: where random numbers come from.
  Returns:
    [N, 4] int32 squares inside of the photo, and [N] int their kinds, see `part_kinds`.
  """
  large_n = photo.large_faces(counts.smallest)
  faces = [(box_4, np.sqrt(np.prod(box_4[2:] - box_4[:2])), point_52) for box_4, point_52 in zip(photo.box_n4[large_n], photo.point_n52[large_n])]
  squares = [squares_anywhere(size, counts.anywhere, draw, least=6)]
  for box_4, side, point_52 in faces:
    if np.isnan(point_52).any():
      continue
    matrix_23, box_p4 = fit_on_host(_FIVE_K2, point_52), np.repeat(part_boxes(), counts.each, 0)
    on_part_n2 = draw.uniform(box_p4[:, :2], box_p4[:, 2:]) @ matrix_23[:, :2].T + matrix_23[:, 2]
    beside_n2 = (box_4[:2] + box_4[2:]) / 2 + draw.uniform(-1, 1, (counts.beside, 2)) * side
    middle_n2 = np.concatenate([on_part_n2, beside_n2])
    side_n1 = np.maximum(np.round(_PATCH_SHARE * side * np.exp(draw.uniform(-0.2, 0.2, (len(middle_n2), 1)))), 1)
    low_n2 = np.round(middle_n2 - side_n1 / 2)
    squares.append(np.concatenate([low_n2, low_n2 + side_n1], -1).astype(np.int32))
  edge_n4 = np.concatenate(squares)
  edge_n4 = edge_n4[squares_inside(edge_n4, size)]
  middle_n2 = (edge_n4[:, :2] + edge_n4[:, 2:]) / 2
  kind_n = np.zeros(len(edge_n4), np.int64)
  side_n = edge_n4[:, 2] - edge_n4[:, 0]
  known_n = np.ones(len(edge_n4), bool)
  for box_4, side, point_52 in faces:
    # Patches of another size show no part.
    alike_n = np.abs(np.log(side_n / (_PATCH_SHARE * side))) < 0.35
    if np.isnan(point_52).any():
      known_n &= ~((middle_n2 >= box_4[:2] - side / 2) & (middle_n2 <= box_4[2:] + side / 2)).all(-1)
    else:
      kind_n = np.where(alike_n, np.maximum(kind_n, part_kinds(middle_n2, point_52)), kind_n)
  return edge_n4[known_n], kind_n[known_n]


def draw_face_windows(
  photo: TrainingPhoto, size: tuple[int, int], counts: PatchSampling, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Random windows of a photo: [N, 4] int32 squares inside of it, and [N] bool whether their middle overlaps a face by more than half."""
  large_n = photo.large_faces(counts.smallest)
  drawn = [squares_anywhere(size, counts.others, draw)]
  drawn += [squares_about(photo.box_n4[face], counts.windows, draw, shift=0.1) for face in large_n]
  drawn += [squares_about(photo.box_n4[face], counts.windows // 2, draw, shift=1.0, least=0.4) for face in large_n]
  inner_n4 = np.concatenate(drawn)
  half_n1 = np.round((inner_n4[:, 2:3] - inner_n4[:, :1]) / FACE_SHARE / 2)
  middle_n2 = np.round((inner_n4[:, :2] + inner_n4[:, 2:]) / 2)
  edge_n4 = np.concatenate([middle_n2 - half_n1, middle_n2 + half_n1], -1).astype(np.int32)
  inside = squares_inside(edge_n4, size) & (edge_n4[:, 2] > edge_n4[:, 0])
  overlap_n = iou(inner_n4[inside].astype(np.float64), photo.box_n4).max(-1, initial=0)
  return edge_n4[inside], overlap_n > A_FACE


def patch_crops(
  photos: Sequence[TrainingPhoto], counts: PatchSampling, seed: int, what: str, *, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Patches or windows of each photo, and their targets.

  Args:
    photos: the photos.
    counts: how many of each.
    seed: any integer; each photo has draws of its own.
    what: "patches" (of 16 pixels, kinds of `part_kinds`) or "windows" (of 48 pixels, NEGATIVE or POSITIVE).
    progress: show a bar.
  Yields:
    [N, side, side, 3] uint8 and [N, 15] float32, of which the first number is the kind.
  Raises:
    DamagedData, OSError, ValueError: a photo cannot be read.
  """
  for number, photo in enumerate(tqdm(photos, desc=what, unit="photo", disable=not progress)):
    image_hwc = training_pixels(photo)
    draw = np.random.default_rng([seed, ("patches", "windows").index(what), number])
    if what == "patches":
      edge_n4, kind_n = draw_patches(photo, image_hwc.shape[:2], counts, draw)
    else:
      edge_n4, face_n = draw_face_windows(photo, image_hwc.shape[:2], counts, draw)
      kind_n = np.where(face_n, POSITIVE, NEGATIVE)
    target_nt = np.zeros((len(edge_n4), TARGETS), np.float32)
    target_nt[:, 0] = kind_n
    yield resampled(image_hwc.astype(np.float32), edge_n4, PATCH if what == "patches" else WINDOW), target_nt


__all__ = ["FACE_SHARE", "PARTS", "PatchSampling", "draw_face_windows", "draw_patches", "part_boxes", "part_kinds", "patch_crops"]
