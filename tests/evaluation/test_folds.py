"""Thresholds from other folds: against a slow search over all thresholds, and by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.measures.folds import best_threshold, fold_accuracy

rows = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=30)


def slow_candidates(score_p):
  distinct = sorted(set(score_p.tolist()))
  between = [(low + high) / 2 for low, high in pairwise(distinct)]
  return [distinct[0], *between, float(np.nextafter(distinct[-1], np.inf))]


def slow_best(score_p, same_p):
  right = [
    sum((score >= cut) == same for score, same in zip(score_p, same_p)) for cut in slow_candidates(score_p)
  ]
  best = [cut for cut, count in zip(slow_candidates(score_p), right) if count == max(right)]
  return best[(len(best) - 1) // 2]


@given(rows)
def test_best_threshold_is_the_middle_of_the_best(example):
  score_p = np.array([score / 4 for score, _ in example])
  same_p = np.array([same for _, same in example])
  assert best_threshold(score_p, same_p) == slow_best(score_p, same_p)


@given(rows, st.floats(-1, 1))
def test_no_threshold_at_all_does_better(example, other):
  score_p = np.array([score / 4 for score, _ in example])
  same_p = np.array([same for _, same in example])
  cut = best_threshold(score_p, same_p)
  assert np.mean((score_p >= cut) == same_p) >= np.mean((score_p >= other) == same_p)


@pytest.mark.parametrize(
  ("score", "same", "expected"),
  [
    ([0.2, 0.8], [False, True], 0.5),
    ([0.8, 0.2], [True, True], 0.2),  # accept all
    ([0.8, 0.2], [False, False], np.nextafter(0.8, 1)),  # accept none
    ([0.1, 0.3, 0.5, 0.7], [False, True, False, True], 0.2),  # .2 and .6 are equally good: the lower
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [False, True, False, True, False, True], 0.5),  # .1, .5, .9: the middle
    ([0.5, 0.5, 0.5], [True, False, True], 0.5),
  ],
)
def test_by_hand(score, same, expected):
  assert best_threshold(np.array(score), np.array(same)) == pytest.approx(
    expected, abs=0 if expected > 0.8 else 1e-15
  )


def test_neighbouring_floats_are_told_apart():
  low = np.float64(0.3)
  score_p, same_p = np.array([low, np.nextafter(low, 1)]), np.array([False, True])
  np.testing.assert_array_equal(score_p >= best_threshold(score_p, same_p), same_p)


@given(rows.filter(lambda example: len(example) >= 6), st.integers(2, 3))
def test_folds_equal_the_slow_loop(example, folds):
  score_p = np.array([score / 4 for score, _ in example])
  same_p = np.array([same for _, same in example])
  fold_p = np.arange(len(score_p)) % folds + 5
  found = fold_accuracy(score_p, same_p, fold_p)
  for index, fold in enumerate(range(5, 5 + folds)):
    here = [pair for pair in range(len(score_p)) if fold_p[pair] == fold]
    there = [pair for pair in range(len(score_p)) if fold_p[pair] != fold]
    cut = slow_best(score_p[there], same_p[there])
    assert found.threshold[index] == cut
    assert found.accuracy[index] == sum((score_p[pair] >= cut) == same_p[pair] for pair in here) / len(here)
    assert (found.fold[index], found.pairs[index]) == (fold, len(here))
  assert found.threshold_from == "other folds"


def test_mean_and_standard_error_by_hand():
  """Right are 2, 2 and 1 of 2 at a threshold of .5: mean 5/6, σ² = (1/36 + 1/36 + 4/36) / 2 = 1/12."""
  score_p = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.9])
  same_p = np.array([True, False] * 3)
  found = fold_accuracy(score_p, same_p, np.arange(6) // 2)
  np.testing.assert_array_equal(found.accuracy, [1, 1, 0.5])
  assert found.mean == pytest.approx(5 / 6, abs=1e-15)
  assert found.standard_error == pytest.approx(np.sqrt(1 / 12 / 3), abs=1e-15)


def test_a_fold_never_sets_its_own_threshold():
  score_p = np.array([0.9, 0.1, 0.3, 0.2])
  same_p = np.array([True, False, True, False])
  fold_p = np.array([0, 0, 1, 1])
  found = fold_accuracy(score_p, same_p, fold_p)
  np.testing.assert_allclose(found.threshold, [0.25, 0.5], atol=1e-15)
  np.testing.assert_array_equal(found.accuracy, [1, 0.5])


def test_one_fold_uses_itself_and_says_so_and_train_pairs_are_used_when_given():
  score_p, same_p = np.array([0.9, 0.1, 0.3, 0.2]), np.array([True, False, True, False])
  alone = fold_accuracy(score_p, same_p, np.zeros(4, int))
  assert (alone.mean, alone.standard_error, alone.threshold_from) == (1, 0, "the same pairs")
  given_train = fold_accuracy(
    score_p, same_p, np.zeros(4, int), train=(np.array([0.6, 0.4]), np.array([True, False]))
  )
  assert (given_train.mean, given_train.threshold_from) == (0.75, "train pairs")
  assert given_train.threshold[0] == 0.5
  assert given_train.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4), abs=1e-15)


def test_wrong_sizes():
  with pytest.raises(ValueError, match=r"folds \(2,\) for scores \(1,\)"):
    fold_accuracy(np.array([0.5]), np.array([True]), np.array([0, 1]))
  with pytest.raises(ValueError, match="no pairs to choose a threshold on"):
    best_threshold(np.empty(0), np.empty(0, bool))


@given(rows.filter(lambda example: len(example) >= 6), st.integers(1, 3))
def test_the_weights_of_pairs_give_the_mean_at_the_thresholds_of_pairs(example, folds):
  score_p, same_p = np.array([score / 4 for score, _ in example]), np.array([same for _, same in example])
  fold_p = 10 * (np.arange(len(example)) % folds) + 3
  found = fold_accuracy(score_p, same_p, fold_p)
  threshold_p = found.threshold_of(fold_p)
  assert threshold_p.tolist() == [found.threshold[found.fold.tolist().index(fold)] for fold in fold_p]
  assert found.weight_of(fold_p) @ ((score_p >= threshold_p) == same_p) == pytest.approx(found.mean, abs=1e-12)
