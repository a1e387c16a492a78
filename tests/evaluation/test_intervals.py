"""Intervals of rates over pairs that share identities: against sums over all pairs of pairs, and against independent libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxface.evaluation.intervals.false_accepts import ListedPairs
from jaxface.evaluation.intervals.identity_units import Units, units_of
from jaxface.evaluation.intervals.rates import (
  independent_pairs,
  rate_interval,
  shared_variance,
  size_note,
  size_notes,
  wilson,
)
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


def test_of_several_targets_the_largest_of_each_rule_is_noted():
  notes = size_notes([1e-1, 1e-2, 1e-3, 1e-4, 1e-5], 20_000, rate="FPIR", of="non-mated probes")
  assert [note.split()[1] for note in notes] == ["0.001", "0.0001"] and all("non-mated probes" in note for note in notes)
  assert "(rule of 30)" in notes[0] and "20 false positives" in notes[0] and "(rule of 3)" in notes[1]
  assert size_notes([1e-1, 1e-2], 20_000) == [] and size_notes([], 5) == []


def every_pair():
  """All pairs of eight people with three images each, with scores from integers."""
  a, b = np.triu_indices(24, 1)
  i, j = a // 3, b // 3
  score = ((a * 37 + b * 101 + a * b * 13) % 97) / 97 + np.where(i == j, 0.45, 0.2 * ((i * j) % 3 == 0))
  return score, Units(i, j, 8)


# At a threshold: variance and interval of FAR, then of FRR, by `UncertaintyEstimator` of cimat (awslabs/cis-matching-tasks).
CIMAT = {
  0.6: (0.002271510456034266, (0.43501426391244735, 0.6186619937349048), 0.006076388888888889, (0.1309666183184744, 0.42438804490917637)),
  0.8: (0.0012681990785732282, (0.26390860690187273, 0.40218605182258826), 0.006076388888888887, (0.2778512766676336, 0.5700856568652475)),
  0.9: (0.0018980806608357632, (0.14538584149609263, 0.3142159743949113), 0.0034722222222222216, (0.3874709230948976, 0.6125290769051024)),
}


@pytest.mark.parametrize("threshold", CIMAT)
def test_variance_and_interval_equal_those_of_cimat(threshold):
  score, units = every_pair()
  same = units.left_p == units.right_p
  for at, (kind, error) in enumerate([(~same, score >= threshold), (same, score < threshold)]):
    error, own = error[kind], Units(units.left_p[kind], units.right_p[kind], units.total)
    variance, interval = CIMAT[threshold][2 * at : 2 * at + 2]
    independent = error.mean() * (1 - error.mean()) / len(error)
    found = shared_variance(error - error.mean(), own) / len(error) ** 2
    # Where errors of a person happen to differ, cimat takes pairs as more certain than independent ones; we do not.
    assert found == pytest.approx(max(variance, independent), rel=1e-12)
    if variance >= independent:
      assert rate_interval(error, own) == pytest.approx(interval, abs=1e-12)


def test_both_cases_of_cimat_are_there():
  score, units = every_pair()
  apart = units.left_p != units.right_p
  shares = {threshold: (score[apart] >= threshold).mean() for threshold in CIMAT}
  assert all(CIMAT[threshold][0] > share * (1 - share) / apart.sum() for threshold, share in shares.items())


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 9))
def test_the_variance_of_false_accepts_of_a_list_is_the_shared_one(seed, pairs, people):
  score_p, units = drawn(seed, pairs, people)
  found = ListedPairs.of(score_p, np.zeros(pairs, bool), units)
  for count in range(pairs + 1):
    residual_p = (np.arange(pairs) < count) - count / pairs
    independent = (residual_p**2).sum()
    right = shared_variance(residual_p, found.units) / independent if 0 < count < pairs else 1.0
    assert found.variance_ratio(count) == pytest.approx(right, rel=1e-9)
