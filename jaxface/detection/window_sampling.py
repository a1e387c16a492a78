"""Windows of photos for the training of DDFD: those that overlap a face by more than half, and others.

Source: Farfade, Saberian, Li, "Multi-view Face Detection Using Deep Convolutional Neural Networks", 2015: the overlap, and random windows.
The numbers of windows are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from jaxface.detection.cell_pyramid import triangle_shares, weighted
from jaxface.detection.crop_sampling import (
  Squares,
  TrainingPhoto,
  squares_about,
  squares_anywhere,
  squares_inside,
)
from jaxface.detection.detector_data import training_pixels
from jaxface.geometry.rectangles import iou
from jaxface.losses.detection import NEGATIVE, POSITIVE, TARGETS
from jaxface.losses.ranges import check_range

# A window is a face if it overlaps one by more than this, over the area of the union.
A_FACE = 0.5


@dataclass(frozen=True)
class WindowSampling:
  """How many windows are taken from a photo.

  Attributes:
    smallest: faces with a shorter side, in pixels, give no windows of their own; no window elsewhere is smaller.
    around: windows about each face, of which most overlap it by more than half.
    near: windows that touch each face, of which few do.
    anywhere: windows anywhere in a photo.
  """

  smallest: float = 16.0
  around: int = 15
  near: int = 8
  anywhere: int = 50

  def __post_init__(self) -> None:
    check_range(self, "smallest", 1)
    for name in ("around", "near", "anywhere"):
      check_range(self, name, 0)


def draw_windows(photo: TrainingPhoto, size: tuple[int, int], counts: WindowSampling, draw: np.random.Generator) -> Squares:
  """Random windows of a photo, labelled POSITIVE or NEGATIVE (`jaxface.losses.detection`); they have no offsets and no points.

  Args:
    photo: the photo.
    size: its height and width in pixels.
    counts: how many windows.
    draw: where random numbers come from.
  Returns:
    The windows that lie inside of the photo.
  """
  large_n = photo.large_faces(counts.smallest)
  drawn = [squares_anywhere(size, counts.anywhere, draw, least=counts.smallest)]
  drawn += [squares_about(photo.box_n4[face], counts.around, draw) for face in large_n]
  drawn += [squares_about(photo.box_n4[face], counts.near, draw, shift=1.0, least=0.4) for face in large_n]
  edge_n4 = np.concatenate(drawn)
  edge_n4 = edge_n4[squares_inside(edge_n4, size)]
  target_nt = np.zeros((len(edge_n4), TARGETS), np.float32)
  overlap_n = iou(edge_n4.astype(np.float64), photo.box_n4).max(-1, initial=0)
  target_nt[:, 0] = np.where(overlap_n > A_FACE, POSITIVE, NEGATIVE)
  return Squares(edge_n4, target_nt)


def resampled(photo_hwc: np.ndarray, edge_n4: np.ndarray, side: int) -> np.ndarray:
  """Squares of a photo at the size of a window, by the weights with which the detector draws its levels.

  Args:
    photo_hwc: [h, w, C] float32.
    edge_n4: [N, 4] int32 edges in pixels, inside of the photo.
    side: height and width of the results in pixels.
  Returns:
    [N, side, side, C] uint8.
  """
  found = np.zeros((len(edge_n4), side, side, photo_hwc.shape[-1]), np.uint8)
  for row, (x0, y0, x1, _) in enumerate(edge_n4.tolist()):
    scale = side / (x1 - x0)
    # Pixels beyond the square enter its edge, as they do in a level.
    more = int(np.ceil(max(1 / scale, 1.0)))
    top, left = max(y0 - more, 0), max(x0 - more, 0)
    part_hwc = photo_hwc[top : y0 + x1 - x0 + more, left : x1 + more]
    centre_s = (np.arange(side) + 0.5) / scale - 0.5
    down_sh, across_sw = (triangle_shares(centre_s + first, length, scale) for first, length in zip((y0 - top, x0 - left), part_hwc.shape))
    for colour in range(photo_hwc.shape[-1]):
      found[row, ..., colour] = np.rint(weighted(part_hwc[..., colour], down_sh, across_sw))
  return found


def window_crops(
  photos: Sequence[TrainingPhoto], counts: WindowSampling, seed: int, side: int, *, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Windows and targets of each photo.

  Args:
    photos: the photos.
    counts: how many windows of each.
    seed: any integer; each photo has draws of its own.
    side: height and width of the windows in pixels.
    progress: show a bar.
  Yields:
    [N, side, side, 3] uint8 and [N, 15] float32.
  Raises:
    DamagedData, OSError, ValueError: a photo cannot be read.
  """
  for number, photo in enumerate(tqdm(photos, desc="windows", unit="photo", disable=not progress)):
    image_hwc = training_pixels(photo)
    found = draw_windows(photo, image_hwc.shape[:2], counts, np.random.default_rng([seed, number]))
    yield resampled(image_hwc.astype(np.float32), found.edge_n4, side), found.target_nt


__all__ = ["A_FACE", "WindowSampling", "draw_windows", "resampled", "window_crops"]
