"""VAL(d) and FAR(d): against loops, against the published script, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import interpolate
from scored_pairs import arrays, scored
from sklearn.model_selection import KFold

from jaxface.evaluation.measures.facenet_rates import val_at_far, val_at_far_of_scripts, val_far


def drawn(pairs, folds, seed=0):
  """Distances in [0, 4] on a coarse grid, with ties; mated and non-mated pairs in every fold."""
  rng = np.random.default_rng(seed)
  same_p = np.arange(pairs) % 2 == 0
  distance_p = np.clip(np.round(rng.normal(1.0 + 0.8 * ~same_p, 0.5), 2), 0, 4)
  return distance_p, same_p, np.arange(pairs) * folds // pairs


@given(scored, st.integers(-5, 5))
def test_val_and_far_are_shares_of_sets(rows, cut):
  distance_p, same_p = arrays(rows)
  cut = cut / 4
  mated, other = distance_p[same_p].tolist(), distance_p[~same_p].tolist()
  val, far = val_far(distance_p, same_p, cut)
  assert val == pytest.approx(sum(distance <= cut for distance in mated) / len(mated), abs=1e-15)
  assert far == pytest.approx(sum(distance <= cut for distance in other) / len(other), abs=1e-15)


@pytest.mark.parametrize("target", [0.0, 0.01, 0.1, 1.0])
def test_folds_equal_the_slow_loop(target):
  distance_p, same_p, fold_p = drawn(200, 5)
  found = val_at_far(distance_p, same_p, fold_p, target)
  for fold in range(5):
    here, there = fold_p == fold, fold_p != fold
    allowed = [
      d for d in sorted(set(distance_p[there])) if (distance_p[there & ~same_p] <= d).mean() <= target
    ]
    if allowed:
      assert found.distance[fold] == allowed[-1]
    d = found.distance[fold]
    assert found.val[fold] == pytest.approx((distance_p[here & same_p] <= d).mean(), abs=1e-15)
    assert found.far[fold] == pytest.approx((distance_p[here & ~same_p] <= d).mean(), abs=1e-15)
    assert (distance_p[there & ~same_p] <= d).mean() <= target
  assert found.mean_val == pytest.approx(found.val.mean())
  assert found.standard_error == pytest.approx(np.sqrt(((found.val - found.val.mean()) ** 2).sum() / 4 / 5))


def published(distance_p, same_p, target, folds):
  """`calculate_val` of the scripts, with the spline that SciPy's `slinear` was before it refused repeated values."""
  grid = np.arange(0, 4, 0.001)

  def rates(d, there):
    accepted = np.less(distance_p[there], d)
    same = same_p[there]
    return (accepted & same).sum() / same.sum(), (accepted & ~same).sum() / (~same).sum()

  val, far = [], []
  for there, here in KFold(n_splits=folds, shuffle=False).split(np.arange(len(distance_p))):
    far_k = np.array([rates(d, there)[1] for d in grid])
    d = 0.0
    if far_k.max() >= target:
      knots = np.concatenate([far_k[:1], far_k, far_k[-1:]])
      d = float(interpolate.BSpline.construct_fast(knots, grid[:, None].copy(), 1)(target)[0])
    one = rates(d, here)
    val.append(one[0])
    far.append(one[1])
  return val, far


@pytest.mark.parametrize(("target", "seed"), [(0.003, 0), (0.02, 1), (0.1, 2), (0.25, 3)])
def test_equals_the_published_script(target, seed):
  distance_p, same_p, fold_p = drawn(300, 5, seed)
  found = val_at_far_of_scripts(distance_p, same_p, fold_p, target)
  val, far = published(distance_p, same_p, target, 5)
  np.testing.assert_allclose(found.val, val, atol=1e-15)
  np.testing.assert_allclose(found.far, far, atol=1e-15)


def test_scipy_refuses_what_the_script_asks_of_it():
  with pytest.raises(ValueError, match="duplicates"):
    interpolate.interp1d([0.0, 0.0, 0.5, 0.5], [0, 1, 2, 3], kind="slinear")


def test_a_target_out_of_reach_of_the_grid_accepts_nothing():
  same_p, fold_p = np.array([True, False] * 4), np.arange(8) // 4
  found = val_at_far_of_scripts(np.where(same_p, 0.1, 9.0), same_p, fold_p, 0.1)
  assert (found.distance.tolist(), found.val.tolist(), found.far.tolist()) == ([0, 0], [0, 0], [0, 0])


def test_a_target_that_the_last_of_the_grid_reaches_exactly():
  """One of two non-mated distances of the other fold lies beyond the grid: the largest FAR on it is ½."""
  same_p, fold_p = np.array([True, True, False, False] * 2), np.arange(8) // 4
  found = val_at_far_of_scripts(np.array([0.1, 0.2, 0.5, 9.0] * 2), same_p, fold_p, 0.5)
  np.testing.assert_allclose(found.distance, 3.999, atol=1e-12)
  assert (found.mean_val, found.mean_far) == (1, 0.5)


def test_by_hand():
  """Fold 0 has mated .1 .6 and non-mated .5 .9; fold 1 mated .2 .3 and non-mated .4 .8. FAR at most ½."""
  distance_p = np.array([0.1, 0.6, 0.5, 0.9, 0.2, 0.3, 0.4, 0.8])
  same_p = np.array([True, True, False, False] * 2)
  found = val_at_far(distance_p, same_p, np.repeat([0, 1], 4), 0.5)
  # On fold 1: .4 accepts one of two; .8 both. On fold 0: .6 accepts one of two, .9 both.
  np.testing.assert_array_equal(found.distance, [0.4, 0.6])
  np.testing.assert_array_equal(found.val, [0.5, 1.0])
  np.testing.assert_array_equal(found.far, [0.0, 0.5])
  assert (found.mean_val, found.mean_far) == (0.75, 0.25)
  assert found.standard_deviation == pytest.approx(np.sqrt(0.125))
  assert found.standard_error == pytest.approx(0.25)


def test_perfect_and_inverted_and_order():
  same_p, fold_p = np.array([True, False] * 6), np.arange(12) // 4
  perfect = val_at_far(np.where(same_p, 0.1, 3.0), same_p, fold_p, 0.0)
  inverted = val_at_far(np.where(same_p, 3.0, 0.1), same_p, fold_p, 0.0)
  assert (perfect.mean_val, perfect.standard_error, inverted.mean_val) == (1, 0, 0)
  distance_p, same_p, fold_p = drawn(120, 4)
  order = np.random.default_rng(0).permutation(120)
  one = val_at_far(distance_p, same_p, fold_p, 0.05)
  other = val_at_far(distance_p[order], same_p[order], fold_p[order], 0.05)
  for ours, theirs in zip(one, other):
    np.testing.assert_array_equal(ours, theirs)


def test_wrong_input():
  distance_p, same_p = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, True])
  for by_folds in (val_at_far, val_at_far_of_scripts):
    with pytest.raises(ValueError, match="one fold: a distance is chosen on other folds"):
      by_folds(distance_p, same_p, np.zeros(4, int), 0.1)
    with pytest.raises(ValueError, match="fold 1 has 2 mated and 0 non-mated pairs"):
      by_folds(distance_p, same_p, np.array([0, 0, 1, 1]), 0.1)
    with pytest.raises(ValueError, match=r"folds \(2,\) for scores \(4,\)"):
      by_folds(distance_p, same_p, np.array([0, 1]), 0.1)
    with pytest.raises(ValueError, match="distance 0 is nan: distances must be finite"):
      by_folds(np.array([np.nan, 0.2]), np.array([True, False]), np.array([0, 1]), 0.1)
    with pytest.raises(ValueError, match="target FAR 2: it must lie in"):
      by_folds(distance_p, np.array([True, False] * 2), np.array([0, 0, 1, 1]), 2)
