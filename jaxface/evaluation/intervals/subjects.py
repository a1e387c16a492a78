"""Intervals of TAR at FAR of template pairs: too many pairs for a bootstrap, so from the variance of rates over subjects."""

import math
from collections.abc import Sequence

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import Z95, rate_interval, shared_variance

# The design factor is estimated from at least this many false accepts.
FEWEST = 30


def subject_units(left_p: np.ndarray, right_p: np.ndarray, same_p: np.ndarray, templates: int) -> Units:
  """Subjects of template pairs: templates that mated pairs connect show one subject, others are taken as different subjects.

  Args:
    left_p, right_p: [P] int, templates from 0.
    same_p: [P] bool.
    templates: number of templates.
  Returns:
    `Units`.
  """
  subject_t = np.arange(templates)
  left_m, right_m = left_p[same_p], right_p[same_p]
  while True:  # the least number spreads along mated pairs
    before_t = subject_t.copy()
    least_m = np.minimum(subject_t[left_m], subject_t[right_m])
    np.minimum.at(subject_t, left_m, least_m)
    np.minimum.at(subject_t, right_m, least_m)
    subject_t = subject_t[subject_t]
    if np.array_equal(subject_t, before_t):
      break
  found, unit_t = np.unique(subject_t, return_inverse=True)
  return Units(unit_t[left_p], unit_t[right_p], len(found))


def template_intervals(
  score_p: np.ndarray, same_p: np.ndarray, units: Units, targets: Sequence[float], thresholds: Sequence[float]
) -> list[tuple[float, float]]:
  """95 % intervals of TAR at the thresholds whose FAR in the population is a target.

  Combines, as independent, TAR's interval at the threshold found and its change over the threshold's own interval, as in
  `streaming.pair_intervals`: λ ± 1.96 √(λ d) false accepts, with λ = target · non-mated pairs and the design factor d of at least 30.

  Args:
    score_p: [P] float.
    same_p: [P] bool; pairs of both kinds.
    units: subjects.
    targets: [T] FARs.
    thresholds: [T], found for each target: accept where score >= threshold.
  Returns:
    T times (low, high), both within [0, 1].
  """
  mated_m, nonmated_q = score_p[same_p], score_p[~same_p]
  of_mated, of_nonmated = (Units(units.left_p[kind], units.right_p[kind], units.total) for kind in (same_p, ~same_p))
  falling_q, nonmated = np.sort(nonmated_q)[::-1], len(nonmated_q)
  result = []
  for target, threshold in zip(targets, thresholds):
    expected = target * nonmated
    residual_q = (nonmated_q >= falling_q[min(max(int(expected), FEWEST), nonmated) - 1]).astype(np.float64)
    residual_q -= residual_q.mean()
    independent = float((residual_q**2).sum())
    factor = shared_variance(residual_q, of_nonmated) / independent if independent else 1.0
    half = Z95 * math.sqrt(expected * factor)
    low, high = math.floor(expected - half), math.ceil(expected + half)
    highest = float(falling_q[low - 1]) if low > 0 else np.inf
    lowest = float(falling_q[high]) if high < nonmated else -np.inf
    tar, narrower, wider = (float((mated_m >= at).mean()) for at in (threshold, max(highest, threshold), min(lowest, threshold)))
    fixed = rate_interval(mated_m >= threshold, of_mated)
    below, above = math.hypot(tar - fixed[0], tar - narrower), math.hypot(fixed[1] - tar, wider - tar)
    result.append((max(0.0, tar - below), min(1.0, tar + above)))
  return result


__all__ = ["subject_units", "template_intervals"]
