"""Intervals of the FAR, and of the threshold at a FAR, over a list of pairs or over all pairs, from the non-mated pairs with the highest scores.

The number of false accepts at a threshold sums over pairs, and its variance over pairs of pairs that share an identity, as in
`jaxface.evaluation.intervals.rates`. Its ratio to that of independent pairs is the *design factor* d. Over all pairs of N images it is a closed
form of the number of images of each identity and of the accepted pairs only, so the 10^12 rejected ones are never visited.

With λ = target · non-mated pairs, the threshold whose FAR in the population is the target has λ ± 1.96 √(λ d) false accepts in 95 % of
samples: the scores at these two positions are its interval (Woodruff). d is estimated at the threshold found and used at both ends. Estimated at
each end it is too small at the upper one, which has few false accepts, of few people.
Sources: Woodruff, "Confidence Intervals for Medians and Other Position Measures", 1952; Fogliato, Patil, Perona, "Confidence Intervals for
Error Rates in 1:1 Matching Tasks", 2023.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import Z95, wilson

Interval = tuple[float, float]
# The design factor is estimated from at least this many false accepts.
FEWEST = 30


class NonMated(ABC):
  """The highest non-mated scores, and how much the number of false accepts varies.

  Attributes:
    score_t: [T] float64, falling; all, or the highest ones.
    share: share of the pairs with such scores that is given.
    whole: whether pairs of every score are given, not only the highest.
  """

  score_t: np.ndarray
  share: float
  whole: bool

  @property
  @abstractmethod
  def pairs(self) -> int:
    """Number of all non-mated pairs."""

  @abstractmethod
  def variance_ratio(self, count: int) -> float:
    """Variance of the number of false accepts, in that of independent pairs; at least 1.

    Args:
      count: how many of all pairs are accepted.
    """

  def design(self, count: int) -> float:
    """The design factor of a threshold that accepts the first `count` pairs, estimated from at least 30."""
    return self.variance_ratio(min(max(count, FEWEST), self.pairs))

  def interval(self, count: int) -> Interval:
    """95 % interval of the FAR of a threshold that accepts the first `count` pairs: Wilson's, of as many pairs as independent ones would need."""
    trials = max(1.0, self.pairs / self.design(count))
    return wilson(min(count / self.pairs, 1.0) * trials, trials)


@dataclass(frozen=True)
class ListedPairs(NonMated):
  """All non-mated pairs of a list.

  Attributes:
    score_t: [T] float64, falling.
    units: identities of these pairs.
    share, whole: all pairs are given.
  """

  score_t: np.ndarray
  units: Units
  share: float = field(default=1.0, init=False)
  whole: bool = field(default=True, init=False)

  @classmethod
  def of(cls, score_p: np.ndarray, same_p: np.ndarray, units: Units) -> "ListedPairs":
    """The non-mated pairs of a list, sorted."""
    other_t = np.flatnonzero(~same_p)
    other_t = other_t[np.argsort(-score_p[other_t], kind="stable")]
    return cls(score_p[other_t], Units(units.left_p[other_t], units.right_p[other_t], units.total))

  @property
  def pairs(self) -> int:
    """Number of non-mated pairs."""
    return len(self.score_t)

  @cached_property
  def _of_units(self) -> np.ndarray:
    """Pairs of each identity, [U] float64."""
    return self._at(slice(None))

  @cached_property
  def _of_two(self) -> tuple[np.ndarray, np.ndarray]:
    """Codes of two identities that have pairs, rising, and how many they have."""
    code_c, pairs_c = np.unique(self._codes(self.pairs), return_counts=True)
    return code_c, pairs_c.astype(np.float64)

  def variance_ratio(self, count: int) -> float:
    # `shared_variance` of the accepted pairs minus their share, whose squares are multiplied out: only the accepted ones are visited.
    rate = count / self.pairs
    independent = count * (1 - rate)
    if not independent > 0:
      return 1.0
    code_c, pairs_c = self._of_two
    code_g, accepted_g = np.unique(self._codes(count), return_counts=True)
    pairs_g = pairs_c[np.searchsorted(code_c, code_g)]
    of_two = float((accepted_g.astype(np.float64) ** 2).sum()) - 2 * rate * float((accepted_g * pairs_g).sum()) + rate**2 * float((pairs_c**2).sum())
    of_unit = float(((self._at(slice(count)) - rate * self._of_units) ** 2).sum())
    return max(1.0, (of_unit - of_two) / independent)

  def _at(self, which: slice) -> np.ndarray:
    """[U] float64, some pairs by identity; both identities of a pair have it."""
    left_p, right_p = self.units.left_p[which], self.units.right_p[which]
    both = np.bincount(left_p, minlength=self.units.total) + np.bincount(right_p[left_p != right_p], minlength=self.units.total)
    return both.astype(np.float64)

  def _codes(self, count: int) -> np.ndarray:
    """A number for the two identities of each of the first pairs that show two."""
    left_p, right_p = self.units.left_p[:count].astype(np.int64), self.units.right_p[:count].astype(np.int64)
    apart = left_p != right_p
    return np.minimum(left_p, right_p)[apart] * self.units.total + np.maximum(left_p, right_p)[apart]


@dataclass(frozen=True)
class AllPairs(NonMated):
  """The highest non-mated scores of all pairs of labelled embeddings, or a random part of them.

  Attributes:
    score_t: [T] float64, falling.
    left_t: [T] int, identity of the first embedding, from 0.
    right_t: [T] int, identity of the second one.
    left_i: [I] number of embeddings of each identity.
    right_i: [I] likewise, in the gallery; None for the pairs i < j of one set.
    share: probability with which a pair was kept.
    whole: whether pairs of every score were kept, not only the highest.
  """

  score_t: np.ndarray
  left_t: np.ndarray
  right_t: np.ndarray
  left_i: np.ndarray
  right_i: np.ndarray | None = None
  share: float = 1.0
  whole: bool = False

  @cached_property
  def _sizes(self) -> tuple[np.ndarray, np.ndarray, float]:
    """Numbers of embeddings [I] on both sides, and how often each pair is among those of a left and a right one."""
    left_i = self.left_i.astype(np.float64)
    return (left_i, left_i, 0.5) if self.right_i is None else (left_i, self.right_i.astype(np.float64), 1.0)

  @cached_property
  def pairs_i(self) -> np.ndarray:
    """[I] float64, non-mated pairs of each identity."""
    left_i, right_i, half = self._sizes
    return half * (left_i * (right_i.sum() - right_i) + right_i * (left_i.sum() - left_i))

  @cached_property
  def pairs(self) -> int:
    """Number of non-mated pairs."""
    return round(self.pairs_i.sum() / 2)

  def variance_ratio(self, count: int) -> float:
    left_i, right_i, half = self._sizes
    rate, share = count / self.pairs, self.share
    independent = count * (1 - rate)
    if not independent > 0:
      return 1.0
    left_t, right_t = self._accepted(count)
    # Squares of counts of a random part are too large by the variance of the choice.
    excess = (1 - share) / share**2
    # Pairs of the same two identities are counted at both.
    code_t = np.minimum(left_t, right_t) * len(left_i) + np.maximum(left_t, right_t)
    code_g, accepted_g = np.unique(code_t, return_counts=True)
    one_g, two_g = np.divmod(code_g, len(left_i))
    pairs_g = half * (left_i[one_g] * right_i[two_g] + left_i[two_g] * right_i[one_g])
    of_two = float(((accepted_g / share) ** 2).sum()) - excess * len(left_t) - 2 * rate * float((accepted_g * pairs_g).sum()) / share
    squares = float((left_i**2).sum()) * float((right_i**2).sum()) + float((left_i * right_i).sum()) ** 2
    of_two += (rate * half) ** 2 * (squares - 2 * float(((left_i * right_i) ** 2).sum()))
    of_identity = float((self.surplus(count) ** 2).sum()) - excess * 2 * len(left_t)
    return max(1.0, (of_identity - of_two) / independent)

  def surplus(self, count: int) -> np.ndarray:
    """[I] float64, false accepts of each identity, minus the number expected of its pairs, if the first `count` pairs are accepted."""
    accepted_i = sum(np.bincount(side_t, minlength=len(self.left_i)) for side_t in self._accepted(count))
    return accepted_i / self.share - count / self.pairs * self.pairs_i

  def _accepted(self, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Identities of the accepted pairs that were kept."""
    kept = max(1, round(count * self.share)) if count else 0
    return self.left_t[:kept].astype(np.int64), self.right_t[:kept].astype(np.int64)


def threshold_interval(found: NonMated, target: float) -> Interval | None:
  """95 % interval of the threshold whose FAR in the population is a target.

  Its upper end is at most that of a tenth of the target, since thresholds fall with the FAR: few people may have most of the false accepts
  at the target, which then bound nothing, but not of those above.

  Args:
    found: the highest non-mated scores.
    target: FAR in [0, 1].
  Returns:
    (low, high); the ends are infinite where no score bounds the threshold; None if more scores than `found` has are needed.
  """
  expected = target * found.pairs
  # A threshold that accepts `most` pairs lies above the next score, one that accepts `fewest` at the last of them.
  most = math.ceil(expected + _half(found, expected))
  at = int(most * found.share)
  if most < found.pairs and at < len(found.score_t):
    low = float(found.score_t[at])
  elif found.whole:
    low = -math.inf
  else:
    return None
  return low, min(_upper(found, expected), _upper(found, expected / 10))


def _half(found: NonMated, expected: float) -> float:
  """Half the width of the interval of a number of false accepts."""
  return Z95 * math.sqrt(expected * found.design(int(expected)))


def _upper(found: NonMated, expected: float) -> float:
  """The score with the fewest false accepts in the interval of their number; without a pair above it, nothing bounds the threshold."""
  fewest = math.floor(expected - _half(found, expected))
  return float(found.score_t[int((fewest - 1) * found.share)]) if fewest > 0 else math.inf


__all__ = ["FEWEST", "AllPairs", "Interval", "ListedPairs", "NonMated", "threshold_interval"]
