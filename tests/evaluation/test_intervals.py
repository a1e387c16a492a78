"""Intervals of rates over pairs that share identities: against sums over all pairs of pairs, and against independent libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxface.evaluation.identity_units import Units, units_of
from jaxface.evaluation.intervals import independent_pairs, rate_interval, shared_variance, size_note, wilson
from jaxface.formats.pairs import Pairs


def drawn(seed, pairs, people):
  random = np.random.default_rng(seed)
  left, right = random.integers(0, people, (2, pairs))
  return random.normal(size=pairs), Units(left, right, people)


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 3), (297, 300), (2999, 3000)])
def test_wilson_equals_scipy(successes, trials):
  expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
  assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_needs_trials(successes, trials):
  with pytest.raises(ValueError, match="successes of"):
    wilson(successes, trials)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 12))
def test_the_variance_is_the_sum_over_pairs_that_share_an_identity(seed, pairs, people):
  residual, units = drawn(seed, pairs, people)
  total = 0.0
  for p in range(pairs):
    for q in range(pairs):
      if {units.left_p[p], units.right_p[p]} & {units.left_p[q], units.right_p[q]}:
        total += residual[p] * residual[q]
  assert shared_variance(residual, units) == pytest.approx(max(total, float((residual**2).sum())), rel=1e-9)


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 12))
def test_the_interval_holds_the_rate_and_is_never_narrower_than_that_of_independent_pairs(seed, pairs, people):
  value, units = drawn(seed, pairs, people)
  success = value > 0.3
  low, high = rate_interval(success, units)
  naive_low, naive_high = wilson(int(success.sum()), pairs)
  assert 0 <= low <= success.mean() <= high <= 1
  if success.any() and not success.all():
    assert high - low >= naive_high - naive_low - 1e-12
  order = np.random.default_rng(seed).permutation(pairs)
  again = rate_interval(success[order], Units(units.right_p[order], units.left_p[order], people))
  assert again == pytest.approx((low, high), abs=1e-12)
  assert rate_interval(success, units, weight_p=np.full(pairs, 7.0)) == pytest.approx((low, high), abs=1e-12)


def test_pairs_that_share_nobody_have_the_interval_of_wilson():
  success = np.arange(40) < 31
  units = Units(np.arange(40), np.arange(40, 80), 80)
  assert rate_interval(success, units) == pytest.approx(wilson(31, 40), abs=1e-12)
  mated = Units(np.arange(40), np.arange(40), 40)
  assert rate_interval(success, mated) == pytest.approx(wilson(31, 40), abs=1e-12)


def test_repeated_pairs_of_a_person_count_once():
  # Ten people with the same outcome in all of their eight pairs: as certain as ten pairs.
  success = np.repeat(np.arange(10) < 7, 8)
  units = Units(*(np.repeat(np.arange(10), 8),) * 2, 10)
  assert rate_interval(success, units) == pytest.approx(wilson(7, 10), abs=1e-12)


def test_without_an_error_the_independent_pairs_count():
  # Six people, all fifteen pairs: only three of them share nobody.
  left, right = np.triu_indices(6, 1)
  units = Units(left, right, 6)
  assert independent_pairs(units) == 3
  assert rate_interval(np.zeros(15, bool), units) == pytest.approx(wilson(0, 3), abs=1e-12)
  with pytest.raises(ValueError, match="no pairs"):
    rate_interval(np.zeros(0, bool), Units(np.zeros(0, int), np.zeros(0, int), 0))


def test_identities_are_folders_and_what_mated_pairs_connect():
  rows = [("A/1", "A/2", True), ("A/3", "B/1", False), ("x", "y", True), ("y", "z", True), ("z", "w", False), ("v", "x", False)]
  left, right, same = (list(column) for column in zip(*rows))
  units = units_of(Pairs(left, right, np.array(same), np.zeros(6, np.int64)))
  assert units.total == 5  # A, B, x y z, w, v
  np.testing.assert_array_equal(units.left_p == units.right_p, same)
  assert units.left_p[0] == units.left_p[1] and units.right_p[3] == units.left_p[4] == units.right_p[5] == units.left_p[2]


@pytest.mark.parametrize(("target", "nonmated", "word"), [
  (1e-3, 2_999, "3,000 independent"), (1e-3, 3_000, "30,000 non-mated"), (1e-3, 29_999, "rule of 30"), (1e-3, 30_000, ""),
])
def test_a_note_where_the_set_is_too_small(target, nonmated, word):
  note = size_note(target, nonmated)
  assert word in note and bool(note) == bool(word)
