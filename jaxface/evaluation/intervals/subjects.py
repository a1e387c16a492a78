"""Intervals of AUC and TAR at FAR of template pairs: too many pairs for a bootstrap of all, so from the variance over subjects."""

import math
from collections.abc import Sequence

import numpy as np

from jaxface.evaluation.intervals.false_accepts import ListedPairs, threshold_interval
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import independent_pairs, rate_interval, shared_variance, wilson


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

  Combines, as independent, TAR's interval at the threshold found and its change over the threshold's own interval (`threshold_interval`).

  Args:
    score_p: [P] float.
    same_p: [P] bool; pairs of both kinds.
    units: subjects.
    targets: [T] FARs.
    thresholds: [T], found for each target: accept where score >= threshold.
  Returns:
    T times (low, high), both within [0, 1].
  """
  mated_m, nonmated = score_p[same_p], ListedPairs.of(score_p, same_p, units)
  of_mated = Units(units.left_p[same_p], units.right_p[same_p], units.total)
  result = []
  for target, threshold in zip(targets, thresholds):
    ends = threshold_interval(nonmated, target)
    assert ends is not None  # no score of a list is left out
    tar, narrower, wider = (float((mated_m >= at).mean()) for at in (threshold, max(ends[1], threshold), min(ends[0], threshold)))
    fixed = rate_interval(mated_m >= threshold, of_mated)
    below, above = math.hypot(tar - fixed[0], tar - narrower), math.hypot(fixed[1] - tar, wider - tar)
    result.append((max(0.0, tar - below), min(1.0, tar + above)))
  return result


def template_auc_interval(score_p: np.ndarray, same_p: np.ndarray, units: Units) -> tuple[float, float]:
  """95 % interval of the AUC: Wilson's, with as many trials as independent pairs would need for the same variance.

  The AUC is the mean over mated pairs of the share of non-mated pairs below, and over non-mated pairs of the share of mated ones above. The
  variance sums the deviations of these shares over all pairs that share a subject, of both kinds. Of few subjects it is too small: of 80 by
  about a fifth.

  Args:
    score_p: [P] float.
    same_p: [P] bool; pairs of both kinds.
    units: subjects.
  Returns:
    (low, high), both within [0, 1].
  Source: DeLong et al., "Comparing the Areas under Two or More Correlated ROC Curves", 1988; Obuchowski, "Nonparametric Analysis of Clustered
  ROC Curve Data", 1997.
  """
  mated_m, other_k = np.sort(score_p[same_p]), np.sort(score_p[~same_p])
  residual_p = np.empty(len(score_p))
  residual_p[same_p] = (np.searchsorted(other_k, score_p[same_p], "left") + np.searchsorted(other_k, score_p[same_p], "right")) / (2 * len(other_k))
  below_p = (np.searchsorted(mated_m, score_p[~same_p], "left") + np.searchsorted(mated_m, score_p[~same_p], "right")) / (2 * len(mated_m))
  residual_p[~same_p] = 1.0 - below_p
  auc = float(residual_p[same_p].mean())
  if not 0 < auc < 1:  # no error, or nothing else: the variance cannot be estimated
    trials = fewest_pairs(same_p, units)
    return wilson(round(auc) * trials, trials)
  residual_p -= auc
  residual_p[same_p] /= len(mated_m)
  residual_p[~same_p] /= len(other_k)
  trials = max(1.0, auc * (1 - auc) / shared_variance(residual_p, units))
  return wilson(auc * trials, trials)


def fewest_pairs(same_p: np.ndarray, units: Units) -> float:
  """How many pairs of the rarer kind there can be without a shared subject, at most."""
  return min(independent_pairs(Units(units.left_p[kind_p], units.right_p[kind_p], units.total)) for kind_p in (same_p, ~same_p))


__all__ = ["fewest_pairs", "subject_units", "template_auc_interval", "template_intervals"]
