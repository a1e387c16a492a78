"""Pairs sampled from images: the guarantees of `holdout_pairs`, each checked on every sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.pairs.holdout import holdout_pairs


def images(counts):
  label_n = np.repeat(np.arange(len(counts)), counts)
  return [f"id{label}/{index}" for index, label in enumerate(label_n)], label_n * 7 + 3


@given(
  st.lists(st.integers(2, 9), min_size=12, max_size=40),
  st.lists(st.integers(1, 1), max_size=10),
  st.integers(1, 4),
  st.integers(1, 3),
  st.integers(0, 2**31),
)
def test_promises(several, single, folds, half, seed):
  names, label_n = images(several + single)
  pairs = holdout_pairs(names, label_n, pairs=2 * folds * half, folds=folds, seed=seed)
  label_of = dict(zip(names, label_n.tolist()))
  left, right = [label_of[name] for name in pairs.left], [label_of[name] for name in pairs.right]
  np.testing.assert_array_equal(pairs.same, np.equal(left, right))
  assert len({frozenset(pair) for pair in zip(pairs.left, pairs.right)}) == len(pairs) == 2 * folds * half
  assert all(one != other for one, other in zip(pairs.left, pairs.right))
  fold_of = {}
  for fold in range(folds):
    inside = pairs.fold == fold
    assert (pairs.same[inside].sum(), (~pairs.same[inside]).sum()) == (half, half)
    for pair in np.flatnonzero(inside):
      for label in (left[pair], right[pair]):
        assert fold_of.setdefault(label, fold) == fold


@given(st.integers(0, 2**31))
def test_the_order_and_the_labels_of_images_do_not_matter_and_the_seed_does(seed):
  names, label_n = images([3] * 30)
  order = np.random.default_rng(seed).permutation(len(names))
  one = holdout_pairs(names, label_n, pairs=60, folds=3, seed=5)
  other = holdout_pairs([names[index] for index in order], -label_n[order], pairs=60, folds=3, seed=5)
  assert (one.left, one.right) == (other.left, other.right)
  assert holdout_pairs(names, label_n, pairs=60, folds=3, seed=6).left != one.left


def test_the_last_possible_pair_is_found_and_one_more_is_refused():
  """Two folds of an identity with 4 images (6 pairs) and one with 2 (1 pair): 7 mated, 8 non-mated each."""
  names, label_n = images([4, 4, 2, 2])
  pairs = holdout_pairs(names, label_n, pairs=28, folds=2, seed=0)
  assert len({frozenset(pair) for pair in zip(pairs.left, pairs.right)}) == 28
  with pytest.raises(
    ValueError, match=r"asks for 8 mated and 8 non-mated.*12 images of 4 identities allow 7: use pairs=28"
  ):
    holdout_pairs(names, label_n, pairs=32, folds=2, seed=0)


def test_an_identity_with_many_images_does_not_dominate():
  names, label_n = images([200] + [3] * 40)
  pairs = holdout_pairs(names, label_n, pairs=160, folds=1, seed=0)
  mated = [name.split("/")[0] for name, same in zip(pairs.left, pairs.same) if same]
  assert max(map(mated.count, set(mated))) <= 2


def test_all_identities_and_images_are_drawn_from():
  names, label_n = images([4] * 20)
  pairs = holdout_pairs(names, label_n, pairs=240, folds=1, seed=0)
  assert set(pairs.left) | set(pairs.right) == set(names)


@pytest.mark.parametrize(
  ("counts", "options", "message"),
  [
    (
      [1] * 30,
      {},
      r"at least two identities with two images.* 20 identities in total; this set has 30 identities, 0 of",
    ),
    ([5], {"folds": 1}, "this set has 1 identities, 1 of them"),
    ([], {"folds": 1}, "this set has 0 identities"),
    (
      [5, 5],
      {"folds": 2},
      r"2 folds that share no identity need 2 of them and 4 identities.*has 2 identities",
    ),
    ([2] * 30, {"pairs": 30}, r"pairs=30 cannot be split into 10 folds.*multiple of 2·folds"),
    ([2] * 30, {"folds": 0}, "cannot be split into 0 folds"),
  ],
)
def test_too_little_says_what_there_is(counts, options, message):
  names, label_n = images(counts)
  with pytest.raises(ValueError, match=message):
    holdout_pairs(names, label_n, **({"pairs": 60, "folds": 10, "seed": 0} | options))


def test_names_must_be_unique_and_labelled():
  with pytest.raises(ValueError, match="two images are named 'a'"):
    holdout_pairs(["a", "a"], np.array([0, 1]), pairs=2, folds=1, seed=0)
  with pytest.raises(ValueError, match=r"labels \(1,\) for 2 names"):
    holdout_pairs(["a", "b"], np.array([0]), pairs=2, folds=1, seed=0)


@pytest.mark.parametrize(("people", "folds"), [(6, 3), (4, 2), (19, 9), (40, 10)])
def test_few_people_have_fewer_folds(people, folds):
  label_n = np.repeat(np.arange(people), 3)
  names = [f"p{label}/{row}" for row, label in enumerate(label_n)]
  pairs = holdout_pairs(names, label_n, seed=0)
  assert len(np.unique(pairs.fold)) == folds
  fold_of = {}
  for name, fold in [*zip(pairs.left, pairs.fold), *zip(pairs.right, pairs.fold)]:
    assert fold_of.setdefault(name.split("/")[0], fold) == fold
