"""Intervals of template pairs over subjects."""

import numpy as np
import pytest

from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.intervals.subjects import subject_units, template_auc_interval, template_intervals
from jaxface.evaluation.measures.roc import auc, roc, tar_at_far


def test_templates_that_mated_pairs_connect_are_one_subject():
  left, right = np.array([5, 3, 0, 1, 2]), np.array([3, 4, 1, 2, 5])
  units = subject_units(left, right, np.array([True, True, False, True, False]), 6)
  # {3, 4, 5}, {1, 2} and {0}.
  assert units.total == 3
  assert units.left_p[0] == units.right_p[0] == units.left_p[1] == units.right_p[1] == units.right_p[4]
  assert units.left_p[3] == units.right_p[3] == units.right_p[2] == units.left_p[4] != units.left_p[2]


def test_a_long_chain_is_one_subject():
  order = np.random.default_rng(0).permutation(500)
  units = subject_units(order[:-1], order[1:], np.ones(499, bool), 500)
  assert units.total == 1


def sample(seed, people=80, pairs=1500):
  """Scores with parts of both people, as docs/check_intervals.py."""
  random = np.random.default_rng(seed)
  person, same = 0.5 * random.normal(size=people), np.arange(2 * pairs) < pairs
  left = random.integers(0, people, 2 * pairs)
  right = np.where(same, left, (left + random.integers(1, people, 2 * pairs)) % people)
  own = np.where(same, np.sqrt(2) * person[left], person[left] + person[right])
  return own + 0.6 * random.normal(size=2 * pairs) + 2.5 * same, same, Units(left, right, people)


@pytest.mark.parametrize("target", [1e-6, 1e-3, 0.05, 1.0])
def test_an_interval_holds_its_figure(target):
  score, same, units = sample(0)
  found = tar_at_far(roc(score, same), target)
  [(low, high)] = template_intervals(score, same, units, [target], [found.threshold])
  assert 0 <= low <= found.tar <= high <= 1 and low < high


def test_they_hold_the_truth():
  """TAR at FAR 0.01 of two normal distributions that are 2.5 apart, of variance 0.5 + 0.36: 100 sets."""
  from scipy import stats

  truth = float(stats.norm.sf(stats.norm.isf(0.01) - 2.5 / np.sqrt(0.86)))
  held = 0
  for seed in range(100):
    score, same, units = sample(seed)
    threshold = tar_at_far(roc(score, same), 0.01).threshold
    [(low, high)] = template_intervals(score, same, units, [0.01], [threshold])
    held += low <= truth <= high
  assert held >= 88


def test_the_interval_of_the_auc_sums_over_pairs_of_pairs_that_share_a_subject():
  score, same, units = sample(1, people=15, pairs=60)
  score = np.round(score, 1)  # ties
  value = auc(roc(score, same))
  share = [np.mean([(a > b) + (a == b) / 2 for b in score[~same]]) for a in score[same]]
  above = [np.mean([(a > b) + (a == b) / 2 for a in score[same]]) for b in score[~same]]
  assert np.mean(share) == pytest.approx(value) and np.mean(above) == pytest.approx(value)
  part = np.empty(len(score))
  part[same], part[~same] = (np.array(share) - value) / same.sum(), (np.array(above) - value) / (~same).sum()
  people = [{int(left), int(right)} for left, right in zip(units.left_p, units.right_p)]
  variance = sum(part[p] * part[q] for p in range(len(score)) for q in range(len(score)) if people[p] & people[q])
  low, high = template_auc_interval(score, same, units)
  trials = value * (1 - value) / max(variance, (part**2).sum())
  assert (low, high) == pytest.approx(wilson(value * trials, trials))


def test_an_auc_without_error_has_an_interval():
  score, same, units = sample(0, people=20, pairs=50)
  low, high = template_auc_interval(score + 100 * same, same, units)
  assert 0.5 < low < high == 1.0
  low, high = template_auc_interval(score - 100 * same, same, units)
  assert low == 0.0 < high < 0.5


@pytest.mark.parametrize(("people", "pairs", "least"), [(300, 3000, 90), (80, 1500, 80)])
def test_intervals_of_the_auc_hold_the_truth(people, pairs, least):
  """Two normal distributions that are 2.5 apart, of variance 0.5 + 0.36: 100 sets. Of few subjects the intervals are known to be too narrow."""
  from scipy import stats

  truth = float(stats.norm.cdf(2.5 / np.sqrt(2 * 0.86)))
  held = sum(low <= truth <= high for low, high in (template_auc_interval(*sample(seed, people, pairs)) for seed in range(100)))
  assert held >= least
