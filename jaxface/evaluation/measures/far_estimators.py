"""Estimators of TAR at FAR that other programs use, for comparison with `tar_at_far`.

They differ where no threshold has exactly the target FAR. Only "at most" keeps the promise that FAR is not above the
target and that a threshold attains the result.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from jaxface.evaluation.measures.roc import Operating, Roc, check_rate, tar_at_far


def _below(curve: Roc, target: float) -> Operating:
  return _point(curve, max(int(np.searchsorted(curve.far, target, side="left")) - 1, 0))


def _nearest(curve: Roc, target: float) -> Operating:
  distance = np.abs(curve.far - target)
  return _point(curve, distance.size - 1 - int(np.argmin(distance[::-1])))


def _nearest_corner(curve: Roc, target: float) -> Operating:
  bends = [(np.diff(count[1:], 2) != 0) for count in (curve.false_accepts, curve.true_accepts)]
  # The points for no pairs, and for the highest and the lowest score, always stay.
  corner = np.concatenate(([True, True], bends[0] | bends[1], [True]))[: curve.far.size]
  return _nearest(Roc(*(values[corner] for values in curve)), target)


def _linear(curve: Roc, target: float) -> Operating:
  # Points of equal FAR: `np.interp` starts from the last, which has the largest TAR.
  tar = float(np.interp(target, curve.far, curve.tar))
  return Operating(tar, float(target), float("nan"))


def _point(curve: Roc, index: int) -> Operating:
  return Operating(float(curve.tar[index]), float(curve.far[index]), float(curve.threshold[index]))


FAR_ESTIMATORS: Mapping[str, Callable[[Roc, float], Operating]] = MappingProxyType(
  {"at most": tar_at_far, "below": _below, "nearest": _nearest, "nearest corner": _nearest_corner, "linear": _linear}
)


def estimate_tar_at_far(curve: Roc, target: float, estimator: str) -> Operating:
  """TAR at a FAR by the estimator of that name.

  - "at most": `tar_at_far`, the largest TAR with FAR ≤ target.
  - "below": the largest TAR with FAR < target; `tpr[np.where(fpr < target)[0][-1]]` in scripts.
  - "nearest": the TAR at the FAR nearest to the target on either side, the higher of two equally near FARs and
    the largest TAR of equal FARs; its actual FAR may be above the target.
  - "nearest corner": the same among the corners of the ROC, as in InsightFace's script for IJB, since scikit-learn's
    `roc_curve` drops points that continue a step of the one before.
  - "linear": the ROC interpolated linearly in FAR; `interp1d(fpr, tpr)(target)` in scripts. No threshold attains it.

  Args:
    curve: from `roc`.
    target: FAR in [0, 1].
    estimator: one of `FAR_ESTIMATORS`.
  Returns:
    `Operating` with the actual FAR; the threshold is NaN for "linear".
  Raises:
    ValueError: an unknown estimator, or a target outside [0, 1].
  """
  if estimator not in FAR_ESTIMATORS:
    raise ValueError(f"no estimator {estimator!r} of TAR at FAR: it must be one of {', '.join(FAR_ESTIMATORS)}")
  check_rate(target, "target FAR")
  return FAR_ESTIMATORS[estimator](curve, target)


__all__ = ["FAR_ESTIMATORS", "estimate_tar_at_far"]
