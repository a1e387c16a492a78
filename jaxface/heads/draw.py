"""Which classes a step scores: one of each group by chance, and every class that the batch has.

The classes 0, 1, …, C − 1 stand in groups of w: group g holds w·g to w·g + w − 1. Of each group one class is drawn, from the key
folded with the group's own number, so that a draw is the same however the groups are spread over devices; and w = 1 draws all.
No sort and no selection of the largest is needed, nothing grows faster than the number of groups.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# The largest group for which the arithmetic of `draw` stays within 32 bits.
LARGEST_GROUP = 65_535


def draw(key: Array, first: Array | int, count: int, size: int) -> Array:
  """The place of the class drawn from each of the groups `first` to `first + count − 1`.

  Each place is taken with probability 1/w, to within w/2⁶⁴, independently of the other groups. In the last group places may
  stand for no class: it then gives none, and each of its classes keeps its 1/w.

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
    local_b: [B] their numbers in the shard, each once, in front; what follows means nothing.
    total: how many there are.
  """

  local_b: Array
  total: Array


def positives(label_b: Array, first: Array | int, pick_g: Array, size: int, num_classes: int) -> Positives:
  """The batch's classes in a shard beside those that were drawn, each once; O(B log B).

  Args:
    label_b: [B] labels of the global batch; those that are no class count for nothing.
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
