"""DET, convex hull and rates at a threshold: against SciPy, scikit-learn, a linear programme, and by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from scored_pairs import arrays, scored
from sklearn import metrics

from jaxface.evaluation.measures import curves
from jaxface.evaluation.measures.curves import convex_hull, det, eer_convex_hull, probit, rates_at
from jaxface.evaluation.measures.roc import Roc, auc, eer, roc


def drawn(mated, nonmated, shift, seed=0):
  rng = np.random.default_rng(seed)
  same_p = np.arange(mated + nonmated) < mated
  return rng.normal(size=same_p.size) + shift * same_p, same_p


@given(scored)
def test_det_equals_scikit_learn(rows):
  score_p, same_p = arrays(rows)
  found = det(roc(score_p, same_p))
  far_k, frr_k, threshold_k = metrics.det_curve(same_p, score_p, drop_intermediate=False)
  # scikit-learn goes from accepting everything to accepting nothing, and has both ends at most once.
  expected = dict(zip(threshold_k.tolist(), zip(far_k.tolist(), frr_k.tolist())))
  for threshold, far, frr in zip(found.threshold[1:].tolist(), found.far[1:].tolist(), found.frr[1:].tolist()):
    if threshold in expected:
      assert (far, frr) == pytest.approx(expected[threshold], abs=1e-15)
  assert (found.far[0], found.frr[0], found.far[-1], found.frr[-1]) == (0, 1, 1, 0)
  assert (np.diff(found.far) >= 0).all() and (np.diff(found.frr) <= 0).all()


def test_probit_equals_scipy():
  rate_k = np.concatenate([[0, 1, 0.5], np.logspace(-12, -0.01, 200), 1 - np.logspace(-12, -0.01, 200)])
  np.testing.assert_allclose(probit(rate_k), stats.norm.ppf(rate_k), rtol=1e-12, atol=1e-15)
  assert (probit([0.0, 0.5, 1.0]) == [-np.inf, 0, np.inf]).all()
  with pytest.raises(ValueError, match=r"rate 1 is 1.5: it must lie in \[0, 1\]"):
    probit(np.array([0.5, 1.5]))
  with pytest.raises(ValueError, match="rate 0 is nan"):
    probit(np.array([np.nan]))


def test_normal_scores_give_a_straight_line_of_slope_minus_one():
  found = det(roc(*drawn(20000, 20000, 2.0)))
  inside = (found.far > 0.01) & (found.frr > 0.01)
  slope, intercept = np.polyfit(found.far_probit[inside], found.frr_probit[inside], 1)
  assert slope == pytest.approx(-1, abs=0.03)
  assert intercept == pytest.approx(-2, abs=0.05)


def smallest_maximum(curve):
  """min over mixtures of thresholds of max(FAR, FRR), a linear programme over the weights and the bound."""
  far_k, frr_k = curve.far, 1 - curve.tar
  rates = np.column_stack([np.stack([far_k, frr_k]), [-1, -1]])
  weights = np.append(np.ones(far_k.size), 0)
  return optimize.linprog(
    np.append(np.zeros(far_k.size), 1), rates, [0, 0], weights[None], [1], bounds=(0, None)
  ).fun


@given(scored)
def test_eer_on_the_hull_is_the_smallest_maximum_of_both_rates(rows):
  curve = roc(*arrays(rows))
  found = eer_convex_hull(curve)
  assert found.far == pytest.approx(smallest_maximum(curve), abs=1e-9)
  assert found.tar == 1 - found.far
  assert found.far <= eer(curve).far + 1e-15


def is_hull(curve, hull):
  points = list(zip(hull.false_accepts.tolist(), hull.true_accepts.tolist()))
  assert points[0] == (0, 0) and points[-1] == (curve.nonmated, curve.mated)
  assert set(points) <= set(zip(curve.false_accepts.tolist(), curve.true_accepts.tolist()))
  for (x_0, y_0), (x_1, y_1), (x_2, y_2) in zip(points, points[1:], points[2:]):
    assert (x_1 - x_0) * (y_2 - y_1) < (x_2 - x_1) * (y_1 - y_0)  # turns right: concave, none collinear
  for x, y in zip(curve.false_accepts.tolist(), curve.true_accepts.tolist()):
    for (x_0, y_0), (x_1, y_1) in pairwise(points):
      assert (x_1 - x_0) * (y - y_0) <= (x - x_0) * (y_1 - y_0)  # none above the hull


@given(scored)
def test_the_hull_is_concave_above_all_points_and_idempotent(rows):
  score_p, same_p = arrays(rows)
  curve = roc(score_p, same_p)
  hull = convex_hull(curve)
  is_hull(curve, hull)
  assert auc(hull) >= auc(curve)
  assert auc(hull) >= 0.5
  again, mapped = convex_hull(hull), convex_hull(roc(np.exp(score_p), same_p))
  np.testing.assert_array_equal(again.threshold, hull.threshold)
  np.testing.assert_array_equal(mapped.true_accepts, hull.true_accepts)
  for threshold, false, true in zip(*hull):
    accepted_p = score_p >= threshold
    assert ((accepted_p & ~same_p).sum(), (accepted_p & same_p).sum()) == (false, true)


@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.5, 3.0])
def test_both_ways_to_the_hull_agree(shift):
  curve = roc(*drawn(300, 500, shift))
  hull = convex_hull(curve)
  is_hull(curve, hull)
  one_pass = curves._vertices(np.arange(len(curve.far)), curve.false_accepts, curve.true_accepts)
  np.testing.assert_array_equal(curve.threshold[one_pass], hull.threshold)


def test_a_chain_that_loses_one_point_a_round():
  """Concave up to its last point, which lies above all of it: a removal from the end, point by point."""
  false = np.arange(60)
  true = np.append(59 * 60 // 2 - np.arange(59, 0, -1) * np.arange(60, 1, -1) // 2, 59 * 60)
  curve = Roc(-np.arange(60.0), false, true)
  is_hull(curve, convex_hull(curve))
  np.testing.assert_array_equal(convex_hull(curve).false_accepts, [0, 59])


def test_counts_beyond_64_bits():
  far = 2**40
  curve = Roc(np.array([3.0, 2.0, 1.0, 0.0]), np.array([0, 1, far, 2 * far]), np.array([0, far, far + 1, 2 * far]))
  hull = convex_hull(curve)
  np.testing.assert_array_equal(hull.threshold, [3.0, 2.0, 0.0])
  assert hull.true_accepts.dtype == np.int64


def test_hull_and_eer_by_hand():
  """Scores from high to low: mated, non-mated, non-mated, mated. ROC (0,0) (0,½) (½,½) (1,½) (1,1): EER ½, on the hull ⅓."""
  curve = roc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, False, True]))
  assert eer(curve).far == 0.5
  np.testing.assert_array_equal(convex_hull(curve).threshold, [np.nextafter(4.0, 5), 4.0, 1.0])
  assert eer_convex_hull(curve) == (pytest.approx(2 / 3, abs=1e-15), pytest.approx(1 / 3, abs=1e-15), 1.0)


def test_perfect_inverted_and_all_equal():
  same_p = np.array([True] * 3 + [False] * 4)
  perfect, inverted = roc(np.where(same_p, 0.9, 0.1), same_p), roc(np.where(same_p, 0.1, 0.9), same_p)
  assert eer_convex_hull(perfect).far == 0
  # The hull of an inverted curve is the diagonal: accepting a random half is better than the scores.
  assert (eer(inverted).far, eer_convex_hull(inverted).far) == (1, 0.5)
  equal = roc(np.full(7, 0.3), same_p)
  assert (eer(equal).far, eer_convex_hull(equal).far) == (0.5, 0.5)


@given(scored, st.integers(-5, 5))
def test_rates_at_a_threshold_equal_scikit_learn(rows, cut):
  score_p, same_p = arrays(rows)
  found = rates_at(score_p, same_p, cut / 4)
  decided_p = np.array([score >= cut / 4 for score in score_p])
  assert found.accuracy == pytest.approx(metrics.accuracy_score(same_p, decided_p), abs=1e-15)
  assert 1 - found.frr == pytest.approx(metrics.recall_score(same_p, decided_p), abs=1e-15)
  assert 1 - found.far == pytest.approx(metrics.recall_score(~same_p, ~decided_p), abs=1e-15)


@given(scored)
def test_rates_at_each_point_are_the_curve(rows):
  score_p, same_p = arrays(rows)
  found = det(roc(score_p, same_p))
  for threshold, far, frr in zip(*found):
    assert rates_at(score_p, same_p, threshold)[1:3] == (far, frr)


def test_rates_reject_wrong_input():
  with pytest.raises(ValueError, match="2 mated and 0 non-mated pairs: rates need at least one of each"):
    rates_at(np.array([0.1, 0.2]), np.array([True, True]), 0.5)
  with pytest.raises(ValueError, match="0 mated and 0 non-mated pairs"):
    rates_at(np.empty(0), np.empty(0, bool), 0.5)
  with pytest.raises(ValueError, match="score 0 is nan"):
    rates_at(np.array([np.nan, 0.2]), np.array([True, False]), 0.5)
  with pytest.raises(ValueError, match="threshold is nan"):
    rates_at(np.array([0.1, 0.2]), np.array([True, False]), np.nan)
