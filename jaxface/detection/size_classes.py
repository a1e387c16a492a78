"""Sizes and counts rounded up to a few classes, so that a function is compiled once per class and not once per photo."""

from collections.abc import Sequence

import numpy as np

# Photos with shorter sides are padded to it.
LEAST_SIDE = 32
# Counts of rows grow by this factor from one class to the next.
ROWS = 16
GROWTH = 2


def side_class(side: int) -> int:
  """The smallest class that holds a side of a photo: four classes between powers of two, at most a quarter larger.

  Args:
    side: height or width in pixels, at least 1.
  """
  if side <= LEAST_SIDE:
    return LEAST_SIDE
  step = max(1 << ((side - 1).bit_length() - 3), LEAST_SIDE // 4)
  return -(-side // step) * step


def row_class(count: int, most: int | None = None) -> int:
  """The smallest class that holds a number of rows: 16, 32, 64, and so on; at most `most`."""
  size = ROWS
  while size < count and (most is None or size < most):
    size *= GROWTH
  return size if most is None else min(size, most)


def padded_rows(array: np.ndarray, size: int) -> np.ndarray:
  """`array` with zeros after its rows, up to `size` rows."""
  return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


def stack_photos(photos: Sequence[np.ndarray], size: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
  """Photos in the upper left corners of one array.

  Args:
    photos: each [h, w, 3] uint8.
    size: (H, W), at least that of each photo.
    count: number of rows B; missing photos are empty.
  Returns:
    [B, H, W, 3] uint8, and [B, 2] int32 height and width of each.
  """
  image_bhwc = np.zeros((count, *size, 3), np.uint8)
  size_b2 = np.zeros((count, 2), np.int32)
  for row, photo in enumerate(photos):
    height, width = photo.shape[:2]
    image_bhwc[row, :height, :width] = photo
    size_b2[row] = height, width
  return image_bhwc, size_b2


__all__ = ["LEAST_SIDE", "padded_rows", "row_class", "side_class", "stack_photos"]
