"""Squares of a photo that become the landmark network's input, as matrices from the photo to the input."""

import numpy as np
from jax.typing import ArrayLike

from jaxface.alignment.landmark_net import SIDE, mean_points
from jaxface.alignment.similarity import fit_on_host

# Of a detector's box: the square's side in units of the longer side, and its centre's distance below the box's.
BOX_SCALE, BOX_DOWN = 1.2, 0.07


def box_square(box_4: ArrayLike, side: int = SIDE) -> np.ndarray:
  """The square around a detected box.

  Args:
    box_4: x0, y0, x1, y1 in pixels.
    side: side length of the input in pixels.
  Returns:
    matrix [2, 3] from the photo to the input.
  Raises:
    ValueError: the box is not finite or empty.
  """
  x0, y0, x1, y1 = np.asarray(box_4, np.float64)
  if not np.isfinite([x0, y0, x1, y1]).all() or x1 <= x0 or y1 <= y0:
    raise ValueError(f"box {np.asarray(box_4).tolist()}: needs finite x0 < x1 and y0 < y1")
  longer = max(x1 - x0, y1 - y0)
  return _square((x0 + x1) / 2, (y0 + y1) / 2 + BOX_DOWN * longer, BOX_SCALE * longer, side)


def point_square(point_k2: np.ndarray, side: int = SIDE, *, upright: bool = False) -> np.ndarray:
  """The square in which known points are closest to the network's mean face.

  Args:
    point_k2: [K, 2] points in the photo, K in `POINT_SETS`.
    side: side length of the input in pixels.
    upright: do not rotate.
  Returns:
    matrix [2, 3] from the photo to the input.
  Raises:
    ValueError: the points are no point set, not finite, or coincide.
  """
  mean_k2 = mean_points(len(point_k2), side)
  matrix_23 = fit_on_host(point_k2, mean_k2)
  if not upright:
    return matrix_23
  scale = float(np.hypot(matrix_23[0, 0], matrix_23[1, 0]))
  x, y = mean_k2.mean(0) - scale * np.asarray(point_k2, np.float64).mean(0)
  return np.array([[scale, 0, x], [0, scale, y]])


def _square(x: float, y: float, length: float, side: int) -> np.ndarray:
  """The square of `length` about (x, y): its edges become the edges of the input."""
  scale = side / length
  return np.array([[scale, 0, side / 2 - 0.5 - scale * x], [0, scale, side / 2 - 0.5 - scale * y]])


__all__ = ["BOX_DOWN", "BOX_SCALE", "box_square", "point_square"]
