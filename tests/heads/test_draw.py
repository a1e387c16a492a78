"""Which classes a step scores: drawn alike on every mesh, with the chance that is said, beside all classes of the batch."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.heads.draw import draw, positives

STEPS = 6_000


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_each_class_of_a_group_is_drawn_with_chance_one_of_its_size_and_groups_are_independent(size):
  keys = jax.random.split(jax.random.key(5), STEPS)
  pick_sg = np.asarray(jax.jit(jax.vmap(lambda key: draw(key, 11, 4, size)))(keys))
  assert pick_sg.min() >= 0 and pick_sg.max() == size - 1
  chance = Fraction(1, size)
  # Counts of single classes, and of pairs of classes of two groups, against their binomials.
  for count, p in (
    (np.stack([(pick_sg == place).sum(0) for place in range(size)]), chance),
    (np.stack([((pick_sg[:, 0] == a) & (pick_sg[:, 3] == b)).sum() for a in range(size) for b in range(size)]), chance**2),
  ):
    deviation = float(STEPS * p * (1 - p)) ** 0.5
    assert np.abs(count - float(STEPS * p)).max() <= 4.5 * deviation
  # And all together: chi-square of the single classes, 4·(w − 1) degrees of freedom.
  count = np.stack([(pick_sg == place).sum(0) for place in range(size)])
  chi, freedom = float(((count - STEPS / size) ** 2 / (STEPS / size)).sum()), 4 * (size - 1)
  assert chi <= freedom + 4 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("size", [7, 10, 1000, 65_535])
def test_no_place_is_favoured_by_more_than_64_random_bits_leave(size):
  # What `draw` computes from its 32 + 32 bits is their 64-bit number modulo the size, for each pair of words.
  high, low = np.random.default_rng(0).integers(0, 2**32, (2, 1000), dtype=np.uint32)
  found = ((jnp.asarray(high) % size) * (2**32 % size) + jnp.asarray(low) % size) % size
  np.testing.assert_array_equal(found, (high.astype(object) * 2**32 + low) % size)


picks = jax.jit(draw, static_argnums=(2, 3))
more_of_batch = jax.jit(positives, static_argnums=(3, 4))


@given(first=st.integers(0, 50), count=st.sampled_from([1, 7]), size=st.sampled_from([1, 2, 9]), seed=st.integers(0, 99))
def test_a_group_draws_the_same_wherever_it_lies(first, count, size, seed):
  key = jax.random.key(seed)
  whole = np.asarray(picks(key, 0, 64, size))
  np.testing.assert_array_equal(picks(key, first, count, size), whole[first : first + count])


@given(label=st.lists(st.integers(-2, 40), min_size=12, max_size=12), first=st.integers(0, 3), seed=st.integers(0, 99))
def test_every_class_of_the_batch_is_there_once(label, first, seed):
  size, groups, classes = 3, 4, 31
  start = first * size * groups
  pick_g = np.asarray(picks(jax.random.key(seed), first * groups, groups, size))
  found = more_of_batch(np.asarray(label, np.int32), start, pick_g, size, classes)
  more = np.asarray(found.local_b)[: int(found.total)] + start
  drawn = start + np.arange(groups) * size + np.asarray(pick_g)
  here = {c for c in label if start <= c < start + size * groups and 0 <= c < classes}
  assert len(more) == len(set(more.tolist()))
  assert set(more.tolist()) == here - set(drawn.tolist())
