"""Errors of face points: normalised mean error, cumulative error curve, its area, and the failure rate."""

from typing import NamedTuple

import numpy as np

# What an error is divided by: between which points of a face the distance is taken. A tuple is the mean of its points.
NORMALISERS: dict[str, dict[int, tuple[tuple[int, ...], tuple[int, ...]]]] = {
  # Outer eye corners, as in the 300-W challenge.
  "interocular": {68: ((36,), (45,)), 21: ((6,), (11,))},
  # Eye centres; with 68 points the means of the six points around each eye.
  "interpupil": {68: (tuple(range(36, 42)), tuple(range(42, 48))), 21: ((7,), (10,)), 6: ((0,), (1,)), 5: ((0,), (1,))},
}


class ErrorCurve(NamedTuple):
  """The share of faces with an error of at most a threshold.

  Attributes:
    threshold_m: [M] rising; the errors of the faces.
    share_m: [M] share of faces with at most that error.
  """

  threshold_m: np.ndarray
  share_m: np.ndarray


def landmark_errors(
  found_nk2: np.ndarray, true_nk2: np.ndarray, *, normaliser: str = "interocular", per_point: bool = False
) -> np.ndarray:
  """Mean distance of a face's points from the true ones, divided by a length of the true face.

  Args:
    found_nk2: [N, K, 2] points found; NaN for a face that was not found gives an infinite error.
    true_nk2: [N, K, 2] true points.
    normaliser: "interocular", the distance of the outer eye corners (68 or 21 points); or "interpupil", that of the eye centres
      (68, 21, 6 or 5 points), which is smaller, so that errors are larger.
    per_point: the error of each point instead of the face's mean.
  Returns:
    error [N], or [N, K].
  Raises:
    ValueError: other shapes, true points that are not finite, an unknown normaliser or one that the points do not have, or a face of
      length zero, with its number.
  Source: Sagonas et al., "300 Faces In-the-Wild Challenge", 2013, §4 (outer eye corners).
  """
  found, true = np.asarray(found_nk2, np.float64), np.asarray(true_nk2, np.float64)
  if found.shape != true.shape or true.ndim != 3 or true.shape[2] != 2:
    raise ValueError(f"points have shapes {found.shape} and {true.shape}: needs the same [N, K, 2]")
  if normaliser not in NORMALISERS:
    raise ValueError(f"normaliser is {normaliser!r}: needs one of {', '.join(NORMALISERS)}")
  ends = NORMALISERS[normaliser].get(true.shape[1])
  if ends is None:
    counts = ", ".join(map(str, NORMALISERS[normaliser]))
    raise ValueError(f"{normaliser} is not defined for {true.shape[1]} points, only for {counts}")
  if not np.isfinite(true).all():
    raise ValueError(f"true points of face {int(np.flatnonzero(~np.isfinite(true).all((1, 2)))[0])} are not finite")
  left, right = (true[:, list(end)].mean(1) for end in ends)
  length_n = np.linalg.norm(right - left, axis=-1)
  if (length_n == 0).any():
    raise ValueError(f"face {int(np.flatnonzero(length_n == 0)[0])} has the {normaliser} distance 0")
  error_nk = np.linalg.norm(found - true, axis=-1) / length_n[:, None]
  error_nk = np.where(np.isfinite(error_nk), error_nk, np.inf)
  return error_nk if per_point else error_nk.mean(1)


def error_curve(error_n: np.ndarray) -> ErrorCurve:
  """The cumulative error curve, a staircase with a step at each error.

  Args:
    error_n: [N] errors of faces; infinite for those that were not found.
  Returns:
    The curve at each different finite error.
  Raises:
    ValueError: no face, or NaN or negative errors.
  """
  error_n = _errors(error_n)
  threshold_m, count_m = np.unique(error_n[np.isfinite(error_n)], return_counts=True)
  return ErrorCurve(threshold_m, np.cumsum(count_m) / len(error_n))


def error_auc(error_n: np.ndarray, limit: float = 0.08) -> float:
  """Area under the cumulative error curve from 0 to a limit, divided by the limit: 1 if all errors are 0.

  Args:
    error_n: [N] errors of faces.
    limit: where the area ends.
  Returns:
    Exact area of the staircase: the mean of max(0, 1 − error/limit).
  Raises:
    ValueError: no face, NaN or negative errors, or a limit that is not positive.
  """
  if not limit > 0:
    raise ValueError(f"limit is {limit}: needs a positive error")
  return float(np.maximum(0, 1 - _errors(error_n) / limit).mean())


def failure_rate(error_n: np.ndarray, threshold: float = 0.08) -> float:
  """Share of faces with an error above a threshold.

  Args:
    error_n: [N] errors of faces.
    threshold: an error of exactly this is no failure.
  Raises:
    ValueError: no face, or NaN or negative errors.
  """
  return float((_errors(error_n) > threshold).mean())


def _errors(error_n: np.ndarray) -> np.ndarray:
  error_n = np.asarray(error_n, np.float64)
  if error_n.ndim != 1 or not len(error_n):
    raise ValueError(f"errors have shape {error_n.shape}: needs [N], one for each face, and at least one face")
  if not (error_n >= 0).all():
    raise ValueError(f"error {int(np.flatnonzero(~(error_n >= 0))[0])} is {error_n[~(error_n >= 0)][0]}: needs numbers ≥ 0")
  return error_n


__all__ = ["NORMALISERS", "ErrorCurve", "error_auc", "error_curve", "failure_rate", "landmark_errors"]
