"""Interval of the equal error rate on the convex hull of the ROC."""

import numpy as np

from jaxface.evaluation.intervals.bootstrap import DRAWS, drawn_rates, percentiles
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.intervals.subjects import fewest_pairs
from jaxface.evaluation.measures.curves import eer_convex_hull
from jaxface.evaluation.measures.roc import roc

_STEPS = 40  # each halves the range of the weight of the two errors, or more


def eer_convex_hull_interval(score_p: np.ndarray, same_p: np.ndarray, units: Units, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
  """95 % interval of `eer_convex_hull`: percentiles of draws with random weights of the identities.

  Args:
    score_p: [P] float, higher is more similar.
    same_p: [P] bool; pairs of both kinds.
    units: identities of the pairs.
    draws: number of draws, fewer for lists of more than two million pairs.
    seed: of the weights.
  Returns:
    (low, high), both within [0, ½].
  Raises:
    ValueError: as `roc`.
  """
  value = eer_convex_hull(roc(score_p, same_p)).far
  drawn_r = np.concatenate([hull_eer(*rates) for rates in drawn_rates(score_p, same_p, units, draws=draws, seed=seed)])
  low, high = percentiles(drawn_r)
  if low == high == 0.0:  # no error in any draw: the set is too small to tell
    high = min(0.5, wilson(0, fewest_pairs(np.asarray(same_p), units))[1])
  return min(low, value), max(high, value)


def hull_eer(false_rk: np.ndarray, true_rk: np.ndarray) -> np.ndarray:
  """Equal error rate on the convex hull: the largest over w of the smallest w FAR + (1 − w) FRR of any threshold.

  The smallest maximum of FAR and FRR over mixtures of thresholds is that largest minimum (von Neumann's theorem). It is concave in w.

  Args:
    false_rk: [R, K] FAR at each threshold.
    true_rk: [R, K] TAR.
  Returns:
    [R] float64.
  """
  missed_rk = 1.0 - true_rk
  low_r, high_r = np.zeros(len(false_rk)), np.ones(len(false_rk))

  def best(weight_r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest mean error, and how it changes with the weight."""
    cost_rk = weight_r[:, None] * false_rk + (1 - weight_r[:, None]) * missed_rk
    at_r = cost_rk.argmin(1)
    rows = np.arange(len(at_r))
    return cost_rk[rows, at_r], false_rk[rows, at_r] - missed_rk[rows, at_r]

  found_r = np.zeros(len(false_rk))
  for _ in range(_STEPS):
    middle_r = (low_r + high_r) / 2
    cost_r, slope_r = best(middle_r)
    found_r = np.maximum(found_r, cost_r)
    low_r, high_r = np.where(slope_r > 0, middle_r, low_r), np.where(slope_r > 0, high_r, middle_r)
  return found_r


__all__ = ["eer_convex_hull_interval", "hull_eer"]
