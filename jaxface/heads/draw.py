"""Selects the classes that a step scores: one random class of each group, and all classes of the batch.

The classes 0, 1, …, C − 1 form groups of w: group g contains w·g to w·g + w − 1. One class of each group is sampled with the key
folded with the group number, so that the result does not depend on the sharding of the groups. w = 1 selects all classes.
The cost is linear in the number of groups, without a sort or a top-k.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# The largest group for which the arithmetic of `draw` stays within 32 bits.
LARGEST_GROUP = 65_535


def draw(key: Array, first: Array | int, count: int, size: int) -> Array:
  """The place of the class drawn from each of the groups `first` to `first + count − 1`.

  Each place is taken with probability 1/w, to within w/2⁶⁴, independently of the other groups. In the last group some places may
  have no class: then none may be selected, and each class keeps its probability 1/w.

  Args:
    key: random key of the step.
    first: number of the first group, among all groups.
    count: how many groups.
    size: w, classes of a group.
  Returns:
    [count] int32 in [0, w).
  """

  def one(group: Array) -> Array:
    high, low = jax.random.bits(jax.random.fold_in(key, group), (2,), jnp.uint32)
    # (high·2³² + low) mod w.
    return ((high % size) * (2**32 % size) + low % size) % size

  return jax.vmap(one)(first + jnp.arange(count)).astype(jnp.int32)


class Positives(NamedTuple):
  """Classes of the batch that lie in a shard and were not drawn.

  Attributes:
    local_b: [B] their numbers in the shard, unique, in the first `total` places; the rest is undefined.
    total: how many there are.
  """

  local_b: Array
  total: Array


def positives(label_b: Array, first: Array | int, pick_g: Array, size: int, num_classes: int) -> Positives:
  """The batch's classes in a shard beside those that were drawn, each once; O(B log B).

  Args:
    label_b: [B] labels of the global batch; invalid labels are ignored.
    first: number of the shard's first class.
    pick_g: [n] from `draw`, for the shard's n groups.
    size: w, classes of a group.
    num_classes: C.
  """
  sorted_b = jnp.sort(label_b)
  new_b = jnp.concatenate([jnp.ones(1, bool), sorted_b[1:] != sorted_b[:-1]])
  local_b = sorted_b - jnp.asarray(first, sorted_b.dtype)
  here_b = (local_b >= 0) & (local_b < len(pick_g) * size) & (sorted_b >= 0) & (sorted_b < num_classes)
  local_b = jnp.where(here_b, local_b, 0)
  wanted_b = here_b & new_b & (pick_g[local_b // size] != local_b % size)
  return Positives(local_b[jnp.argsort(~wanted_b)], wanted_b.sum(dtype=jnp.int32))


__all__ = ["LARGEST_GROUP", "Positives", "draw", "positives"]
