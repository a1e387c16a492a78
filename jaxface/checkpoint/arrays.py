"""Reads saved arrays in blocks directly to their devices, with additional memory for a few blocks only.

Orbax writes arrays as Zarr in an OCDBT database. Its own reader holds each shard in host memory beside the copy on the device and
the compressed form: on a CPU three times the size of the state.
"""

import functools
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore as ts
from etils import epath
from jax import Array
from jax.sharding import Sharding, SingleDeviceSharding

# Size of a block on disk, and of all blocks that are read at once: from a disk, and from a remote store with high latency.
BLOCK = 32 << 20
IN_FLIGHT = 64 << 20
IN_FLIGHT_REMOTE = 512 << 20
# Smaller blocks cost more than they save: an array that needs them is written as one block.
_LEAST = 1 << 20

Range = tuple[int, int]


def block_bytes(leaf: Any) -> int | None:
  """Size of the blocks in which to write an array; None to write each shard as one block.

  A block consists of full rows, and its number of rows divides that of the shard, also if it is divided among more hosts.
  """
  sharding = getattr(leaf, "sharding", None)  # NumPy arrays have none
  shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
  size = math.prod(shape) * leaf.dtype.itemsize
  if size <= BLOCK or shape[0] != max(shape):
    return None
  row = size // shape[0]
  shares = [shape[0] // count for count in range(1, jax.device_count() + 1) if shape[0] % count == 0]
  best = [max((n for n in _divisors(share) if n * row <= BLOCK), default=0) * row for share in shares if share * row > BLOCK]
  return BLOCK if min(best) >= _LEAST else None


@functools.lru_cache(maxsize=256)
def _divisors(number: int) -> list[int]:
  low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
  return [*low, *(number // n for n in low)]


@dataclass
class Saved:
  """An array on disk or in a remote store, not yet read."""

  store: Any
  remote: bool

  @property
  def shape(self) -> tuple[int, ...]:
    return tuple(self.store.shape)

  @property
  def dtype(self) -> np.dtype:
    return self.store.dtype.numpy_dtype


def open_arrays(folder: epath.Path, names: Sequence[str]) -> list[Saved]:
  """Open the arrays of a folder that Orbax wrote, by the names it gave them ("params.stem.kernel")."""
  place = str(folder)
  base: Any = f"{place}/" if "://" in place else {"driver": "file", "path": f"{place}/"}
  context = ts.Context({"cache_pool#ocdbt": {"total_bytes_limit": 100_000_000}})
  opened = [
    ts.open(
      {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/", "cache_pool": "cache_pool#ocdbt"}},
      open=True, read=True, context=context,
    )
    for name in names
  ]
  return [Saved(each.result(), "://" in place) for each in opened]


def read_whole(arrays: Sequence[Saved]) -> list[np.ndarray]:
  """Arrays in host memory."""
  reads = [saved.store.read() for saved in arrays]
  return [np.asarray(read.result()) for read in reads]


def read_sharded(arrays: Sequence[Saved], shapes: Sequence[tuple[int, ...]], shardings: Sequence[Sharding]) -> list[Array]:
  """Arrays on their devices; each host reads its own shards.

  Args:
    arrays: the arrays to read.
    shapes: their shapes; a larger shape than the saved one is padded with zeros, a smaller one cuts it.
    shardings: their shardings, of any mesh.
  """
  shards = [_Shards(saved, shape, sharding) for saved, shape, sharding in zip(arrays, shapes, shardings)]
  remote = any(saved.remote for saved in arrays)
  _in_order(((each.store, box, each.place) for each in shards for box in each.boxes()), remote=remote)
  return [each.whole() for each in shards]


def nonzero_outside(saved: Saved, shape: tuple[int, ...]) -> bool:
  """Whether there are non-zero values beyond `shape`."""
  found: list[bool] = []

  def look(box: tuple[Range, ...], block: np.ndarray) -> None:
    found.append(bool(block.any()))

  outside = [
    (*((0, size) for size in shape[:axis]), (shape[axis], saved.shape[axis]), *((0, size) for size in saved.shape[axis + 1 :]))
    for axis in range(len(shape)) if saved.shape[axis] > shape[axis]
  ]
  _in_order(((saved.store, box, look) for whole in outside for box in _boxes(saved.store, whole)), remote=saved.remote)
  return any(found)


def _boxes(store: Any, whole: Sequence[Range]) -> Iterator[tuple[Range, ...]]:
  """Splits a box at the blocks of the file."""
  sizes = store.chunk_layout.read_chunk.shape or ()
  axes = [
    [(max(low, start), min(high, start + size)) for start in range(low - low % size, high, size)]
    for (low, high), size in zip(whole, sizes)
  ]
  return itertools.product(*axes)


def _in_order(tasks: Iterator[tuple[Any, tuple[Range, ...], Any]], *, remote: bool) -> None:
  """Read boxes ahead, within `IN_FLIGHT`, and pass each to its function in order."""
  most = IN_FLIGHT_REMOTE if remote else IN_FLIGHT
  waiting: deque[tuple[Any, int, Any, tuple[Range, ...]]] = deque()
  pending = 0

  def finish() -> int:
    read, size, use, box = waiting.popleft()
    use(box, np.asarray(read.result()))
    return size

  for store, box, use in tasks:
    size = math.prod(high - low for low, high in box) * store.dtype.numpy_dtype.itemsize
    while waiting and pending + size > most:
      pending -= finish()
    waiting.append((store[tuple(slice(low, high) for low, high in box)].read(), size, use, box))
    pending += size
  while waiting:
    finish()


class _Shards:
  """The shards of one array on this host's devices, filled block by block."""

  def __init__(self, saved: Saved, shape: tuple[int, ...], sharding: Sharding):
    self.store, self.shape, self.sharding, self.dtype = saved.store, shape, sharding, saved.dtype
    self._devices: dict[tuple[Range, ...], list[jax.Device]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
      box = tuple(part.indices(size)[:2] for part, size in zip(index or (), shape))
      self._devices.setdefault(box, []).append(device)
    self._arrays: dict[jax.Device, Array] = {}

  def boxes(self) -> Iterator[tuple[Range, ...]]:
    """The blocks of each shard that are in the file."""
    for shard in self._devices:
      held = [(low, min(high, size)) for (low, high), size in zip(shard, self.store.shape)]
      if all(low < high for low, high in held):
        yield from _boxes(self.store, held)

  def place(self, box: tuple[Range, ...], block: np.ndarray) -> None:
    """Copy a block to the devices of its shard."""
    for shard, devices in self._devices.items():
      if any(low < first or last < high for (low, high), (first, last) in zip(box, shard)):
        continue
      for device in devices:
        if box == shard:
          self._arrays[device] = jax.device_put(block, device, may_alias=False)
          continue
        if device not in self._arrays:
          self._arrays[device] = self._zeros(shard, device)
        at = [np.int32(low - first) for (low, _), (first, _) in zip(box, shard)]
        # One block after the other: a block in transfer also uses host memory.
        self._arrays[device] = jax.block_until_ready(_put(self._arrays[device], jax.device_put(block, device), at))

  def whole(self) -> Array:
    """The array, once all its blocks are placed."""
    for shard, devices in self._devices.items():
      for device in devices:
        if device not in self._arrays:  # only padding
          self._arrays[device] = self._zeros(shard, device)
    parts = [self._arrays[device] for devices in self._devices.values() for device in devices]
    self._arrays = {}
    return jax.make_array_from_single_device_arrays(self.shape, self.sharding, parts)

  def _zeros(self, shard: tuple[Range, ...], device: jax.Device) -> Array:
    return _zeros(tuple(high - low for low, high in shard), self.dtype, device)()


@functools.lru_cache(maxsize=256)
def _zeros(shape: tuple[int, ...], dtype: np.dtype, device: jax.Device) -> Any:
  # `jnp.zeros(device=...)` would make them on the first device, and copy.
  return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=SingleDeviceSharding(device))


@functools.partial(jax.jit, donate_argnums=0)
def _put(shard: Array, block: Array, at: list[Array]) -> Array:
  return jax.lax.dynamic_update_slice(shard, block, at)
