"""An image pyramid in canvases whose levels begin at whole cells, so that a descriptor of cells is computed once for many levels.

Levels are resampled by a triangle as wide as a pixel of the level, at least of the photo; what is outside of the photo repeats its edge.
A margin of one cell before each level, and of at least a pixel after it, keeps gradients of neighbouring levels apart.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.detection.pyramid import pack, pyramid_scales

# Pixels of a canvas, unless one level alone has more.
MOST_PIXELS = 1 << 22
# Sides of canvases are multiples of so many cells: few shapes are compiled.
_ROWS, _COLUMNS = 32, 16
# Steps of a grey level to which levels are rounded. Without it, descriptors of flat regions, whose lengths are normalised, would be those
# of the rounding errors of the means, and depend on how these are computed.
_STEPS = 256


@dataclass(frozen=True, eq=False)
class CellCanvas:
  """Some levels of a size class in one canvas.

  Attributes:
    scales: of the levels.
    place_l4: [L, 4] top, left, height and width in the canvas of each level with its margins, multiples of the cell.
    size: height and width of the canvas.
    cell: side of a cell in pixels.
    window_k3: [K, 3] int32 windows of the size class: level, and row and column of the first cell, counted in the level.
    at_k2: [K, 2] int32 the same cell, counted in the canvas.
    window: side of a window in pixels.
  """

  scales: tuple[float, ...]
  place_l4: np.ndarray
  size: tuple[int, int]
  cell: int
  window_k3: np.ndarray
  at_k2: np.ndarray
  window: int

  def inside(self, height: int, width: int) -> np.ndarray:
    """[K] bool: windows that lie inside of a photo.

    Args:
      height: height of the photo in pixels.
      width: its width.
    """
    size_l2 = _level_sizes(height, width, self.scales)
    return (self.window_k3[:, 1:] * self.cell + self.window <= size_l2[self.window_k3[:, 0]]).all(-1)

  def values(self, map_brc: np.ndarray, size_b2: np.ndarray) -> np.ndarray:
    """The numbers of a map at the windows of the class: [B, K] float32, −inf outside of the photo.

    Args:
      map_brc: [B, rows, columns] float32, a number for the window that begins at each cell of the canvas.
      size_b2: [B, 2] height and width of each photo.
    """
    inside_bk = np.stack([self.inside(int(height), int(width)) for height, width in size_b2])
    return np.where(inside_bk, map_brc[:, self.at_k2[:, 0], self.at_k2[:, 1]], -np.inf)

  def boxes(self, index_n: np.ndarray) -> np.ndarray:
    """[N, 4] float32 boxes in pixels of the photo of some windows."""
    level_n, cell_n2 = self.window_k3[index_n, 0], self.window_k3[index_n, 1:]
    low_n2 = cell_n2[:, ::-1] * float(self.cell)
    box_n4 = np.concatenate([low_n2, low_n2 + self.window], -1)
    return (box_n4 / np.asarray(self.scales)[level_n][:, None]).astype(np.float32)


def _level_sizes(height: int, width: int, scales: tuple[float, ...]) -> np.ndarray:
  """[L, 2] whole pixels of each level."""
  return np.array([(int(height * scale + 1e-6), int(width * scale + 1e-6)) for scale in scales]).reshape(-1, 2)


@functools.lru_cache(maxsize=256)
def cell_canvases(height: int, width: int, *, window: int, cell: int, smallest: float, factor: float) -> tuple[CellCanvas, ...]:
  """The canvases of a size class; none for photos smaller than the smallest face.

  Args:
    height: height of the class in pixels.
    width: its width.
    window: side of a window in pixels, a multiple of `cell`.
    cell: side of a cell in pixels.
    smallest: side of the smallest face in pixels: the first level makes it one window.
    factor: ratio of a level to the one before it.
  """
  scales = pyramid_scales(height, width, window=window, smallest=smallest, factor=factor)
  groups: list[list[float]] = []
  pixels = MOST_PIXELS
  for scale in scales:
    pixels += int(height * width * scale**2)
    if pixels > MOST_PIXELS:
      groups.append([])
      pixels = int(height * width * scale**2)
    groups[-1].append(scale)
  return tuple(_canvas(height, width, tuple(group), window, cell) for group in groups)


def _canvas(height: int, width: int, scales: tuple[float, ...], window: int, cell: int) -> CellCanvas:
  size_l2 = _level_sizes(height, width, scales)
  slot_l2 = -(-(size_l2 + 1) // cell) * cell + cell
  places, (high, wide) = pack([(int(rows), int(columns)) for rows, columns in slot_l2], cell)
  size = -(-high // (_ROWS * cell)) * _ROWS * cell, -(-wide // (_COLUMNS * cell)) * _COLUMNS * cell
  windows = []
  for level, (rows, columns) in enumerate((size_l2 - window) // cell + 1):
    grid = np.mgrid[:rows, :columns].reshape(2, -1).T
    windows.append(np.concatenate([np.full((len(grid), 1), level), grid], -1))
  window_k3 = np.concatenate(windows).astype(np.int32)
  at_k2 = (window_k3[:, 1:] + np.array(places)[window_k3[:, 0]] // cell + 1).astype(np.int32)
  return CellCanvas(scales, np.concatenate([np.array(places), slot_l2], -1), size, cell, window_k3, at_k2, window)


def found_windows(
  canvases: Iterable[CellCanvas], values: Iterable[np.ndarray], least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The windows with at least a value.

  Args:
    canvases: of a size class.
    values: [B, K] float32 for each of them, a number for each window of each photo; −inf outside of the photo.
    least: the smallest value of a window that is taken.
  Returns:
    [N] int64 the photo, [N, 4] float32 the box in its pixels, and [N] float32 the value of each.
  """
  photos, boxes, found = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
  for canvas, value_bk in zip(canvases, values):
    photo_n, index_n = np.nonzero((value_bk >= least) & np.isfinite(value_bk))
    photos.append(photo_n)
    boxes.append(canvas.boxes(index_n))
    found.append(value_bk[photo_n, index_n])
  return np.concatenate(photos), np.concatenate(boxes), np.concatenate(found)


def draw_levels(photo: np.ndarray, canvas: CellCanvas) -> np.ndarray:
  """The levels of one photo in a canvas.

  On the host: products of small matrices, each of another shape, would take longer to compile than to compute. They are sparse: a
  pixel of a level is the mean of few pixels of the photo.

  Args:
    photo: [h, w] or [h, w, C] float32; it may have no pixel.
    canvas: of its size class.
  Returns:
    [height, width] or [height, width, C] float32 multiples of 1/256, zeros between the levels.
  """
  # Colours apart: sparse products of colours beside each other take three times as long.
  planes_chw = np.ascontiguousarray(np.moveaxis(np.atleast_3d(photo), -1, 0))
  found_chw = np.zeros((len(planes_chw), *canvas.size), np.float32)
  for scale, (top, left, rows, columns) in zip(canvas.scales, canvas.place_l4.tolist() if photo.size else ()):
    down_rh, across_kw = (_weights(count, length, scale, canvas.cell) for count, length in zip((rows, columns), photo.shape))
    for plane_hw, level_hw in zip(planes_chw, found_chw[:, top : top + rows, left : left + columns]):
      level_hw[:] = weighted(plane_hw, down_rh, across_kw)
  rounded_chw = np.rint(found_chw * _STEPS) / _STEPS
  return np.moveaxis(rounded_chw, 0, -1) if photo.ndim > 2 else rounded_chw[0]


def drawn_canvases(canvases: Iterable[CellCanvas], image_bhwc: np.ndarray, size_b2: np.ndarray) -> Iterator[np.ndarray]:
  """Each canvas with the levels of a batch of photos, [B, height, width, C] float32.

  Args:
    canvases: of their size class.
    image_bhwc: [B, H, W, C] uint8, photos in their upper left corners.
    size_b2: [B, 2] height and width of each; zero for padding.
  """
  photos = [image[:height, :width].astype(np.float32) for image, (height, width) in zip(image_bhwc, size_b2)]
  for canvas in canvases:
    yield np.stack([draw_levels(photo, canvas) for photo in photos])


def weighted(image_hw: np.ndarray, down_rh: Any, across_kw: Any) -> np.ndarray:
  """[R, K] weighted means of the pixels of an image.

  Args:
    image_hw: [h, w] float32.
    down_rh: [R, h] shares of its rows, see `triangle_shares`.
    across_kw: [K, w] shares of its columns.
  """
  return (across_kw @ np.ascontiguousarray((down_rh @ image_hw).T)).T


def _weights(count: int, length: int, scale: float, margin: int) -> Any:
  """[count, length] sparse shares of the photo's pixels in those of a level; `margin` pixels come before the photo's first one."""
  return triangle_shares((np.arange(count) - margin + 0.5) / scale - 0.5, length, scale)


def triangle_shares(centre_n: np.ndarray, length: int, scale: float) -> Any:
  """Shares of the pixels of a line in those of a resampled one.

  Args:
    centre_n: [N] where the new pixels are, in pixels of the line; 0 is the centre of the first one. Those outside take its edge.
    length: number of pixels of the line.
    scale: of the new line; below 1 the triangle is as wide as a new pixel.
  Returns:
    [N, length] sparse float32; each row adds up to 1.
  """
  from scipy.sparse import csr_array

  wide, count = max(1 / scale, 1.0), len(centre_n)
  centre_n = np.clip(centre_n, 0, length - 1)
  at_nt = np.ceil(centre_n - wide).astype(np.int64)[:, None] + np.arange(int(2 * wide) + 1)
  weight_nt = np.maximum(1 - np.abs(at_nt - centre_n[:, None]) / wide, 0) * ((at_nt >= 0) & (at_nt < length))
  weight_nt /= weight_nt.sum(1, keepdims=True)
  ends = np.arange(count + 1) * at_nt.shape[1]
  return csr_array((weight_nt.astype(np.float32).ravel(), np.clip(at_nt, 0, length - 1).ravel(), ends), (count, length))


__all__ = ["MOST_PIXELS", "CellCanvas", "cell_canvases", "draw_levels", "drawn_canvases", "found_windows", "triangle_shares", "weighted"]
