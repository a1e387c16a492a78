"""Positives of each row of a batch: by sorting instead of a B×B mask, for any number of images per identity."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax


class Groups(NamedTuple):
  """Positives of each row, in O(B).

  Attributes:
    order_b: [B] rows sorted by identity, padding last.
    first_b: [B] index in `order_b` of the first row of each row's identity.
    rank_b: [B] index of each row within its identity, from 0.
    positives_b: [B] number of positives of each row.
  """

  order_b: Array
  first_b: Array
  rank_b: Array
  positives_b: Array


def group(label_b: Array, live_b: Array) -> Groups:
  """Sorts rows by identity.

  Args:
    label_b: [B] int, any values.
    live_b: [B] bool, false for padding, which has no positives and is none.
  Returns:
    The groups.
  """
  row_b = jnp.arange(len(label_b), dtype=jnp.int32)
  order_b = jnp.lexsort((label_b, ~live_b)).astype(jnp.int32)
  sorted_b, sorted_live_b = label_b[order_b], live_b[order_b]
  begins_b = (row_b == 0) | (sorted_b != jnp.roll(sorted_b, 1)) | ~sorted_live_b
  number_b = jnp.cumsum(begins_b, dtype=jnp.int32) - 1
  size_b = jnp.zeros_like(row_b).at[number_b].add(1)[number_b]
  start_b = lax.cummax(jnp.where(begins_b, row_b, 0))
  place_b = jnp.zeros_like(row_b).at[order_b].set(row_b)
  first_b = start_b[place_b]
  return Groups(order_b, first_b, place_b - first_b, size_b[place_b] - 1)


def kth_positive(groups: Groups, k: Array | int) -> tuple[Array, Array]:
  """The k-th positive of every anchor.

  Args:
    groups: groups of the batch.
    k: from 0.
  Returns:
    [B] int32 row (arbitrary if there is none); [B] bool, whether there is one.
  """
  # An anchor is not its own positive.
  place_b = groups.first_b + k + (k >= groups.rank_b)
  return groups.order_b[jnp.clip(place_b, 0, len(groups.order_b) - 1)], k < groups.positives_b


__all__ = ["Groups", "group", "kth_positive"]
