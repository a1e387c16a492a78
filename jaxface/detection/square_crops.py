"""Crops of photos as the trainings store them and as detectors see them: resized by the mean over areas, in whole steps of brightness."""

import numpy as np
from jax import Array

from jaxface.detection.mtcnn import cut
from jaxface.detection.size_classes import padded_rows, row_class

# Crops that are cut in one call.
MOST = 512


def cut_squares(
  sums_m3: Array, size: tuple[int, int], edge_n4: np.ndarray, side: int, photo_n: np.ndarray | None = None
) -> np.ndarray:
  """Crops of photos of one size class.

  Args:
    sums_m3: `photo_sums` of the photos.
    size: height and width of the class.
    edge_n4: [N, 4] int32 squares in pixels; what is outside of the photo is black.
    side: height and width of the crops.
    photo_n: [N] the photo of each square; None for the first one.
  Returns:
    [N, side, side, 3] uint8.
  """
  parts, photo_n = [np.zeros((0, side, side, 3), np.uint8)], np.zeros(len(edge_n4), np.int32) if photo_n is None else photo_n.astype(np.int32)
  for start in range(0, len(edge_n4), MOST):
    part_n4, of_n = (array[start : start + MOST] for array in (edge_n4, photo_n))
    rows = row_class(len(part_n4), MOST)
    crop_nhwc = cut(sums_m3, np.array(size[::-1], np.int32) + 1, padded_rows(of_n, rows), padded_rows(part_n4, rows), side)
    parts.append(np.rint(np.asarray(crop_nhwc)[: len(part_n4)]).astype(np.uint8))
  return np.concatenate(parts)


__all__ = ["MOST", "cut_squares"]
