"""The class centres of a term as a table with one row per class, read and changed in blocks.

The centres stay sharded on their devices. A block is gathered from, or sent to, the devices that have its rows, so that no device
and no host needs memory for all of them.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.heads.devices import Devices

# Classes of a block.
BLOCK = 8_192


@dataclass
class CenterTable:
  """Centres and biases of a term; all hosts must make the same calls.

  A row has the K sub-centres of a class one after the other, then its bias if there is one.

  Attributes:
    leaves: center_cd [R·K, D] and, with biases, bias_c [R], R ≥ C; replaced by `put`.
    num_classes: C.
    subcenters: K.
    mesh: devices of the run.
  """

  leaves: dict[str, Array]
  num_classes: int
  subcenters: int
  mesh: Mesh

  @property
  def size(self) -> int:
    """Numbers of a row: K·D, and one more with biases."""
    return self.subcenters * self.leaves["center_cd"].shape[1] + ("bias_c" in self.leaves)

  def read(self, start: int) -> np.ndarray:
    """[n, size] float32: the rows from class `start`, at most `BLOCK` of them."""
    found = {
      name: np.asarray(_reader(self.mesh, _spec(leaf), self._each(name))(leaf, start), np.float32)
      for name, leaf in self.leaves.items()
    }
    return _joined(found)[: self.num_classes - start]

  def blocks(self) -> Iterator[np.ndarray]:
    """All rows in order, a block at a time."""
    for start in range(0, self.num_classes, BLOCK):
      yield self.read(start)

  def rows(self) -> np.ndarray:
    """[C, size] float32: all rows."""
    return np.concatenate(list(self.blocks()))

  def put(self, number_n: np.ndarray, row_nd: np.ndarray) -> None:
    """Replaces the rows of some classes.

    Args:
      number_n: [n] different classes.
      row_nd: [n, size].
    """
    for start in range(0, len(number_n), BLOCK):
      number, row = number_n[start : start + BLOCK], row_nd[start : start + BLOCK]
      lacking = BLOCK - len(number)
      # Numbers beyond all rows are dropped.
      number = np.pad(number.astype(np.int32), (0, lacking), constant_values=np.iinfo(np.int32).max)
      row = np.pad(row.astype(np.float32), ((0, lacking), (0, 0)))
      center = row[:, : self.size - ("bias_c" in self.leaves)]
      parts = {"center_cd": center.reshape(BLOCK * self.subcenters, -1), "bias_c": row[:, -1]}
      self.leaves = {
        name: _writer(self.mesh, _spec(leaf), self._each(name))(leaf, number, parts[name])
        for name, leaf in self.leaves.items()
      }

  def _each(self, name: str) -> int:
    """Rows of a leaf for each class."""
    return self.subcenters if name == "center_cd" else 1


def _joined(found: dict[str, np.ndarray]) -> np.ndarray:
  rows = found["center_cd"].reshape(BLOCK, -1)
  return np.concatenate([rows, found["bias_c"][:, None]], axis=1) if "bias_c" in found else rows


def _spec(leaf: Array) -> P:
  sharding = leaf.sharding
  return sharding.spec if isinstance(sharding, NamedSharding) else P()


def _over_shards(mesh: Mesh, spec: P, function: Callable, out_spec: P) -> Callable:
  return jax.shard_map(function, mesh=mesh, in_specs=(spec, P()), out_specs=out_spec, check_vma=False)


def _shard(mesh: Mesh, spec: P) -> Devices:
  """The devices between which a leaf is sharded; one if it is replicated."""
  return Devices.of(mesh) if len(spec) and spec[0] is not None else Devices()


@functools.cache
def _reader(mesh: Mesh, spec: P, each: int) -> Callable:
  """`(leaf, first class) -> rows of a block`, zero beyond the end."""
  shard = _shard(mesh, spec)

  def local(leaf: Array, start: Array) -> Array:
    place_n = start * each + jnp.arange(BLOCK * each) - shard.index() * len(leaf)
    here_n = ((place_n >= 0) & (place_n < len(leaf))).reshape(-1, *[1] * (leaf.ndim - 1))
    return shard.sum(jnp.where(here_n, leaf[jnp.clip(place_n, 0, len(leaf) - 1)], 0))

  return jax.jit(_over_shards(mesh, spec, local, P()))


@functools.cache
def _writer(mesh: Mesh, spec: P, each: int) -> Callable:
  """`(leaf, classes [n], rows) -> leaf`, in place."""
  shard = _shard(mesh, spec)

  def local(leaf: Array, given: tuple[Array, Array]) -> Array:
    number_n, rows = given
    first, room = shard.index() * (len(leaf) // each), len(leaf) // each
    outside_n = room + jnp.arange(len(number_n))
    here_n = (number_n >= first) & (number_n < first + room)
    local_n = jnp.where(here_n, number_n - first, outside_n)
    index = (local_n[:, None] * each + jnp.arange(each)).reshape(-1)
    return leaf.at[index].set(rows.astype(leaf.dtype), mode="drop", unique_indices=True)

  run = jax.jit(_over_shards(mesh, spec, local, spec), donate_argnums=0)
  return lambda leaf, number_n, rows: run(leaf, (number_n, rows))


__all__ = ["BLOCK", "CenterTable"]
