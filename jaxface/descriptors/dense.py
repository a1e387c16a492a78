"""Local descriptors on a dense grid: histograms of gradient directions in 4×4 cells, as SIFT has them, without its key points."""

import numpy as np

DENSE_SIZE = 128
_CELLS, _BINS, _CLIP = 4, 8, 0.2


def dense_descriptors(grey_nhw: np.ndarray, *, cell: int = 4, step: int = 2) -> np.ndarray:
  """Descriptors of square regions of 4×4 cells.

  The gradient of each pixel is shared between the two nearest of eight directions; cells sum it; the vector of a region is scaled to
  length one, clipped at 0.2, and scaled again. A region without contrast has zeros.

  Args:
    grey_nhw: [N, H, W] images of one size.
    cell: side of a cell in pixels.
    step: distance of neighbouring regions in cells.
  Returns:
    [N, R, 128] float32, regions from left to right and from top to bottom; the last axis is cell row, cell column, direction.
  Raises:
    ValueError: images smaller than a region.
  Source: D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", 2004, section 6.
  """
  grey_nhw = np.asarray(grey_nhw, np.float32)
  if grey_nhw.ndim != 3 or min(grey_nhw.shape[1:]) < cell * _CELLS:
    raise ValueError(f"images {grey_nhw.shape}: they must be [N, H, W], at least {cell * _CELLS} pixels on each side")
  count, height, width = grey_nhw.shape
  rows, columns = height // cell, width // cell
  edge_nhw = np.pad(grey_nhw, ((0, 0), (1, 1), (1, 1)), mode="edge")
  dx_nhw = (edge_nhw[:, 1:-1, 2:] - edge_nhw[:, 1:-1, :-2])[:, : rows * cell, : columns * cell]
  dy_nhw = (edge_nhw[:, 2:, 1:-1] - edge_nhw[:, :-2, 1:-1])[:, : rows * cell, : columns * cell]
  size_nhw = np.hypot(dx_nhw, dy_nhw)
  turn_nhw = np.arctan2(dy_nhw, dx_nhw) * np.float32(_BINS / (2 * np.pi)) % _BINS
  low_nhw = np.floor(turn_nhw)
  part_nhw, low_nhw = turn_nhw - low_nhw, low_nhw.astype(np.int64) % _BINS
  at = (np.arange(count) * rows)[:, None, None] + (np.arange(rows * cell) // cell)[None, :, None]
  at = at * columns + (np.arange(columns * cell) // cell)
  length = count * rows * columns * _BINS
  cell_flat = np.bincount((at * _BINS + low_nhw).ravel(), (size_nhw * (1 - part_nhw)).ravel(), length)
  cell_flat += np.bincount((at * _BINS + (low_nhw + 1) % _BINS).ravel(), (size_nhw * part_nhw).ravel(), length)
  cell_nrcb = cell_flat.reshape(count, rows, columns, _BINS)
  view = np.lib.stride_tricks.sliding_window_view(cell_nrcb, (_CELLS, _CELLS), (1, 2))[:, ::step, ::step]
  found_nrd = np.moveaxis(view, 3, -1).reshape(count, -1, DENSE_SIZE).astype(np.float32)
  found_nrd = np.minimum(_unit(found_nrd), _CLIP)
  return _unit(found_nrd)


def _unit(x_nrd: np.ndarray) -> np.ndarray:
  length = np.linalg.norm(x_nrd, axis=-1, keepdims=True)
  return np.where(length > 1e-6, x_nrd / np.maximum(length, 1e-6), 0).astype(np.float32)


__all__ = ["DENSE_SIZE", "dense_descriptors"]
