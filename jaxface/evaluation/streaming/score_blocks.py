"""Scores of all pairs of two sets of embeddings, block by block, never stored.

A device multiplies blocks of unit embeddings in float32. Such a product differs from the score of the pair, the float64 cosine
of `cosine_of_pairs`, by less than `score_error`, whatever the device, the order of its sums and the shape of the block. So a
product decides about most pairs; the few for which it does not are scored again in float64 (`exact_scores`). What is computed in this
way depends neither on blocks nor on devices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.evaluation.pairs.pair_score import CHUNK

# Rows of a block: its products take 16 MB.
ROWS = 2048
# Blocks on the left for which a block on the right is read and normalised once.
GROUP = 8
# Below every score: the product of a pair that is left out.
ABSENT = -2.0


class Rows(Protocol):
  """Embeddings [N, D] that are read by slices: an array, a memory map, `jaxface.formats.EmbeddingRows`."""

  @property
  def shape(self) -> tuple[int, ...]: ...
  def __getitem__(self, rows: slice, /) -> Any: ...


class Block(NamedTuple):
  """Consecutive embeddings.

  Attributes:
    start: index of the first.
    wide_rd: [r, D] float64, as given.
    square_r: [r] float64, squared lengths.
  """

  start: int
  wide_rd: np.ndarray
  square_r: np.ndarray

  def unit(self, rows: int) -> np.ndarray:
    """[rows, D] float32 unit embeddings, zero beyond the last."""
    unit_rd = np.zeros((rows, self.wide_rd.shape[1]), np.float32)
    unit_rd[: len(self.wide_rd)] = self.wide_rd / np.sqrt(self.square_r)[:, None]
    return unit_rd


def read_block(embedding_nd: Rows, start: int, stop: int) -> Block:
  """Reads and checks rows.

  Raises:
    ValueError: an embedding is zero or not finite; its row and, if it has one, its file are named.
  """
  wide_rd = np.ascontiguousarray(embedding_nd[start:stop], np.float64)
  with np.errstate(over="ignore", invalid="ignore"):
    square_r = (wide_rd * wide_rd).sum(1)
  bad_r = np.flatnonzero(~(np.isfinite(square_r) & (square_r > 0)))
  if bad_r.size:
    path = getattr(embedding_nd, "path", None) or getattr(embedding_nd, "filename", None)
    raise ValueError(
      f"{f'{path}, ' if path else ''}row {start + bad_r[0]}: the embedding is zero or not finite, so its direction is undefined: "
      "leave the row out, or embed its image again"
    )
  return Block(start, wide_rd, square_r)


def exact_scores(left: Block, right: Block, left_p: np.ndarray, right_p: np.ndarray) -> np.ndarray:
  """[P] float64, the cosine of pairs of rows of two blocks; the same bits as `cosine_of_pairs`."""
  score_p = np.empty(len(left_p))
  for start in range(0, len(left_p), CHUNK):
    at = slice(start, start + CHUNK)
    dot_p = (left.wide_rd[left_p[at]] * right.wide_rd[right_p[at]]).sum(1)
    score_p[at] = np.clip(dot_p / np.sqrt(left.square_r[left_p[at]] * right.square_r[right_p[at]]), -1.0, 1.0)
  return score_p


def score_error(size: int) -> float:
  """Bound of |product in float32 − cosine| of two embeddings.

  Rounding two unit embeddings and adding D products in any order gives at most (D + 2) · 2⁻²⁴ to first order. Four times as much
  also covers float32 products that an accelerator makes from parts in bfloat16 (`precision="highest"`).

  Args:
    size: D.
  Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1.
  """
  return 4 * (size + 4) * 2.0**-24


class Hits(NamedTuple):
  """Pairs whose product is at least a floor: rows of a left and of a right block, and the product [P] float32."""

  left_p: np.ndarray
  right_p: np.ndarray
  product_p: np.ndarray


@dataclass(frozen=True)
class Layout:
  """Devices and shapes of the blocks.

  Attributes:
    devices: devices; each has a part of the rows of every right block.
    rows: rows of a block, a multiple of the number of devices.
  """

  devices: tuple[jax.Device, ...]
  rows: int

  @classmethod
  def of(cls, devices: Sequence[jax.Device] | None, rows: int | None) -> "Layout":
    """All local devices and the usual number of rows, unless given; rows are rounded up to a multiple of the devices."""
    rows = ROWS if rows is None else rows
    if rows < 1:
      raise ValueError(f"{rows} rows in a block: at least one")
    devices = tuple(jax.local_devices() if devices is None else devices)
    return cls(devices, -(-rows // len(devices)) * len(devices))

  def place(self, *arrays: np.ndarray, split: bool) -> list[jax.Array]:
    """Arrays on all devices: their rows split, or whole."""
    mesh = Mesh(np.array(self.devices), ("rows",))
    return [jax.device_put(array, NamedSharding(mesh, P("rows") if split else P())) for array in arrays]

  def starts(self, count: int) -> range:
    """First row of every block."""
    return range(0, count, self.rows)

  def groups(self, count: int) -> list[range]:
    """First rows of the blocks for which a block of the other side is read once."""
    starts = self.starts(count)
    return [starts[first : first + GROUP] for first in range(0, len(starts), GROUP)]


def padded(value_r: np.ndarray, rows: int, fill: Any) -> np.ndarray:
  """A vector with `rows` elements, `fill` beyond its own."""
  return np.concatenate([value_r, np.full(rows - len(value_r), fill, value_r.dtype)])


@jax.jit
def products(left_rd: jax.Array, right_rd: jax.Array) -> jax.Array:
  """[r, r] float32 products of unit embeddings."""
  return jax.lax.dot_general(left_rd, right_rd, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST)


def hits(product_rr: jax.Array, floor: float) -> Iterator[Hits]:
  """The pairs with at least `floor`, device by device; on a CPU without a copy, elsewhere compacted on the device."""
  for shard in product_rr.addressable_shards:
    offset = shard.index[1].start or 0
    columns = shard.data.shape[1]
    if shard.device.platform == "cpu":
      flat_p = np.asarray(shard.data).reshape(-1)
      place_p = np.flatnonzero(flat_p >= np.float32(floor))
      value_p = flat_p[place_p]
    else:
      place_p, value_p = device_hits(shard.data, floor)
    if place_p.size:
      yield Hits(place_p // columns, place_p % columns + offset, value_p)


def device_hits(product_rc: jax.Array, floor: float) -> tuple[np.ndarray, np.ndarray]:
  """Flat places and values of at least `floor`, in arrays whose length is a power of two on the device: few compilations."""
  count = int(_count(product_rc, floor))
  if not count:
    return np.zeros(0, np.int64), np.zeros(0, np.float32)
  place_p, value_p = _compact(product_rc, floor, size=1 << (count - 1).bit_length())
  return np.asarray(place_p)[:count].astype(np.int64), np.asarray(value_p)[:count]


@jax.jit
def _count(product_rc: jax.Array, floor: float) -> jax.Array:
  return (product_rc >= jnp.float32(floor)).sum(dtype=jnp.int32)


@partial(jax.jit, static_argnames="size")
def _compact(product_rc: jax.Array, floor: float, *, size: int) -> tuple[jax.Array, jax.Array]:
  flat_p = product_rc.reshape(-1)
  (place_p,) = jnp.nonzero(flat_p >= jnp.float32(floor), size=size, fill_value=0)
  return place_p, flat_p[place_p]


__all__ = [
  "ABSENT", "Block", "Hits", "Layout", "Rows", "device_hits", "exact_scores", "hits", "padded", "products", "read_block",
  "score_error",
]
