"""Aligned crops of photos of any size: only the part of a photo that the crop shows goes to the device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxface.alignment.mean_shape import template_points
from jaxface.alignment.resample import Border, warp
from jaxface.alignment.similarity import fit_on_host
from jaxface.geometry import template as find_template

# Frames on the device have sides of a multiple of this, and batches one of these sizes: few shapes are compiled.
FRAME_STEP = 64
BATCHES = (1, 8, 32)


class _Cut(NamedTuple):
  """The part of a photo that a crop shows, averaged over 2^n × 2^n pixels, and the matrix from it to the crop."""

  pixel_hwc: np.ndarray
  matrix_23: np.ndarray
  averaged: int


def align(
  photo_hwc: np.ndarray, point_k2: np.ndarray, *, template: str = "arcface112", border: Border = "constant", value: float = 0.0,
) -> np.ndarray:
  """One face of a photo in the frame of a template.

  Args:
    photo_hwc: [H, W, C] uint8.
    point_k2: [K, 2] points of the face in the photo, K in `POINT_SETS`, (x, y) with pixel centres at whole numbers.
    template: one of `jaxface.geometry.TEMPLATES`.
    border: outside of the photo: "constant" `value`, or "replicate" its nearest pixel.
    value: the constant.
  Returns:
    [*template.size, C] uint8.
  Raises:
    ValueError: the photo or the points have another shape, the points are not finite or coincide, or the face lies outside of
      the photo.
    KeyError: no such template.
  """
  return align_faces([photo_hwc], [point_k2], template=template, border=border, value=value)[0]


def align_faces(
  photos: Sequence[np.ndarray], points: Sequence[np.ndarray], *, template: str = "arcface112", border: Border = "constant",
  value: float = 0.0,
) -> np.ndarray:
  """One face of each photo in the frame of a template, in batches; a photo with several faces is given several times.

  Args:
    photos: [H, W, C] uint8 each, of any size, with the same number of channels.
    points: [K, 2] each, as for `align`; K may vary.
    template, border, value: see `align`.
  Returns:
    [N, *template.size, C] uint8.
  Raises:
    ValueError: as for `align`, with the number of the face; or the lists differ in length.
    KeyError: no such template.
  """
  if len(photos) != len(points):
    raise ValueError(f"{len(photos)} photos and {len(points)} sets of points: needs one set for each photo")
  matrices = [align_matrix(point_k2, template, where=f"face {index}") for index, point_k2 in enumerate(points)]
  return warp_photos(photos, matrices, find_template(template).size, border=border, value=value)


def align_matrix(point_k2: np.ndarray, template: str = "arcface112", *, where: str = "face") -> np.ndarray:
  """The similarity from a photo to a template.

  Args:
    point_k2: [K, 2] points of the face in the photo, K in `POINT_SETS`.
    template: one of `jaxface.geometry.TEMPLATES`.
    where: name of the face for messages.
  Returns:
    matrix [2, 3] float64.
  Raises:
    ValueError: the points have another shape, are not finite, or coincide; begins with `where`.
    KeyError: no such template.
  """
  point_k2 = np.asarray(point_k2, np.float64)
  if point_k2.ndim != 2 or point_k2.shape[1] != 2:
    raise ValueError(f"{where}: points have shape {point_k2.shape}, should be [K, 2]")
  try:
    return fit_on_host(point_k2, template_points(template, len(point_k2)))
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


def warp_photos(
  photos: Sequence[np.ndarray], matrices: Sequence[np.ndarray], size: tuple[int, int], *, border: Border = "constant",
  value: float = 0.0,
) -> np.ndarray:
  """`warp` for photos of varying size: parts of similar size share a batch.

  Args:
    photos: [H, W, C] uint8 each.
    matrices: [2, 3] each, from the photo to the result.
    size: (height, width) of the results.
    border, value: see `align`.
  Returns:
    [N, *size, C] uint8, rounded.
  Raises:
    ValueError: a photo that is no image, a matrix without inverse, or a result outside of its photo; with its number.
  """
  channels = photos[0].shape[-1] if photos and np.ndim(photos[0]) == 3 else 3
  out = np.empty((len(photos), *size, channels), np.uint8)
  waiting: dict[int, list[tuple[int, _Cut]]] = {}

  def finish(frame: int) -> None:
    items = waiting.pop(frame)
    out[[index for index, _ in items]] = _warp_cuts([cut for _, cut in items], frame, size, border, value)

  for index, (photo, matrix) in enumerate(zip(photos, matrices, strict=True)):
    if photo.ndim != 3 or photo.dtype != np.uint8 or photo.shape[-1] != channels or not photo.size:
      raise ValueError(f"photo {index} has shape {photo.shape} and type {photo.dtype}: needs [H, W, {channels}] uint8")
    cut = _cut(photo, np.asarray(matrix, np.float64), size, f"photo {index}")
    frame = -(-max(cut.pixel_hwc.shape[:2]) // FRAME_STEP) * FRAME_STEP
    waiting.setdefault(frame, []).append((index, cut))
    if len(waiting[frame]) == BATCHES[-1]:
      finish(frame)
  for frame in list(waiting):
    finish(frame)
  return out


def _cut(photo_hwc: np.ndarray, matrix_23: np.ndarray, size: tuple[int, int], where: str) -> _Cut:
  full = np.vstack([matrix_23, (0, 0, 1)])
  if not np.isfinite(full).all() or abs(np.linalg.det(full)) < 1e-12:
    raise ValueError(f"{where}: the matrix {matrix_23.tolist()} has no inverse")
  back_23 = np.linalg.inv(full)[:2]
  reduction = float(np.linalg.norm(back_23[:, :2], axis=1).max())
  averaged = int(np.log2(max(reduction, 1.0)))
  factor = 2**averaged
  corner_42 = np.array([(x, y, 1) for x in (0, size[1] - 1) for y in (0, size[0] - 1)]) @ back_23.T
  limit = np.array(photo_hwc.shape[1::-1])
  # Interpolation and smoothing use up to two pixels of the averaged image around a position.
  start = np.floor((corner_42.min(0) - 2 * factor) / factor) * factor
  stop = np.ceil(corner_42.max(0) + 2 * factor) + 1
  (left, top), (right, bottom) = np.clip(start, 0, limit).astype(int), np.clip(stop, 0, limit).astype(int)
  if left >= right or top >= bottom or (corner_42.max(0) < 0).any() or (corner_42.min(0) > limit - 1).any():
    raise ValueError(f"{where}: the crop lies outside of the {limit[0]}×{limit[1]} pixels of the photo")
  pixel_hwc = _mean_of_squares(photo_hwc[top:bottom, left:right], factor)
  to_photo = np.array([[factor, 0, left + (factor - 1) / 2], [0, factor, top + (factor - 1) / 2], [0, 0, 1]])
  return _Cut(pixel_hwc, (full @ to_photo)[:2], averaged)


def _mean_of_squares(pixel_hwc: np.ndarray, factor: int) -> np.ndarray:
  """Means of factor × factor pixels, with the edge repeated where the last square is not full."""
  if factor == 1:
    return pixel_hwc
  height, width, channels = pixel_hwc.shape
  pixel_hwc = np.pad(pixel_hwc, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
  rows, columns = pixel_hwc.shape[0] // factor, pixel_hwc.shape[1] // factor
  return pixel_hwc.reshape(rows, factor, columns, factor, channels).mean((1, 3), dtype=np.float32)


def _warp_cuts(cuts: list[_Cut], frame: int, size: tuple[int, int], border: Border, value: float) -> np.ndarray:
  """[N, *size, C] uint8."""
  batch = next(number for number in BATCHES if number >= len(cuts))
  # Bytes where no photo was averaged: a quarter of the memory traffic.
  dtype = np.result_type(*(cut.pixel_hwc.dtype for cut in cuts))
  pixel_bhwc = np.zeros((batch, frame, frame, cuts[0].pixel_hwc.shape[-1]), dtype)
  matrix_b23 = np.tile(np.eye(2, 3), (batch, 1, 1))
  extent_b2 = np.ones((batch, 2), np.int32)
  averaged_b = np.zeros(batch, np.int32)
  for row, (pixel_hwc, matrix_23, averaged_b[row]) in enumerate(cuts):
    height, width = extent_b2[row] = pixel_hwc.shape[:2]
    pixel_bhwc[row, :height, :width] = pixel_hwc
    # One repeated row and column, for the smoothing at the edge.
    pixel_bhwc[row, height : height + 1, :width] = pixel_hwc[-1:]
    pixel_bhwc[row, : height + 1, width : width + 1] = pixel_bhwc[row, : height + 1, width - 1 : width]
    matrix_b23[row] = matrix_23
  found = warp(
    pixel_bhwc, matrix_b23.astype(np.float32), size, border=border, value=value, halvings=0, extent_b2=extent_b2,
    averaged_b=averaged_b,
  )
  return np.clip(np.rint(np.asarray(found)[: len(cuts)]), 0, 255).astype(np.uint8)


__all__ = ["align", "align_faces", "align_matrix", "warp_photos"]
