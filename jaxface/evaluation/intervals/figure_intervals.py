"""95 % intervals of the figures of a pair list, over identities."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxface.evaluation.intervals.bootstrap import Drawn, draw_figures, percentiles
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import independent_pairs, rate_interval, wilson
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.measures.folds import Folds

Interval = tuple[float, float]


@dataclass(frozen=True)
class FigureIntervals:
  """Intervals that respect that pairs share identities, computed when they are asked for.

  Attributes:
    score_p: [P] float64.
    same_p: [P] bool.
    fold_p: [P] int.
    folds: accuracy and threshold of each fold.
    units: identities of the pairs.
    targets: target FARs by name.
  """

  score_p: np.ndarray
  same_p: np.ndarray
  fold_p: np.ndarray
  folds: Folds
  units: Units
  targets: Mapping[str, float]

  @cached_property
  def drawn(self) -> Drawn:
    """Figures of the bootstrap over identities, at the targets."""
    return draw_figures(self.score_p, self.same_p, self.units, list(self.targets.values()))

  @cached_property
  def accuracy(self) -> Interval:
    """Of the mean accuracy over folds, at the folds' thresholds: at the best threshold its choice changes the accuracy in second order."""
    correct_p = (self.score_p >= self.folds.threshold_of(self.fold_p)) == self.same_p
    return rate_interval(correct_p, self.units, weight_p=self.folds.weight_of(self.fold_p))

  @cached_property
  def auc(self) -> Interval:
    """Of the area under the ROC."""
    value, (low, high) = measures.auc(self._roc), percentiles(self.drawn.auc_r)
    if low == high == 1.0:  # no error in any draw: the set is too small to tell
      low = wilson(self._fewest, self._fewest)[0]
    return min(low, value), max(high, value)

  @cached_property
  def eer(self) -> Interval:
    """Of the equal error rate."""
    value, (low, high) = measures.eer(self._roc).far, percentiles(self.drawn.eer_r)
    if low == high == 0.0:
      high = wilson(0, self._fewest)[1]
    return min(low, value), max(high, value)

  @cached_property
  def tar_at_far(self) -> dict[str, Interval]:
    """Of TAR at each target: the union of the bootstrap's, with a threshold for each draw, and of Wilson's at the threshold, which has
    a positive width at 100 %."""
    interval = {}
    for column, (name, target) in enumerate(self.targets.items()):
      low, high = percentiles(self.drawn.tar_rt[:, column])
      fixed_low, fixed_high = self.accepted(measures.tar_at_far(self._roc, target).threshold, mated=True)
      interval[name] = (min(low, fixed_low), max(high, fixed_high))
    return interval

  def accepted(self, threshold: float, *, mated: bool) -> Interval:
    """Of the share of pairs that a threshold accepts which was chosen elsewhere.

    Args:
      threshold: accept where score >= threshold.
      mated: of the mated pairs (TAR), or of the non-mated ones (FAR).
    """
    kind_p = self.same_p == mated
    return rate_interval(self.score_p[kind_p] >= threshold, self._of(kind_p))

  def _of(self, kind_p: np.ndarray) -> Units:
    return Units(self.units.left_p[kind_p], self.units.right_p[kind_p], self.units.total)

  @cached_property
  def _roc(self) -> measures.Roc:
    return measures.roc(self.score_p, self.same_p)

  @property
  def _fewest(self) -> float:
    """Independent pairs of the rarer kind."""
    return min(independent_pairs(self._of(self.same_p == mated)) for mated in (True, False))


__all__ = ["FigureIntervals", "Interval"]
