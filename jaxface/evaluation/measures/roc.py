"""Verification measures on scores, exact in float64: ROC, AUC, EER, TAR at FAR.

A *score* is a similarity: a pair is accepted where score >= threshold. Equal scores are accepted or rejected
together, so a ROC has one point per distinct score and ties need no interpolation.
"""

from typing import NamedTuple

import numpy as np


class Roc(NamedTuple):
  """Operating points from "accept nothing" to "accept everything", one per distinct score.

  Attributes:
    threshold: [K] float64, strictly decreasing; the first is just above the highest score, so that it accepts
      nothing.
    false_accepts: [K] int64, non-mated pairs with score >= threshold.
    true_accepts: [K] int64, mated pairs with score >= threshold.
  """

  threshold: np.ndarray
  false_accepts: np.ndarray
  true_accepts: np.ndarray

  @property
  def nonmated(self) -> int:
    return int(self.false_accepts[-1])

  @property
  def mated(self) -> int:
    return int(self.true_accepts[-1])

  @property
  def far(self) -> np.ndarray:
    """[K] float64, the share of non-mated pairs accepted."""
    return self.false_accepts / self.nonmated

  @property
  def tar(self) -> np.ndarray:
    """[K] float64, the share of mated pairs accepted."""
    return self.true_accepts / self.mated


class Operating(NamedTuple):
  """An operating point: the share of mated pairs accepted, of non-mated pairs accepted, and the threshold."""

  tar: float
  far: float
  threshold: float


def check_scores(score_p: np.ndarray, same_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns float64 scores and boolean labels of equal length, or raises a ValueError."""
  score_p, same_p = np.asarray(score_p, np.float64), np.asarray(same_p)
  if score_p.ndim != 1 or score_p.shape != same_p.shape:
    raise ValueError(f"scores {score_p.shape} and same {same_p.shape}: both must be [P]")
  if same_p.dtype != np.bool_:
    raise ValueError(f"same is {same_p.dtype}: it must be bool, true for pairs of one identity")
  bad = np.flatnonzero(~np.isfinite(score_p))
  if bad.size:
    raise ValueError(
      f"score {bad[0]} is {score_p[bad[0]]}: {bad.size} of {score_p.size} scores are not finite"
    )
  return score_p, same_p


def check_rate(rate: float, what: str) -> None:
  """Raises a ValueError for a rate outside [0, 1]."""
  if not 0 <= rate <= 1:
    raise ValueError(f"{what} {rate}: it must lie in [0, 1]")


def allowed_errors(rate: float, total: int) -> int:
  """The largest number of errors whose share, a correctly rounded quotient, is at most `rate`.

  Args:
    rate: in [0, 1].
    total: number of trials, such as non-mated pairs.
  """
  count = min(int(rate * total), total)
  while count < total and (count + 1) / total <= rate:
    count += 1
  while count and count / total > rate:
    count -= 1
  return count


def roc(score_p: np.ndarray, same_p: np.ndarray) -> Roc:
  """Receiver operating characteristic with ties counted once.

  Args:
    score_p: [P] float, higher is more similar.
    same_p: [P] bool, true for mated pairs.
  Returns:
    `Roc` with K = distinct scores + 1 points, in integers.
  Raises:
    ValueError: wrong shapes, a score that is not finite, or no mated or non-mated pairs.
  """
  score_p, same_p = check_scores(score_p, same_p)
  if not same_p.any() or same_p.all():
    count = int(same_p.sum())
    raise ValueError(
      f"{count} mated and {same_p.size - count} non-mated pairs: a ROC needs at least one of each: add pairs of the other kind"
    )
  order = np.argsort(-score_p, kind="stable")
  falling, mated = score_p[order], same_p[order]
  last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), falling.size - 1)
  true_accepts = np.cumsum(mated, dtype=np.int64)[last]
  return Roc(
    np.append(np.nextafter(falling[0], np.inf), falling[last]),
    np.append(0, last + 1 - true_accepts),
    np.append(0, true_accepts),
  )


def auc(curve: Roc) -> float:
  """Area under the ROC: the probability that a mated pair outscores a non-mated one, with ties counted as one half.

  Equals Mann-Whitney's U / (mated · non-mated), summed in integers: exact up to the final division.
  """
  twice = np.diff(curve.false_accepts) * (curve.true_accepts[1:] + curve.true_accepts[:-1])
  return int(twice.sum()) / (2 * curve.mated * curve.nonmated)


def eer(curve: Roc) -> Operating:
  """Equal error rate: where the linearly interpolated ROC meets FAR = 1 − TAR.

  A segment between two points is attained by rejecting a random share of the pairs tied at its lower end, so
  the value is attainable; no convex hull is used. FAR + TAR increases strictly along the curve, so there is
  exactly one crossing.

  Returns:
    `Operating` with far the equal error rate, tar = 1 − far, and the threshold at the end of the crossed
    segment with the higher FAR.
  """
  mated, nonmated = curve.mated, curve.nonmated
  # (FAR + TAR − 1) · mated · nonmated, in integers, from −mated · nonmated up to +mated · nonmated.
  excess = curve.false_accepts * mated + curve.true_accepts * nonmated - mated * nonmated
  upper = int(np.searchsorted(excess, 0))
  low, high = int(excess[upper - 1]), int(excess[upper])
  before, after = int(curve.false_accepts[upper - 1]), int(curve.false_accepts[upper])
  rate = (before * (high - low) + (after - before) * -low) / (nonmated * (high - low))
  return Operating(1 - rate, rate, float(curve.threshold[upper]))


def tar_at_far(curve: Roc, target: float) -> Operating:
  """The largest TAR among the points whose FAR is at most `target`.

  Without interpolation: a threshold attains it. Below 1 / non-mated no false accept is allowed. A FAR is a
  correctly rounded quotient, so a target like 1e-3 is met exactly by 3 false accepts in 3,000.

  Args:
    curve: from `roc`.
    target: FAR in [0, 1].
  Returns:
    `Operating` with the TAR, the actual FAR, and the threshold (the lowest accepted score; just above the
    highest score if nothing may be accepted).
  """
  check_rate(target, "target FAR")
  return last_allowed(curve.tar, curve.far, curve.threshold, target)


def last_allowed(tar_k: np.ndarray, far_k: np.ndarray, threshold_k: np.ndarray, target: float) -> Operating:
  """The last point of a curve whose error rate, which does not decrease, is at most the target.

  Args:
    tar_k: [K] float, non-decreasing.
    far_k: [K] float, non-decreasing from 0.
    threshold_k: [K] float.
    target: in [0, 1].
  """
  point = int(np.searchsorted(far_k, target, side="right")) - 1
  # Points of equal FAR are consecutive with increasing TAR; the search ends at the last of them.
  return Operating(float(tar_k[point]), float(far_k[point]), float(threshold_k[point]))


__all__ = [
  "Operating",
  "Roc",
  "allowed_errors",
  "auc",
  "check_rate",
  "check_scores",
  "eer",
  "last_allowed",
  "roc",
  "tar_at_far",
]
