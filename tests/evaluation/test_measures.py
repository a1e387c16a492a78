"""Measures against their definitions in exact fractions, against SciPy, and by hand."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scored_pairs import arrays, scored

from jaxface.evaluation.measures.roc import auc, eer, roc, tar_at_far


def slow_points(score_p, same_p):
  """(FAR, TAR, threshold) from the definition, in fractions, from above all scores to the lowest."""
  mated, nonmated = int(same_p.sum()), int((~same_p).sum())
  points = [(Fraction(0), Fraction(0), None)]
  for threshold in sorted(set(score_p.tolist()), reverse=True):
    accepted = [same for score, same in zip(score_p, same_p) if score >= threshold]
    points.append(
      (Fraction(accepted.count(False), nonmated), Fraction(accepted.count(True), mated), threshold)
    )
  return points


@given(scored)
def test_roc_equals_its_definition(rows):
  score_p, same_p = arrays(rows)
  curve, slow = roc(score_p, same_p), slow_points(score_p, same_p)
  np.testing.assert_array_equal(curve.far, [float(far) for far, _, _ in slow])
  np.testing.assert_array_equal(curve.tar, [float(tar) for _, tar, _ in slow])
  np.testing.assert_array_equal(curve.threshold[1:], [threshold for _, _, threshold in slow[1:]])
  assert not (score_p >= curve.threshold[0]).any()


@given(scored)
def test_auc_is_mann_whitney_with_ties_half(rows):
  score_p, same_p = arrays(rows)
  u = stats.mannwhitneyu(score_p[same_p], score_p[~same_p]).statistic
  assert auc(roc(score_p, same_p)) == pytest.approx(u / (same_p.sum() * (~same_p).sum()), abs=1e-15)


@given(scored)
def test_eer_is_the_crossing_in_exact_fractions(rows):
  score_p, same_p = arrays(rows)
  slow = slow_points(score_p, same_p)
  for (far_0, tar_0, _), (far_1, tar_1, threshold) in pairwise(slow):
    start, end = far_0 + tar_0 - 1, far_1 + tar_1 - 1
    if start < 0 <= end:
      expected = far_0 + (far_1 - far_0) * (-start / (end - start))
      found = eer(roc(score_p, same_p))
      assert found.far == pytest.approx(float(expected), abs=1e-15)
      assert found.tar == 1 - found.far
      assert found.threshold == threshold
      return
  raise AssertionError("no crossing")


@given(scored, st.sampled_from([0.0, 0.001, 0.1, 0.25, 1 / 3, 0.5, 0.99, 1.0]))
def test_tar_at_far_is_the_best_point_allowed(rows, target):
  score_p, same_p = arrays(rows)
  found = tar_at_far(roc(score_p, same_p), target)
  allowed = [(tar, far) for far, tar, _ in slow_points(score_p, same_p) if float(far) <= target]
  assert found.tar == float(max(allowed)[0])
  accepted = score_p >= found.threshold
  assert (accepted & same_p).sum() / same_p.sum() == found.tar
  assert (accepted & ~same_p).sum() / (~same_p).sum() == found.far <= target


@given(scored)
def test_order_and_monotone_maps_change_nothing_but_thresholds(rows):
  score_p, same_p = arrays(rows)
  order = np.random.default_rng(0).permutation(len(score_p))
  curve, other = roc(score_p, same_p), roc(np.exp(3 * score_p[order]), same_p[order])
  np.testing.assert_array_equal(curve.false_accepts, other.false_accepts)
  np.testing.assert_array_equal(curve.true_accepts, other.true_accepts)


@given(scored)
def test_exchanging_the_classes(rows):
  score_p, same_p = arrays(rows)
  curve, turned, exchanged = roc(score_p, same_p), roc(-score_p, ~same_p), roc(score_p, ~same_p)
  assert auc(curve) == pytest.approx(auc(turned), abs=1e-15)
  assert auc(curve) == pytest.approx(1 - auc(exchanged), abs=1e-15)
  assert eer(curve).far == pytest.approx(eer(turned).far, abs=1e-15)


@given(scored, st.integers(2, 4))
def test_duplicated_pairs_change_no_rate(rows, times):
  score_p, same_p = arrays(rows)
  once, often = roc(score_p, same_p), roc(np.tile(score_p, times), np.tile(same_p, times))
  np.testing.assert_array_equal(once.far, often.far)
  assert auc(once) == pytest.approx(auc(often), abs=1e-15)
  assert eer(once).far == pytest.approx(eer(often).far, abs=1e-15)


def test_golden_of_scikit_learn():
  """The example of scikit-learn's `roc_curve` (drop_intermediate=False) and `roc_auc_score`."""
  curve = roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
  np.testing.assert_array_equal(curve.far, [0, 0, 0.5, 0.5, 1])
  np.testing.assert_array_equal(curve.tar, [0, 0.5, 0.5, 1, 1])
  np.testing.assert_array_equal(curve.threshold, [np.nextafter(0.8, 1), 0.8, 0.4, 0.35, 0.1])
  assert auc(curve) == 0.75
  # Between (0, .5) and (.5, .5) the line FAR = 1 − TAR is met at FAR .5, its end.
  assert eer(curve) == (0.5, 0.5, 0.4)


def test_perfect_and_hopeless_and_all_equal():
  same_p = np.array([True] * 3 + [False] * 4)
  perfect, hopeless = roc(np.where(same_p, 0.9, 0.1), same_p), roc(np.where(same_p, 0.1, 0.9), same_p)
  assert (auc(perfect), eer(perfect).far, tar_at_far(perfect, 1e-3)) == (1, 0, (1, 0, 0.9))
  assert (auc(hopeless), eer(hopeless).far, tar_at_far(hopeless, 0.5).tar) == (0, 1, 0)
  equal = roc(np.full(7, 0.3), same_p)
  assert (auc(equal), eer(equal).far) == (0.5, 0.5)
  assert tar_at_far(equal, 0.5) == (0, 0, np.nextafter(0.3, 1))


@pytest.mark.parametrize("nonmated", [10, 30, 300, 1000, 3000, 7000, 10**5])
def test_a_decimal_target_is_met_exactly(nonmated):
  """k of n false accepts are allowed at a target of k / n, a decimal fraction that binary cannot hold."""
  score_p = np.append(np.arange(nonmated)[::-1] + 0.5, np.arange(nonmated))
  same_p = np.arange(2 * nonmated) >= nonmated
  for target, power in ((1e-1, 10), (1e-2, 100), (1e-3, 1000)):
    found = tar_at_far(roc(score_p, same_p), target)
    assert found.far == (nonmated // power) / nonmated


def test_millions_of_pairs_do_not_overflow():
  score_p = np.tile([0.0, 1.0], 1_000_000)
  same_p = score_p > 0.5
  assert auc(roc(score_p, same_p)) == 1
  assert eer(roc(score_p, same_p)).far == 0


@pytest.mark.parametrize(
  ("score", "same", "message"),
  [
    ([0.1, 0.2], [True, True], "2 mated and 0 non-mated pairs"),
    ([0.1, 0.2], [False, False], "0 mated and 2 non-mated pairs"),
    ([], [], "must be bool"),
    ([0.1, np.nan], [True, False], "score 1 is nan: 1 of 2 scores"),
    ([np.inf, 0.0], [True, False], "score 0 is inf"),
    ([0.1], [True, False], r"scores \(1,\) and same \(2,\)"),
    ([0.1, 0.2], [1, 0], "same is int64: it must be bool"),
  ],
)
def test_wrong_input_says_what_is_wrong(score, same, message):
  with pytest.raises(ValueError, match=message):
    roc(np.array(score), np.array(same))


@pytest.mark.parametrize("target", [-0.1, 1.1, float("nan")])
def test_target_outside(target):
  with pytest.raises(ValueError, match="must lie in"):
    tar_at_far(roc(np.array([0.0, 1.0]), np.array([False, True])), target)
