"""Offline triplets: what three loops over the set find, whatever the blocks, and an order that resumes anywhere."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.data.triplets import MINERS, TripletOrder, mine

MARGIN = 0.8


def draw(seed=0, size=23):
  """Identities of very different sizes, some with one record, with labels that are not dense."""
  rng = np.random.default_rng(seed)
  label = np.array([7, -3, 100, 8, 9, 2**40])[np.minimum(rng.geometric(0.45, size) - 1, 5)]
  return rng.normal(size=(size, 5)).astype(np.float32), label


def loops(x, label, mining, anchors=None):
  unit = x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True)
  d = np.array([[((a - b) ** 2).sum() for b in unit] for a in unit])
  found = []
  for a in range(len(x)) if anchors is None else sorted(anchors):
    positives = [p for p in range(len(x)) if p != a and label[p] == label[a]]
    negatives = [n for n in range(len(x)) if label[n] != label[a]]
    if not positives or not negatives:
      continue
    if mining == "semi_hard":
      for p in positives:
        inside = [n for n in negatives if d[a, p] < d[a, n] < d[a, p] + MARGIN]
        if inside:
          found.append((a, p, min(inside, key=lambda n: d[a, n])))
    else:
      extreme = max if mining == "hard" else min
      found.append((a, extreme(positives, key=lambda p: d[a, p]), min(negatives, key=lambda n: d[a, n])))
  return found


@pytest.mark.parametrize("mining", MINERS)
@pytest.mark.parametrize("block", [8, 64])
def test_the_triplets_of_three_loops_in_any_blocks(mining, block):
  for seed in range(3):
    x, label = draw(seed)
    expected = loops(x, label, mining)
    assert len(expected) > 10
    assert list(map(tuple, mine(x, label, mining=mining, margin=MARGIN, block=block))) == sorted(expected)


def test_chosen_anchors_look_at_the_whole_set():
  x, label = draw(1)
  anchors = np.array([20, 3, 5, 4])
  found = mine(x, label, margin=MARGIN, anchor_a=anchors, block=10)
  assert list(map(tuple, found)) == sorted(loops(x, label, "semi_hard", anchors))


@pytest.mark.parametrize("mining", MINERS)
def test_nothing_to_mine(mining):
  x, _ = draw()
  for label in (np.zeros(len(x), int), np.arange(len(x))):
    assert mine(x, label, mining=mining).shape == (0, 3)


def test_equal_embeddings_and_zero_vectors():
  label = np.array([0, 0, 1, 1, 2])
  for x in (np.ones((5, 3), np.float32), np.zeros((5, 3), np.float32)):
    assert len(mine(x, label)) == 0  # nobody is farther
    assert mine(x, label, mining="hard").tolist() == [[0, 1, 2], [1, 0, 2], [2, 3, 0], [3, 2, 0]]


def test_ties_take_the_first_record_across_blocks():
  x = np.float32([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]])
  label = np.array([0, 0, 1, 2, 3, 4])
  for block in (2, 3):
    assert mine(x, label, margin=3.0, block=block).tolist() == [[0, 1, 2], [1, 0, 2]]


@settings(max_examples=25)
@given(size=st.integers(1, 20), seed=st.integers(0, 99), cuts=st.lists(st.integers(0, 150), max_size=4))
def test_the_order_is_pure_and_shows_each_triplet_once_per_epoch(size, seed, cuts):
  triplets = np.arange(3 * size).reshape(size, 3)
  order = TripletOrder(triplets, seed)
  source, record, occurrence = order.rows(0, 150)
  assert not source.any() and record.dtype == np.int64
  for epoch in range(50 // size):
    shown = record[3 * epoch * size : 3 * (epoch + 1) * size].reshape(-1, 3)
    assert sorted(map(tuple, shown)) == list(map(tuple, triplets))
    assert (occurrence[3 * epoch * size : 3 * (epoch + 1) * size] == epoch).all()
  bounds = [0, *sorted(cuts), 150]
  parts = [TripletOrder(triplets, seed).rows(a, b)[1] for a, b in itertools.pairwise(bounds)]
  np.testing.assert_array_equal(np.concatenate(parts), record)


def test_epochs_and_seeds_differ():
  triplets = np.arange(90).reshape(30, 3)
  first, second = np.split(TripletOrder(triplets, 0).rows(0, 180)[1], 2)
  assert not np.array_equal(first, second)
  assert not np.array_equal(first, TripletOrder(triplets, 1).rows(0, 90)[1])


def test_errors_say_what_is_wrong():
  x, label = draw()
  with pytest.raises(ValueError, match="mining = 'all' is unknown: choose one of semi_hard, hard, easy"):
    mine(x, label, mining="all")
  with pytest.raises(ValueError, match=r"embeddings \(23, 5\) and labels \(22,\)"):
    mine(x, label[1:])
  with pytest.raises(ValueError, match="labels are float64"):
    mine(x, label.astype(float))
  x[6] = np.inf
  with pytest.raises(ValueError, match="embedding of record 6 is not finite"):
    mine(x, label)
  for bad in (np.empty((0, 3)), np.zeros((4, 2))):
    with pytest.raises(ValueError, match=r"needs \[T, 3\] records"):
      TripletOrder(bad)
