"""Estimators of TAR at FAR: against the lines of the scripts that use them, run with scikit-learn and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import interpolate
from scored_pairs import arrays, scored
from sklearn import metrics

from jaxface.evaluation.measures.far_estimators import FAR_ESTIMATORS, estimate_tar_at_far
from jaxface.evaluation.measures.roc import roc, tar_at_far

targets = st.sampled_from([0.0, 0.001, 0.1, 0.25, 1 / 3, 0.5, 0.99, 1.0])


def by_script(estimator, score_p, same_p, target):
  fpr, tpr, _ = metrics.roc_curve(same_p, score_p, drop_intermediate=estimator == "nearest corner")
  if estimator == "at most":
    return tpr[np.where(fpr <= target)[0][-1]]
  if estimator == "below":
    return tpr[np.where(fpr < target)[0][-1]] if target > 0 else 0.0
  if estimator.startswith("nearest"):
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    _, nearest = min(list(zip(abs(fpr - target), range(len(fpr)))))
    return tpr[nearest]
  return float(interpolate.interp1d(fpr, tpr)(target))


@pytest.mark.parametrize("estimator", ["at most", "below", "nearest", "nearest corner"])
@given(scored, targets)
def test_equals_the_lines_of_scripts(estimator, rows, target):
  score_p, same_p = arrays(rows)
  found = estimate_tar_at_far(roc(score_p, same_p), target, estimator)
  assert found.tar == pytest.approx(by_script(estimator, score_p, same_p, target), abs=1e-15)
  accepted_p = score_p >= found.threshold
  assert (accepted_p[same_p].mean(), accepted_p[~same_p].mean()) == (found.tar, found.far)


@given(scored, targets)
def test_linear_equals_scipy_between_the_points(rows, target):
  score_p, same_p = arrays(rows)
  curve = roc(score_p, same_p)
  found = estimate_tar_at_far(curve, target, "linear")
  assert np.isnan(found.threshold)
  if target in curve.far:  # SciPy takes the first of several points of one FAR here, which has the smallest TAR
    assert found.tar == tar_at_far(curve, target).tar
  else:
    assert found.tar == pytest.approx(by_script("linear", score_p, same_p, target), abs=1e-15)


@given(scored, targets, targets)
def test_ordered_and_monotone(rows, one, other):
  curve = roc(*arrays(rows))
  tar = {name: estimate_tar_at_far(curve, one, name).tar for name in FAR_ESTIMATORS}
  assert tar["below"] <= tar["at most"] <= tar["linear"]
  assert tar["at most"] <= tar["nearest"] or estimate_tar_at_far(curve, one, "nearest").far < one
  low, high = sorted((one, other))
  for name in FAR_ESTIMATORS:
    assert estimate_tar_at_far(curve, low, name).tar <= estimate_tar_at_far(curve, high, name).tar + 1e-15


@given(scored, targets)
def test_order_and_monotone_maps_change_nothing(rows, target):
  score_p, same_p = arrays(rows)
  order = np.random.default_rng(0).permutation(len(score_p))
  curve, other = roc(score_p, same_p), roc(np.exp(score_p[order]), same_p[order])
  for name in FAR_ESTIMATORS:
    assert estimate_tar_at_far(curve, target, name)[:2] == estimate_tar_at_far(other, target, name)[:2]


def test_by_hand():
  """Points (0, .5), (.25, .5), (.25, .75), (.5, 1), (1, 1) and a target of 0.3."""
  score_p = np.array([9, 9, 8, 7, 6, 6, 1, 1.0])
  same_p = np.array([True, True, False, True, True, False, False, False])
  curve = roc(score_p, same_p)
  expected = {"at most": (0.75, 0.25, 7), "below": (0.75, 0.25, 7), "nearest": (0.75, 0.25, 7), "nearest corner": (0.75, 0.25, 7)}
  for name, point in expected.items():
    assert estimate_tar_at_far(curve, 0.3, name) == point
  assert estimate_tar_at_far(curve, 0.3, "linear")[:2] == (pytest.approx(0.8, abs=1e-15), 0.3)
  assert estimate_tar_at_far(curve, 0.25, "below") == (0.5, 0, 9)
  assert estimate_tar_at_far(curve, 0.4, "nearest") == (1, 0.5, 6)  # a FAR above the target
  assert estimate_tar_at_far(curve, 0.375, "nearest") == (1, 0.5, 6)  # equally near: the higher
  assert estimate_tar_at_far(curve, 0.0, "below") == (0, 0, np.nextafter(9, 10))


def test_a_corner_may_be_far_from_the_target():
  """One mated pair above 10 non-mated ones: FARs of .1 to .9 lie on one line and are dropped; 0 and 1 stay."""
  curve = roc(np.arange(11.0)[::-1], np.arange(11) == 0)
  assert estimate_tar_at_far(curve, 0.3, "nearest")[:2] == (1, 0.3)
  assert estimate_tar_at_far(curve, 0.3, "nearest corner")[:2] == (1, 0)
  assert estimate_tar_at_far(curve, 0.6, "nearest corner")[:2] == (1, 1)


def test_wrong_input():
  curve = roc(np.array([0.1, 0.2]), np.array([False, True]))
  with pytest.raises(ValueError, match=r"no estimator 'best' of TAR at FAR: .* at most, below, nearest, nearest corner, linear"):
    estimate_tar_at_far(curve, 0.1, "best")
  for name in FAR_ESTIMATORS:
    for target in (-0.1, 1.1, np.nan):
      with pytest.raises(ValueError, match="target FAR"):
        estimate_tar_at_far(curve, target, name)
