"""Each miner takes exactly the triplets that loops over all triplets take, and a tie is one triplet."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triplet_oracle import loops

from jaxface.losses.groups import group, kth_positive
from jaxface.losses.mining import MINERS, REACHES, collect, easy, every, hard, semi_hard

B = 9
MARGIN = 1.0


def draw(seed, identities=3, padding=0.2, ties=True):
  """Distances that are not symmetric, so that rows and columns cannot be confused; integers, for many ties."""
  rng = np.random.default_rng(seed)
  distance = rng.integers(0, 5, (B, B)).astype(np.float32) if ties else rng.random((B, B)).astype(np.float32) * 4
  label = rng.choice([-5, 0, 7, 11, 2**31 - 1], identities, replace=False)[rng.integers(0, identities, B)].astype(np.int32)
  return distance, label, (rng.random(B) >= padding).astype(np.float32)


@lru_cache
def compiled(mining, size, reach, margin):
  def run(distance, label, weight):
    if mining == "all":
      pairs = every(distance, label, weight)
      return [pairs.take(k) for k in range(size)], pairs.other_bb
    options = {"margin": margin, "reach": reach} if mining == "semi_hard" else {}
    mined = {"semi_hard": semi_hard, "hard": hard, "easy": easy}[mining](distance, label, weight, **options)
    return collect(mined, mined.passes if isinstance(mined.passes, int) else size), mined.passes

  return jax.jit(run)


def taken(mining, distance, label, weight, reach="inside", margin=MARGIN):
  """The list of (a, p, n) of ours."""
  found = jax.device_get(compiled(mining, len(label), reach, margin)(distance, label, weight))
  if mining == "all":
    passes, other = found
    return [
      (a, int(positive[a]), int(n))
      for positive, own, valid in passes for a in range(len(label)) if valid[a] for n in np.flatnonzero(other[a])
    ]
  triplets, passes = found
  listed = []
  for a, k in zip(*np.nonzero(triplets.valid_b), strict=True):
    assert k < passes, "a triplet stands in a pass that nobody takes"
    p, n = int(triplets.positive_b[a, k]), int(triplets.negative_b[a, k])
    assert triplets.positive_distance_b[a, k] == distance[a, p]
    assert triplets.negative_distance_b[a, k] == distance[a, n]
    listed.append((int(a), p, n))
  return listed


KINDS = [(mining, "inside") for mining in MINERS] + [("semi_hard", reach) for reach in REACHES[1:]]
kinds = pytest.mark.parametrize(("mining", "reach"), KINDS)


@kinds
@given(seed=st.integers(0, 10**6), identities=st.integers(1, 4), padding=st.sampled_from([0.0, 0.3]), ties=st.booleans())
def test_the_triplets_of_three_loops_each_once(mining, reach, seed, identities, padding, ties):
  batch = draw(seed, identities, padding, ties)
  expected = loops(mining, *batch, reach=reach)
  found = taken(mining, *batch, reach=reach)
  assert len(found) == len(set(found)), "a triplet was taken twice"
  assert set(found) == expected


@kinds
def test_no_triplet_without_two_identities_or_two_images(mining, reach):
  distance = np.ones((B, B), np.float32)
  ones = np.ones(B, np.float32)
  assert taken(mining, distance, np.zeros(B, np.int32), ones, reach) == []
  assert taken(mining, distance, np.arange(B, dtype=np.int32), ones, reach) == []
  assert taken(mining, distance, np.arange(B, dtype=np.int32) // 2, 0 * ones, reach) == []


def test_a_tied_negative_is_taken_once_and_is_the_first():
  # Anchor 0, positive 1 at 1, negatives 2, 3, 4 all at 2.
  distance = np.float32([[0, 1, 2, 2, 2]] * 5)
  label = np.int32([0, 0, 1, 2, 3])
  for mining in ("semi_hard", "hard", "easy"):
    assert [t for t in taken(mining, distance, label, np.ones(5), margin=1.5) if t[0] == 0] == [(0, 1, 2)]


def test_semi_hard_edges():
  # The positive lies at 2; a negative as near is not farther, one exactly a margin beyond is not inside.
  label, weight = np.int32([0, 0, 1, 2]), np.ones(4)

  def of_anchor(negatives, reach):
    distance = np.float32([[0, 2, *negatives]] * 4)
    return [t for t in taken("semi_hard", distance, label, weight, reach) if t[0] == 0]

  assert of_anchor([2, 3], "inside") == []
  assert of_anchor([2, 3], "beyond") == [(0, 1, 3)]
  assert of_anchor([2, 1], "beyond") == []
  assert of_anchor([1, 2], "farthest") == [(0, 1, 3)]
  assert of_anchor([2.5, 2.25], "inside") == [(0, 1, 3)]


@jax.jit
def listed_positives(label, live):
  groups = group(label, live)
  return groups.positives_b, [kth_positive(groups, k) for k in range(B)]


@given(seed=st.integers(0, 10**6), identities=st.integers(1, 5))
def test_groups_list_every_positive_once(seed, identities):
  _, label, weight = draw(seed, identities)
  live = weight > 0

  count, passes = listed_positives(label, live)
  for a in range(B):
    mine = [int(positive[a]) for positive, exists in passes if exists[a]]
    assert sorted(mine) == [p for p in range(B) if p != a and live[a] and live[p] and label[p] == label[a]]
    assert count[a] == len(mine)


def test_errors_say_what_is_wrong():
  distance, label, weight = draw(0)
  with pytest.raises(ValueError, match="reach = 'near' is unknown: choose one of inside, beyond, farthest"):
    semi_hard(jnp.asarray(distance), jnp.asarray(label), reach="near")
  with pytest.raises(TypeError, match="label_b is float32"):
    hard(jnp.asarray(distance), jnp.asarray(weight))
  with pytest.raises(AssertionError):
    easy(jnp.asarray(distance)[:, 1:], jnp.asarray(label))
  with pytest.raises(AssertionError):
    every(jnp.asarray(distance), jnp.asarray(label), jnp.ones(B - 1))
