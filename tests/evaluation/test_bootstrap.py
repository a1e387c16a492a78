"""The bootstrap over identities, against one draw at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.intervals.bootstrap import draw_figures, percentiles
from jaxface.evaluation.intervals.figure_intervals import FigureIntervals
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.measures.folds import fold_accuracy

TARGETS = [0.5, 0.1, 0.01]


def made(seed, pairs=80, people=15, digits=None):
  random = np.random.default_rng(seed)
  left, right = random.integers(0, people, (2, pairs))
  left[0] = right[0] = 0
  right[1] = (left[1] + 1) % people
  same = left == right
  score = random.normal(size=pairs) + 1.5 * same
  return (np.round(score, digits) if digits is not None else score), same, Units(left, right, people)


def interpolated(points, values, at):
  """Value of a polyline with rising `points`, from the last point at or below `at`."""
  below = max(k for k in range(len(points)) if points[k] <= at)
  if below == len(points) - 1 or points[below + 1] == points[below]:
    return values[below]
  share = (at - points[below]) / (points[below + 1] - points[below])
  return values[below] + share * (values[below + 1] - values[below])


def one_draw(score, same, units, weight):
  pair = np.where(same, weight[units.left_p], weight[units.left_p] * weight[units.right_p])
  true, false = [0.0], [0.0]
  for threshold in np.unique(score)[::-1]:
    taken = score >= threshold
    true.append(pair[taken & same].sum() / pair[same].sum())
    false.append(pair[taken & ~same].sum() / pair[~same].sum())
  true, false = np.array(true), np.array(false)
  area = sum((false[k + 1] - false[k]) * (true[k + 1] + true[k]) / 2 for k in range(len(true) - 1))
  return area, interpolated(false + true - 1, false, 0.0), [interpolated(false, true, target) for target in TARGETS]


@given(st.integers(0, 10**6), st.sampled_from([None, 1]))
def test_each_draw_is_the_figures_of_weighted_pairs(seed, digits):
  score, same, units = made(seed, digits=digits)
  found = draw_figures(score, same, units, TARGETS, draws=3, seed=seed)
  weights = np.random.default_rng(seed).standard_exponential((3, units.total), np.float32)
  for row, weight in enumerate(weights):
    area, equal, tar = one_draw(score, same, units, weight.astype(np.float64))
    assert found.auc_r[row] == pytest.approx(area, abs=1e-5) and found.eer_r[row] == pytest.approx(equal, abs=1e-5)
    np.testing.assert_allclose(found.tar_rt[row], tar, atol=2e-4)


@given(st.integers(0, 10**6))
def test_draws_depend_on_ranks_alone_and_repeat(seed):
  score, same, units = made(seed)
  one, two = (draw_figures(values, same, units, TARGETS, draws=20) for values in (score, np.exp(score)))
  for a, b in zip(one, two):
    np.testing.assert_array_equal(a, b)
  order = np.random.default_rng(seed).permutation(len(score))
  moved = draw_figures(score[order], same[order], Units(units.right_p[order], units.left_p[order], units.total), TARGETS, draws=20)
  np.testing.assert_allclose(moved.auc_r, one.auc_r, atol=1e-5)


def intervals_of(score, same, units):
  fold = np.arange(len(score)) % 4
  return FigureIntervals(score, same, fold, fold_accuracy(score, same, fold), units, {"1e-1": 0.1})


@given(st.integers(0, 10**6))
def test_every_interval_holds_its_figure(seed):
  score, same, units = made(seed)
  found = intervals_of(score, same, units)
  folds = found.folds
  for (low, high), value in ((found.accuracy, folds.mean), (found.auc, None), (found.eer, None), (found.tar_at_far["1e-1"], None)):
    assert 0 <= low <= high <= 1 and (value is None or low <= value <= high)
  assert percentiles(found.drawn.auc_r)[0] >= found.auc[0]


def test_without_an_error_the_intervals_have_a_width():
  _, same, units = made(3)
  found = intervals_of(same.astype(float), same, units)
  fewest = wilson(0, min(len(np.unique(units.left_p[same])), 7.5))[1]
  assert found.eer == (0.0, pytest.approx(fewest)) and found.auc == (pytest.approx(1 - fewest), 1.0)
  assert found.tar_at_far["1e-1"][0] < 1 and found.accuracy[0] < 1


def test_few_people_make_wide_intervals():
  random = np.random.default_rng(0)
  left = random.integers(0, 100, 4000)
  right = np.where(np.arange(4000) < 2000, left, (left + random.integers(1, 100, 4000)) % 100)
  same = left == right
  score = random.normal(size=4000) + 2 * same + random.normal(size=100)[left]
  many = intervals_of(score, same, Units(left, right, 100))
  independent = intervals_of(score, same, Units(np.arange(4000), np.where(same, np.arange(4000), np.arange(4000, 8000)), 8000))

  def width(interval):
    return interval[1] - interval[0]

  # Of these people some are close to everybody: that shows in rates, and cancels in the accuracy.
  for mated in (True, False):
    assert width(many.accepted(1.0, mated=mated)) > 1.5 * width(independent.accepted(1.0, mated=mated))


def test_one_kind_of_pairs_is_refused():
  with pytest.raises(ValueError, match="2 mated of 2 pairs"):
    draw_figures(np.zeros(2), np.ones(2, bool), Units(np.zeros(2, int), np.zeros(2, int), 1), TARGETS)


def test_without_targets_there_is_no_tar():
  score, same = np.array([0.9, 0.4, 0.6, 0.1]), np.array([True, True, False, False])
  units = Units(np.array([0, 1, 0, 2]), np.array([0, 1, 1, 3]), 4)
  drawn, other = draw_figures(score, same, units, [], draws=300), draw_figures(score, same, units, [0.5], draws=300)
  assert drawn.tar_rt.shape == (300, 0) and other.tar_rt.shape == (300, 1)
  np.testing.assert_array_equal(drawn.auc_r, other.auc_r)
