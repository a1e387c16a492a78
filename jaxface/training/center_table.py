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
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxface.heads.columns import Block, Columns
from jaxface.heads.devices import Devices

# Classes of a block.
BLOCK = 8_192

Rows = dict[str, Array]


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

  leaves: Rows
  num_classes: int
  subcenters: int
  mesh: Mesh

  @property
  def size(self) -> int:
    """Numbers of a row: K·D, and one more with biases."""
    return self.subcenters * self.leaves["center_cd"].shape[1] + ("bias_c" in self.leaves)

  def read(self, start: int) -> np.ndarray:
    """[n, size] float32: the rows from class `start`, at most `BLOCK` of them."""
    found = jax.device_get(_reader(self.mesh, self._sharded, self.subcenters)(self.leaves, start))
    rows = np.asarray(found["center_cd"], np.float32).reshape(BLOCK, -1)
    if "bias_c" in found:
      rows = np.concatenate([rows, found["bias_c"][:, None]], axis=1)
    return rows[: self.num_classes - start]

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
      given = {name: parts[name] for name in self.leaves}
      self.leaves = _writer(self.mesh, self._sharded, self.subcenters)(self.leaves, number, given)

  @property
  def _sharded(self) -> bool:
    """Whether the rows are sharded over all devices; otherwise each device has all of them."""
    return not self.leaves["center_cd"].sharding.is_fully_replicated


def _shard(sharded: bool, mesh: Mesh) -> tuple[Devices, P]:
  """The devices between which rows are sharded, one if they are replicated; and the sharding."""
  devices = Devices.of(mesh) if sharded else Devices()
  return devices, P(devices.axes)


def _block(devices: Devices, leaves: Rows, number_n: Array, subcenters: int) -> tuple[Columns, Block]:
  """The rows of some classes on this device, inside `jax.shard_map`; classes of other devices are not live."""
  rows = len(leaves["center_cd"]) // subcenters
  local_n = number_n - devices.index() * rows
  live_n = (local_n >= 0) & (local_n < rows)
  return Columns(0, rows, rows), Block(jnp.where(live_n, local_n, 0), live_n, None)


@functools.cache
def _reader(mesh: Mesh, sharded: bool, subcenters: int) -> Callable:
  """`(leaves, first class) -> rows of a block`, zero beyond the end."""
  devices, part = _shard(sharded, mesh)

  def local(leaves: Rows, start: Array) -> Rows:
    columns, block = _block(devices, leaves, start + jnp.arange(BLOCK), subcenters)
    found = columns.take(leaves, block)
    return devices.sum(columns.chosen(block.live_k, found, jax.tree.map(jnp.zeros_like, found)))

  return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(part, P()), out_specs=P(), check_vma=False))


@functools.cache
def _writer(mesh: Mesh, sharded: bool, subcenters: int) -> Callable:
  """`(leaves, classes [n], rows) -> leaves`, in place."""
  devices, part = _shard(sharded, mesh)

  def local(leaves: Rows, number_n: Array, rows: Rows) -> Rows:
    columns, block = _block(devices, leaves, number_n, subcenters)
    rows = {name: row.astype(leaves[name].dtype) for name, row in rows.items()}
    return columns.put(leaves, rows, block, block.live_k)

  run = jax.shard_map(local, mesh=mesh, in_specs=(part, P(), P()), out_specs=part, check_vma=False)
  return jax.jit(run, donate_argnums=0)


__all__ = ["BLOCK", "CenterTable"]
