"""The classes that one device scores in a step, in blocks: reading their rows, writing them, passing over them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.heads.draw import Positives

Tree = Any

# Columns of a block where the head is not asked for smaller ones: enough to keep the units of matrix products busy.
LARGEST_BLOCK = 4_096
# Of the positives beside the draw, which are few on each device.
POSITIVE_BLOCK = 256


class Block(NamedTuple):
  """Some classes of a shard.

  Attributes:
    local_k: [k] their numbers in the shard.
    live_k: [k] whether that is a class, and one that no other block has.
    start: number of the first, where they follow each other; None where they do not.
  """

  local_k: Array
  live_k: Array
  start: Array | int | None


@dataclass(frozen=True)
class Columns:
  """The classes that one device scores.

  Attributes:
    first: number of the shard's first class, among all classes.
    rows: capacity of the shard in classes, padding included.
    num_classes: C; larger class numbers are padding.
    pick_g: [n] the class sampled from each group of the shard; None if all classes are used.
    positives: other classes of the batch; None if all classes are used.
    size: w, classes of a group.
    block: largest block.
  """

  first: Array | int
  rows: int
  num_classes: int
  pick_g: Array | None = None
  positives: Positives | None = None
  size: int = 1
  block: int = LARGEST_BLOCK

  @property
  def count(self) -> int:
    """Columns without the positives."""
    return self.rows // self.size

  @property
  def blocks(self) -> int:
    """Blocks without the positives'."""
    return -(-self.count // self.block)

  @property
  def width(self) -> int:
    """Columns of each block, as even as lanes of 128 allow."""
    even = -(-self.count // self.blocks)
    return min(self.count, self.block, -(-even // 128) * 128)

  def drawn(self, number: Array | int) -> Block:
    """A block of the sampled classes. The last block overlaps the one before to have full width; repeated classes are not live in it."""
    begin = number * self.width
    start = jnp.minimum(begin, self.count - self.width)
    place_k = start + jnp.arange(self.width)
    live_k = place_k >= begin
    if self.pick_g is None:
      local_k = place_k
    else:
      local_k = place_k * self.size + lax.dynamic_slice_in_dim(self.pick_g, start, self.width)
    return Block(local_k, live_k & (self.first + local_k < self.num_classes), start if self.pick_g is None else None)

  def positive(self, number: Array) -> Block:
    """A block of the positives."""
    assert self.positives is not None
    width = min(POSITIVE_BLOCK, len(self.positives.local_b))
    begin = number * width
    start = jnp.minimum(begin, len(self.positives.local_b) - width)
    place_k = start + jnp.arange(width)
    local_k = lax.dynamic_slice_in_dim(self.positives.local_b, start, width)
    return Block(local_k, (place_k >= begin) & (place_k < self.positives.total), None)

  def fold(self, carry: Tree, body: Callable[[Tree, Block, Any], tuple[Tree, Any]], kept: Any = None) -> tuple[Tree, Any]:
    """`body(carry, block, kept of the block) -> (carry, what to keep)` over all blocks, as `lax.scan`.

    The stored tree, with a leading axis of blocks, covers the sampled classes; the positives get None. Their number of blocks
    is known only at run time.
    """
    if self.blocks == 1:
      carry, kept = body(carry, self.drawn(0), jax.tree.map(lambda leaf: leaf[0], kept))
      kept = jax.tree.map(lambda leaf: leaf[None], kept)
    else:
      carry, kept = lax.scan(
        lambda carry, item: body(carry, self.drawn(item[0]), item[1]), carry, (jnp.arange(self.blocks), kept)
      )
    if self.positives is not None:
      width = min(POSITIVE_BLOCK, len(self.positives.local_b))
      carry = lax.fori_loop(
        0, -(-self.positives.total // width), lambda number, carry: body(carry, self.positive(number), None)[0], carry
      )
    return carry, kept

  def take(self, tree: Tree, block: Block) -> Tree:
    """The block's rows of every leaf, [rows·m, ...]: m rows, one after the other, belong to a class."""

    def one(leaf: Array) -> Array:
      m = len(leaf) // self.rows
      if block.start is not None:
        return lax.dynamic_slice_in_dim(leaf, block.start * m, len(block.local_k) * m)
      return leaf.at[_indices(block.local_k, m)].get(mode="promise_in_bounds", unique_indices=False)

    return jax.tree.map(one, tree)

  def chosen(self, keep_k: Array, new: Tree, old: Tree) -> Tree:
    """Rows of a block: `new` where `keep_k` is true, else `old`, in the types of `old`."""

    def one(new: Array, old: Array) -> Array:
      keep = jnp.repeat(keep_k, len(old) // len(keep_k)).reshape(-1, *[1] * (old.ndim - 1))
      return jnp.where(keep, new.astype(old.dtype), old)

    return jax.tree.map(one, new, old)

  def put(self, tree: Tree, rows: Tree, block: Block, keep_k: Array) -> Tree:
    """`tree` with the block's rows replaced by `rows`; a loop that carries the tree writes in place.

    Rows that are not to be kept are written only where they follow each other, so they must be `chosen`: as `take` read them.
    """

    def one(leaf: Array, rows: Array) -> Array:
      m = len(leaf) // self.rows
      if block.start is not None:
        return lax.dynamic_update_slice_in_dim(leaf, rows, block.start * m, axis=0)
      # Indices beyond the end of the array are dropped; these are unique too.
      outside_k = self.rows + jnp.arange(len(block.local_k))
      index = _indices(jnp.where(keep_k, block.local_k, outside_k), m)
      return leaf.at[index].set(rows, mode="drop", unique_indices=True)

    return jax.tree.map(one, tree, rows)


def _indices(local_k: Array, m: int) -> Array:
  return local_k if m == 1 else (local_k[:, None] * m + jnp.arange(m)).reshape(-1)


__all__ = ["LARGEST_BLOCK", "POSITIVE_BLOCK", "Block", "Columns"]
