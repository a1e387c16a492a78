"""Laws of the orders: exact epochs, slices that agree, counts that balance."""

import collections
import itertools

import chex
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.data.order import BalancedOrder, UniformOrder
from jaxface.data.permutation import keyed, permute

SEEDS = st.integers(-(2**40), 2**40)


def labels(counts: list[int]) -> np.ndarray:
  """Labels with the given number of images each, out of order, with a gap in the numbering."""
  label_n = np.repeat(np.arange(len(counts)) * 2, counts)
  return np.random.default_rng(len(label_n)).permutation(label_n)


COUNTS = st.lists(st.integers(1, 9), min_size=4, max_size=40)


@st.composite
def balanced(draw):
  counts = draw(COUNTS)
  identities = draw(st.integers(1, len(counts)))
  left = sum(sorted(counts)[: len(counts) - identities])
  return BalancedOrder(labels(counts), identities, draw(st.integers(1, 5)), draw(st.integers(0, left)), draw(SEEDS))


@given(st.integers(1, 3000), SEEDS, st.integers(0, 2**40))
def test_permutation_is_one(size, seed, epoch):
  assert sorted(permute(np.arange(size), size, keyed(seed, epoch))) == list(range(size))


def test_permutation_of_four_takes_every_form_equally_often():
  trials = 24_000
  key_n = keyed(5, np.arange(trials))
  form_n = np.stack([permute(np.full(trials, i), 4, key_n) for i in range(4)], axis=1)
  seen = collections.Counter(map(tuple, form_n.tolist()))
  assert set(seen) == set(itertools.permutations(range(4)))
  # χ² with 23 degrees of freedom: 49.7 is exceeded once in a thousand.
  assert sum((count - 1000) ** 2 / 1000 for count in seen.values()) < 49.7


def test_permutation_separates_neighbours():
  size = 20_000
  record_n = permute(np.arange(size), size, keyed(0, 0))
  assert (np.abs(np.diff(record_n)) == 1).sum() < 12  # 2 expected
  assert (record_n == np.arange(size)).sum() < 8  # 1 expected
  assert abs(np.corrcoef(record_n, np.arange(size))[0, 1]) < 0.03


def test_permutation_equals_its_definition_in_plain_integers():
  mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

  def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return x ^ x >> 31

  key = 0
  for word in (1, -2):
    key = mix((key + golden & mask) ^ mix(word + golden & mask))
  size = 1009
  expected = []
  for x in range(size):
    for each in range(1, 25):
      bits = mix(key + each * golden & mask)
      partner = ((bits >> 32) * size >> 32) - x
      partner += size if partner < 0 else 0
      pair = (max(x, partner) * golden & mask ^ bits) * 0xBF58476D1CE4E5B9 & mask
      if (pair ^ pair >> 32) * 0x94D049BB133111EB & mask & 1 << 63:
        x = partner
    expected.append(x)
  assert permute(np.arange(size), size, keyed(1, -2)).tolist() == expected


def test_permutation_keeps_its_values():
  # A run must resume in the same order under any later version.
  assert permute(np.arange(10), 10, keyed(1, 2)).tolist() == [4, 5, 7, 6, 2, 9, 8, 0, 3, 1]


@given(st.integers(1, 500), SEEDS, st.integers(0, 1000))
def test_uniform_shows_each_record_once_per_epoch(size, seed, epoch):
  source_n, record_n, occurrence_n = UniformOrder(size, seed).rows(epoch * size, (epoch + 1) * size)
  assert sorted(record_n) == list(range(size))
  assert (occurrence_n == epoch).all() and (source_n == 0).all()


@given(st.integers(1, 200), SEEDS, st.lists(st.integers(0, 700), min_size=1, max_size=6))
def test_uniform_rows_do_not_depend_on_the_slicing(size, seed, cuts):
  check_slicing(UniformOrder(size, seed), sorted(cuts))


@given(balanced(), st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_balanced_rows_do_not_depend_on_the_slicing(order, cuts):
  check_slicing(order, sorted(cuts))


def check_slicing(order, cuts):
  whole = order.rows(cuts[0], cuts[-1])
  parts = [order.rows(start, stop) for start, stop in itertools.pairwise(cuts)] or [whole]
  chex.assert_trees_all_equal(whole, tuple(np.concatenate(column) for column in zip(*parts)))


@pytest.mark.parametrize("hosts", [1, 2, 8])
@pytest.mark.parametrize("kind", ["uniform", "balanced"])
def test_hosts_together_read_the_global_batch(kind, hosts):
  order = UniformOrder(100, 3) if kind == "uniform" else BalancedOrder(labels([5] * 20), 7, 4, 4, 3)
  batch = 32
  for step in (0, 9, 1000):
    share = batch // hosts
    record_n = [order.rows(step * batch + h * share, step * batch + (h + 1) * share)[1] for h in range(hosts)]
    np.testing.assert_array_equal(np.concatenate(record_n), order.rows(step * batch, (step + 1) * batch)[1])


def test_seeds_and_epochs_differ():
  first, second = UniformOrder(1000, 0), UniformOrder(1000, 1)
  assert (first.rows(0, 1000)[1] == second.rows(0, 1000)[1]).mean() < 0.01
  assert (first.rows(0, 1000)[1] == first.rows(1000, 2000)[1]).mean() < 0.01
  label_n = labels([3] * 300)
  rows = [BalancedOrder(label_n, 10, 2, 4, seed).rows(0, 240)[1] for seed in (0, 1)]
  assert (rows[0] == rows[1]).mean() < 0.05


def test_far_positions_cost_no_more():
  start = 10**12
  record_n = UniformOrder(15_422, 0).rows(start, start + 64)[1]
  assert len(set(record_n)) == 64
  assert len(BalancedOrder(labels([2] * 50), 8, 2, 0).rows(start, start + 64)[1]) == 64


@given(balanced(), st.integers(0, 60))
def test_balanced_batch_holds_p_identities_k_images_and_others(order, batch):
  size, own = order.batch_size, order.identities * order.images
  record_n = order.rows(batch * size, (batch + 1) * size)[1]
  label_n = order.label_n[record_n]
  groups_pk = label_n[:own].reshape(order.identities, order.images)
  assert (groups_pk == groups_pk[:, :1]).all()
  assert len(set(groups_pk[:, 0])) == order.identities
  assert not set(label_n[own:]) & set(groups_pk[:, 0])
  assert len(set(record_n[own:])) == order.extra
  for label, images_k in zip(groups_pk[:, 0], record_n[:own].reshape(groups_pk.shape)):
    count = (order.label_n == label).sum()
    assert len(set(images_k)) == min(count, order.images)


@given(balanced(), st.integers(0, 5))
def test_balanced_lap_shows_each_identity_once(order, lap):
  per_lap = order.num_identities
  slot_n = np.arange(lap * per_lap, (lap + 1) * per_lap)
  position_n = slot_n // order.identities * order.batch_size + slot_n % order.identities * order.images
  label_n = np.array([order.label_n[order.rows(p, p + 1)[1][0]] for p in position_n])
  assert sorted(label_n) == sorted(set(order.label_n))


@given(balanced())
def test_balanced_images_of_an_identity_are_shown_equally_often(order):
  # Oracle: count what has been shown, record by record.
  batches = -(-7 * order.num_identities // order.identities)
  _, record_n, occurrence_n = order.rows(0, batches * order.batch_size)
  own_n = np.arange(len(record_n)) % order.batch_size < order.identities * order.images
  shown = np.zeros(len(order.label_n), int)
  for record, occurrence in zip(record_n[own_n], occurrence_n[own_n]):
    assert shown[record] == occurrence
    shown[record] += 1
  for label in set(order.label_n):
    per_image = shown[order.label_n == label]
    assert per_image.max() - per_image.min() <= 1


def test_balanced_identities_and_extras_are_drawn_evenly():
  order = BalancedOrder(labels([4] * 30), 5, 1, 10, seed=2)
  steps = 2000
  label_bn = order.label_n[order.rows(0, steps * 15)[1]].reshape(steps, 15) // 2
  extras = np.bincount(label_bn[:, 5:].ravel(), minlength=30)
  assert abs(extras / extras.mean() - 1).max() < 0.15
  # Who stands beside identity 0 in a batch: all the others alike.
  beside = np.bincount(label_bn[(label_bn[:, :5] == 0).any(axis=1), :5].ravel(), minlength=30)[1:]
  assert abs(beside / beside.mean() - 1).max() < 0.5


def test_impossible_orders_say_what_would_do():
  with pytest.raises(ValueError, match="at least one record"):
    UniformOrder(0)
  with pytest.raises(ValueError, match=r"5 identities per batch, but only 3 .* min_images"):
    BalancedOrder(labels([2, 2, 2]), 5, 2)
  with pytest.raises(ValueError, match="3 extra records per batch, but only 2"):
    BalancedOrder(labels([2, 2, 2]), 2, 2, extra=3)
  with pytest.raises(ValueError, match="images=0"):
    BalancedOrder(labels([2, 2, 2]), 2, 0)
