"""Alignment by repeated detection: points are found again in the aligned crop, until it no longer moves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxface.alignment.photo_crops import warp_photos
from jaxface.alignment.similarity import fit_on_host

# Finds points in crops: [N, H, W, C] uint8 to [N, K, 2] in pixels of the crops.
FindPoints = Callable[[np.ndarray], np.ndarray]


class Iterated(NamedTuple):
  """Result of `align_iteratively`.

  Attributes:
    matrix_n23: [N, 2, 3] float64 from each photo to its crop.
    point_nk2: [N, K, 2] float64 the points last found, in pixels of the photos.
    passes_n: [N] how often points were found.
  """

  matrix_n23: np.ndarray
  point_nk2: np.ndarray
  passes_n: np.ndarray


def align_iteratively(
  photos: Sequence[np.ndarray], matrices: Sequence[np.ndarray], find_points: FindPoints, target_k2: np.ndarray, size: tuple[int, int], *,
  passes: int = 3, tolerance: float = 0.5,
) -> Iterated:
  """Similarities from photos to a template, by finding points in the crop, moving the crop by them, and so on.

  DeepFace composes its 2-D alignment so: detect fiducial points in the crop, apply the similarity that brings them to the anchors, and
  repeat in the warped crop until there is no substantial change.

  Args:
    photos: [H, W, C] uint8 each.
    matrices: [2, 3] each, from the photo to a first crop, such as the square around a detected box.
    find_points: finds points in crops.
    target_k2: [K, 2] where they should be in the crop.
    size: (height, width) of the crops.
    passes: how often points are found at most.
    tolerance: a face is done when a pass moves no corner of its crop by more than this many pixels.
  Returns:
    The transforms and points.
  Raises:
    ValueError: fewer than one pass; a result of `find_points` of another shape, or points that are not finite or coincide, with the
      number of the photo.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §2.1.
  """
  if passes < 1:
    raise ValueError(f"passes is {passes}: needs at least 1")
  target_k2 = np.asarray(target_k2, np.float64)
  matrix_n23 = np.array(matrices, np.float64).reshape(len(photos), 2, 3)
  point_nk2 = np.zeros((len(photos), *target_k2.shape))
  passes_n = np.zeros(len(photos), int)
  corner_42 = np.array([(x, y) for x in (0.0, size[1] - 1.0) for y in (0.0, size[0] - 1.0)])
  going = np.arange(len(photos))
  while len(going) and passes_n.max(initial=0) < passes:
    crops = warp_photos([photos[int(index)] for index in going], list(matrix_n23[going]), size, border="replicate")
    found = np.asarray(find_points(crops), np.float64)
    if found.shape != (len(going), *target_k2.shape):
      raise ValueError(f"find_points gave shape {found.shape}, should be {(len(going), *target_k2.shape)}")
    left = []
    for index, point_k2 in zip(going, found):
      passes_n[index] += 1
      back_23 = _inverse(matrix_n23[index])
      point_nk2[index] = _moved(back_23, point_k2)
      try:
        step_23 = fit_on_host(point_k2, target_k2)
      except ValueError as error:
        raise ValueError(f"photo {index}: {error}") from error
      matrix_n23[index] = (_square(step_23) @ _square(matrix_n23[index]))[:2]
      if np.abs(_moved(step_23, corner_42) - corner_42).max() > tolerance:
        left.append(index)
    going = np.array(left, int)
  return Iterated(matrix_n23, point_nk2, passes_n)


def _square(matrix_23: np.ndarray) -> np.ndarray:
  return np.vstack([matrix_23, (0, 0, 1)])


def _inverse(matrix_23: np.ndarray) -> np.ndarray:
  return np.linalg.inv(_square(matrix_23))[:2]


def _moved(matrix_23: np.ndarray, point_k2: np.ndarray) -> np.ndarray:
  return point_k2 @ matrix_23[:, :2].T + matrix_23[:, 2]


__all__ = ["FindPoints", "Iterated", "align_iteratively"]
