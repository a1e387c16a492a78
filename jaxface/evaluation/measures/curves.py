"""DET, the convex hull of a ROC, and the rates and the accuracy at a threshold."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from jaxface.evaluation.measures.roc import Operating, Roc, check_scores, eer


class Det(NamedTuple):
  """Detection error trade-off: the points of a ROC as two error rates.

  Attributes:
    threshold: [K] float64, strictly decreasing.
    far: [K] float64, accepted share of the non-mated pairs, from 0 to 1 (ISO/IEC 19795-1: FMR).
    frr: [K] float64, rejected share of the mated pairs, from 1 to 0 (ISO/IEC 19795-1: FNMR).
  """

  threshold: np.ndarray
  far: np.ndarray
  frr: np.ndarray

  @property
  def far_probit(self) -> np.ndarray:
    """[K] float64, position of each FAR on a normal-deviate axis."""
    return probit(self.far)

  @property
  def frr_probit(self) -> np.ndarray:
    """[K] float64, position of each FRR on a normal-deviate axis."""
    return probit(self.frr)


class Rates(NamedTuple):
  """The decisions at one threshold: accept where score >= threshold.

  Attributes:
    threshold: the threshold.
    far: accepted share of the non-mated pairs.
    frr: rejected share of the mated pairs.
    accuracy: share of all pairs that are classified correctly.
  """

  threshold: float
  far: float
  frr: float
  accuracy: float

  @property
  def tar(self) -> float:
    """Accepted share of the mated pairs, 1 − FRR."""
    return 1 - self.frr


def det(curve: Roc) -> Det:
  """Detection error trade-off curve of a ROC.

  Args:
    curve: from `roc`.
  Returns:
    `Det` with the same K points.
  Source: Martin et al., "The DET Curve in Assessment of Detection Task Performance", 1997.
  """
  return Det(curve.threshold, curve.far, (curve.mated - curve.true_accepts) / curve.mated)


def probit(rate_k: np.ndarray) -> np.ndarray:
  """Quantile of the standard normal distribution: the scale of a DET's axes.

  Normally distributed scores of equal variance give a straight line.

  Args:
    rate_k: [K] float in [0, 1].
  Returns:
    [K] float64, −inf for 0 and inf for 1.
  Raises:
    ValueError: a rate outside [0, 1] or NaN.
  """
  rate_k = np.asarray(rate_k, np.float64)
  outside = np.flatnonzero(~((rate_k >= 0) & (rate_k <= 1)))
  if outside.size:
    raise ValueError(f"rate {outside[0]} is {rate_k.ravel()[outside[0]]}: it must lie in [0, 1]")
  quantile = NormalDist().inv_cdf
  distinct, place = np.unique(rate_k, return_inverse=True)
  ends = {0.0: -np.inf, 1.0: np.inf}
  value = [ends[rate] if rate in ends else quantile(rate) for rate in distinct.tolist()]
  return np.array(value, np.float64)[place].reshape(rate_k.shape)


def rates_at(score_p: np.ndarray, same_p: np.ndarray, threshold: float) -> Rates:
  """FAR, FRR and accuracy at a threshold.

  Args:
    score_p: [P] float, higher is more similar.
    same_p: [P] bool, true for mated pairs.
    threshold: accept where score >= threshold.
  Returns:
    `Rates`.
  Raises:
    ValueError: wrong shapes, a score that is not finite, a threshold that is NaN, or no mated or non-mated pairs.
  """
  score_p, same_p = check_scores(score_p, same_p)
  mated = int(same_p.sum())
  if not 0 < mated < same_p.size:
    raise ValueError(f"{mated} mated and {same_p.size - mated} non-mated pairs: rates need at least one of each")
  if np.isnan(threshold):
    raise ValueError("threshold is nan: it must be a number")
  accepted_p = score_p >= threshold
  false_accepts, false_rejects = int((accepted_p & ~same_p).sum()), int((~accepted_p & same_p).sum())
  right = same_p.size - false_accepts - false_rejects
  return Rates(float(threshold), false_accepts / (same_p.size - mated), false_rejects / mated, right / same_p.size)


def convex_hull(curve: Roc) -> Roc:
  """Vertices of the convex hull of a ROC.

  A point between two vertices is attained by choosing one of their thresholds at random for each pair. No
  threshold alone attains it.

  Args:
    curve: from `roc`.
  Returns:
    `Roc` of the vertices only, from (0, 0) to (1, 1); no three of them are collinear.
  Source: Provost and Fawcett, "Robust Classification for Imprecise Environments", 2001.
  """
  # Cross products reach mated · nonmated; Python's integers hold them where int64 does not.
  kind = np.int64 if curve.mated * curve.nonmated < 2**61 else object
  false, true = curve.false_accepts.astype(kind), curve.true_accepts.astype(kind)
  kept = np.arange(false.size)
  while kept.size > 2:
    # A point on or below the line between its neighbours is no vertex, whichever others are removed with it.
    step_false, step_true = np.diff(false[kept]), np.diff(true[kept])
    vertex = step_false[:-1] * step_true[1:] < step_false[1:] * step_true[:-1]
    if vertex.all():
      break
    fewer = kept[np.concatenate(([True], vertex.astype(bool), [True]))]
    slow = fewer.size > 0.9 * kept.size
    kept = fewer
    if slow:
      kept = _vertices(kept, false, true)
      break
  return Roc(curve.threshold[kept], curve.false_accepts[kept], curve.true_accepts[kept])


def _vertices(kept: np.ndarray, false: np.ndarray, true: np.ndarray) -> np.ndarray:
  """The same in one pass, point by point: linear however many rounds the removal would take."""
  stack: list[tuple[int, int, int]] = []
  for index, x, y in zip(kept.tolist(), false[kept].tolist(), true[kept].tolist()):
    while len(stack) > 1:
      (_, x_0, y_0), (_, x_1, y_1) = stack[-2:]
      if (x_1 - x_0) * (y - y_1) < (x - x_1) * (y_1 - y_0):
        break
      stack.pop()
    stack.append((index, x, y))
  return np.array([index for index, _, _ in stack])


def eer_convex_hull(curve: Roc) -> Operating:
  """Equal error rate on the convex hull of the ROC (ROCCH-EER): never above that of `eer`.

  It is the smallest possible maximum of FAR and FRR over random mixtures of thresholds.

  Args:
    curve: from `roc`.
  Returns:
    `Operating` as of `eer`; its threshold is that of the hull's next vertex with a higher FAR.
  Source: Brümmer and de Villiers, "The BOSARIS Toolkit", 2011.
  """
  return eer(convex_hull(curve))


__all__ = ["Det", "Rates", "convex_hull", "det", "eer_convex_hull", "probit", "rates_at"]
