"""The interval of the equal error rate on the convex hull."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation import Units, eer_convex_hull, eer_convex_hull_interval, roc
from jaxface.evaluation.intervals.hull_interval import hull_eer


def sample(seed, people=40, pairs=400, digits=None):
  """Normal scores, 2 apart."""
  random = np.random.default_rng(seed)
  left = random.integers(0, people, pairs)
  same = random.random(pairs) < 0.5
  right = np.where(same, left, (left + random.integers(1, people, pairs)) % people)
  score = random.normal(size=pairs) + 2.0 * same
  return score if digits is None else np.round(score, digits), same, Units(left, right, people)


@given(st.integers(0, 10_000), st.sampled_from([None, 0, 1]), st.integers(2, 60))
def test_the_largest_least_cost_is_the_rate_on_the_hull(seed, digits, pairs):
  random = np.random.default_rng(seed)
  same = random.random(pairs) < 0.5
  same[:2] = True, False
  score = random.normal(size=pairs) + same
  score = score if digits is None else np.round(score, digits)
  curve = roc(score, same)
  assert hull_eer(curve.far[None], curve.tar[None])[0] == pytest.approx(eer_convex_hull(curve).far, abs=1e-9)


def test_it_holds_the_truth():
  """The hull's rate of two normal distributions is that at their middle."""
  from scipy import stats

  truth, held = float(stats.norm.sf(1.0)), 0
  for seed in range(60):
    low, high = eer_convex_hull_interval(*sample(seed), draws=300)
    held += low <= truth <= high
  # The hull of a sample is below that of the population, more so in a draw.
  assert held >= 50


def test_a_list_without_an_error_is_not_certain():
  score, same, units = sample(0)
  low, high = eer_convex_hull_interval(score + 50 * same, same, units, draws=200)
  assert low == 0 < high < 0.5
  with pytest.raises(ValueError, match="at least one of each"):
    eer_convex_hull_interval(score, np.ones(len(score), bool), units)
