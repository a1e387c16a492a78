"""Two models on one pair list: differences of their figures, with paired intervals and tests over identities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from jaxface.evaluation.intervals.rates import Z95, shared_variance
from jaxface.evaluation.pairs.verification import Verification


@dataclass(frozen=True)
class Difference:
  """A figure of the second model minus that of the first.

  Attributes:
    value: of the figures.
    low: end of the 95 % interval.
    high: likewise.
    p: two-sided probability of a difference at least as large if the models were equal.
  """

  value: float
  low: float
  high: float
  p: float

  def __str__(self) -> str:
    return f"{100 * self.value:+.2f} (95 %: {100 * self.low:+.2f} to {100 * self.high:+.2f}), p = {self.p:.3g}"


def compare(first: Verification, second: Verification) -> Mapping[str, Difference]:
  """Differences of two models' figures on the same pairs.

  Both models see the same people, so most of what makes a figure uncertain cancels: the interval of a difference is narrower than those
  of the figures suggest. The accuracy's is by the variance of the pairs' differences, which sums over pairs that share an identity; those
  of the other figures have the standard deviation of a bootstrap in which both models have the same weights.

  Args:
    first: figures of one model.
    second: of the other, on the same list.
  Returns:
    `Difference` by name: accuracy, auc, eer, and "tar_at_far 1e-2" for each target.
  Raises:
    ValueError: they are of different lists.
  """
  a, b = first.pairs, second.pairs
  if (a.left, a.right) != (b.left, b.right) or not np.array_equal(a.same, b.same):
    raise ValueError(f"figures of {len(a):,} and of {len(b):,} pairs of different lists: compare models on one list, in one order")
  found = {"accuracy": _accuracy(first, second)}
  ours, theirs = first.intervals.drawn, second.intervals.drawn
  found["auc"] = drawn_difference(second.auc - first.auc, theirs.auc_r - ours.auc_r)
  found["eer"] = drawn_difference(second.eer - first.eer, theirs.eer_r - ours.eer_r)
  for column, (name, tar) in enumerate(first.tar_at_far.items()):
    found[f"tar_at_far {name}"] = drawn_difference(second.tar_at_far[name] - tar, theirs.tar_rt[:, column] - ours.tar_rt[:, column])
  return found


def holm(p_m: Sequence[float] | np.ndarray) -> np.ndarray:
  """Holm's correction of the probabilities of several tests, valid however they depend on each other.

  Rejecting where the result is at most α, the probability of any false rejection is at most α.

  Args:
    p_m: [M] probabilities in [0, 1].
  Returns:
    [M] float64: of the k-th smallest, the largest of (M − i + 1) p₍ᵢ₎ for i ≤ k, at most 1.
  Raises:
    ValueError: not probabilities [M].
  Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
  """
  p_m = np.asarray(p_m, np.float64)
  if p_m.ndim != 1 or not ((p_m >= 0) & (p_m <= 1)).all():
    raise ValueError(f"probabilities {p_m}: they must be numbers [M] in [0, 1]")
  order_m = np.argsort(p_m, kind="stable")
  corrected_m = np.empty_like(p_m)
  corrected_m[order_m] = np.minimum(np.maximum.accumulate(p_m[order_m] * np.arange(p_m.size, 0, -1)), 1.0)
  return corrected_m


def _accuracy(first: Verification, second: Verification) -> Difference:
  correct_p, other_p = ((one.score_p >= one.threshold_p) == one.pairs.same for one in (first, second))
  weight_p = first.folds.weight_of(first.pairs.fold)
  change_p = weight_p * (other_p.astype(np.float64) - correct_p)
  value = float(change_p.sum())
  return normal_difference(value, Z95 * float(np.sqrt(shared_variance(change_p - weight_p * value, first.intervals.units))))


def normal_difference(value: float, half: float) -> Difference:
  """A difference whose error has a normal distribution.

  Args:
    value: the difference.
    half: half the width of its 95 % interval.
  """
  p = 2 * NormalDist().cdf(-abs(value) * Z95 / half) if half else 1.0
  return Difference(value, value - half, value + half, p)


def drawn_difference(value: float, change_r: np.ndarray) -> Difference:
  """A difference with the interval and the probability of a normal distribution with the standard deviation of draws.

  Draws are not counted on either side of 0: weights are positive, so that a single person on whom the models differ gives all of them one sign.

  Args:
    value: the difference.
    change_r: [R] float, the same in draws in which both models have the same weights.
  """
  found = normal_difference(value, Z95 * float(np.std(change_r)))
  # A threshold that is chosen again may give no draw the difference: then it is not told from 0.
  return found if found.low < found.high else Difference(value, min(value, 0.0), max(value, 0.0), 1.0)


__all__ = ["Difference", "compare", "drawn_difference", "holm", "normal_difference"]
