"""Intervals of the FAR of all pairs, and of the threshold at a FAR, from the non-mated pairs with the highest scores.

The variance of a FAR sums over pairs of pairs that share an identity, as in `jaxface.evaluation.intervals.rates`. Of all pairs of N images it
is a closed form of the number of images of each identity and of the accepted pairs only, so the 10^12 rejected ones are never visited.

The interval of a threshold inverts that of the FAR: it has the thresholds whose interval of the FAR contains the target.
Source: Woodruff, "Confidence Intervals for Medians and Other Position Measures", 1952.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import rate_interval, wilson

Interval = tuple[float, float]


class NonMated(Protocol):
  """The highest non-mated scores, and intervals of the share of pairs that have them.

  Attributes:
    score_t: [T] float64, falling; all, or the highest ones.
    pairs: number of all non-mated pairs.
  """

  @property
  def score_t(self) -> np.ndarray: ...
  @property
  def pairs(self) -> int: ...
  def interval(self, count: int) -> Interval:
    """95 % interval of the FAR of a threshold that accepts the first `count` pairs."""
    ...


@dataclass(frozen=True)
class ListedPairs:
  """All non-mated pairs of a list.

  Attributes:
    score_t: [T] float64, falling.
    units: identities of these pairs.
  """

  score_t: np.ndarray
  units: Units

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

  def interval(self, count: int) -> Interval:
    """95 % interval of the FAR of a threshold that accepts the first `count` pairs."""
    return rate_interval(np.arange(self.pairs) < count, self.units)


@dataclass(frozen=True)
class AllPairs:
  """The highest non-mated scores of all pairs of labelled images.

  Attributes:
    score_t: [T] float64, falling.
    left_t: [T] int, identity of the first image, from 0.
    right_t: [T] int, identity of the second one.
    images_i: [I] int64, number of images of each identity.
  """

  score_t: np.ndarray
  left_t: np.ndarray
  right_t: np.ndarray
  images_i: np.ndarray

  @property
  def pairs(self) -> int:
    """Number of non-mated pairs."""
    images, squares = int(self.images_i.sum()), int((self.images_i**2).sum())
    return (images * images - squares) // 2

  def interval(self, count: int) -> Interval:
    """95 % interval of the FAR of a threshold that accepts the first `count` pairs; equal to `rate_interval` over all pairs."""
    pairs = self.pairs
    if count in (0, pairs):
      trials = max(1.0, min(float(pairs), int((self.images_i > 0).sum()) / 2))
      return wilson(trials * (count > 0), trials)
    share = count / pairs
    trials = share * (1 - share) / self._variance(count, share)
    trials = min(max(trials, 1.0), float(pairs))
    return wilson(share * trials, trials)

  def _variance(self, count: int, share: float) -> float:
    """Variance of the FAR. A pair contributes 1 − FAR if it is accepted, −FAR if not."""
    images_i = self.images_i.astype(np.float64)
    left_t, right_t = self.left_t[:count], self.right_t[:count]
    accepted_i = np.bincount(left_t, minlength=len(images_i)) + np.bincount(right_t, minlength=len(images_i))
    of_identity_i = accepted_i - share * images_i * (images_i.sum() - images_i)
    # Pairs of the same two identities were counted at both.
    code_t = np.minimum(left_t, right_t).astype(np.int64) * len(images_i) + np.maximum(left_t, right_t)
    code_g, accepted_g = np.unique(code_t, return_counts=True)
    pairs_g = images_i[code_g // len(images_i)] * images_i[code_g % len(images_i)]
    square_i = images_i**2
    of_two = share**2 * (square_i.sum() ** 2 - (square_i**2).sum()) / 2
    of_two += ((accepted_g - share * pairs_g) ** 2 - (share * pairs_g) ** 2).sum()
    total = max((of_identity_i**2).sum() - of_two, count * (1 - share))
    return float(total) / self.pairs**2


def threshold_interval(found: NonMated, target: float, count: int) -> Interval | None:
  """95 % interval of the threshold at a FAR.

  Args:
    found: the highest non-mated scores.
    target: FAR in (0, 1].
    count: number of pairs that the measured threshold accepts.
  Returns:
    (low, high); the ends are -1 or 1 where no score bounds the threshold; None if more scores than `found` has are needed.
  """
  score_t = found.score_t
  # Numbers of accepted pairs that thresholds can have: equal scores are accepted together.
  count_k = np.append(0, np.flatnonzero(np.diff(score_t, append=-np.inf)) + 1)
  at = int(np.searchsorted(count_k, count))
  most = _furthest(at, len(count_k) - 1, lambda place: found.interval(int(count_k[place]))[0] <= target)
  fewest = -_furthest(-at, 0, lambda place: found.interval(int(count_k[-place]))[1] >= target)
  if most == len(count_k) - 1:
    if len(score_t) < found.pairs:
      return None
    low = -1.0
  else:
    low = float(score_t[count_k[most + 1] - 1])
  high = float(score_t[count_k[fewest] - 1]) if fewest else 1.0
  return low, high


def _furthest(start: int, end: int, holds: Callable[[int], bool]) -> int:
  """The furthest place from `start` to `end` up to which a condition holds, by doubling steps, then bisection; `start` counts as holding."""
  step, inside, outside = 1, start, end + 1
  while inside < end:
    place = min(inside + step, end)
    if not holds(place):
      outside = place
      break
    inside, step = place, 2 * step
  while outside - inside > 1:
    middle = (inside + outside) // 2
    inside, outside = (middle, outside) if holds(middle) else (inside, middle)
  return inside


__all__ = ["AllPairs", "Interval", "ListedPairs", "NonMated", "threshold_interval"]
