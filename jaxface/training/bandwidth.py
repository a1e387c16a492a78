"""Measures all-reduces over groups of devices: seconds, bus bandwidth, and whether the sum is right."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Measurements of one size: as many as fit into the seconds, within these bounds.
SECONDS, LEAST, MOST = 0.5, 3, 20


class Measured(NamedTuple):
  """An all-reduce, as this process saw it.

  Attributes:
    devices: how many took part.
    size: bytes on each device.
    seconds: median time.
    right: whether the sum was right.
  """

  devices: int
  size: int
  seconds: float
  right: bool

  @property
  def rate(self) -> float:
    """Bus bandwidth in GB/s: 2 (n − 1) / n · bytes / seconds."""
    return bus_rate(self.devices, self.size, self.seconds)


def bus_rate(devices: int, size: int, seconds: float) -> float:
  """Bus bandwidth of an all-reduce in GB/s, see `Measured.rate`."""
  return 2 * (devices - 1) / devices * size / max(seconds, 1e-12) / 1e9


def measure_all_reduce(
  devices: Sequence[jax.Device] | np.ndarray, size: int, *, axis: int = 0, now: Callable[[], float] = time.perf_counter
) -> Measured:
  """Sums an array over one axis of an array of devices. All processes that have one of the devices call it together.

  Args:
    devices: [n] or [n, m].
    size: bytes on each device, rounded down to float32 numbers.
    axis: over which to sum; the other groups work at the same time.
    now: the clock, in seconds.
  """
  array = np.asarray(devices, object)
  names = ("a", "b")[: array.ndim]
  mesh = Mesh(array, names, axis_types=(AxisType.Auto,) * array.ndim)
  length = max(size // 4, 1)
  sharding = NamedSharding(mesh, P(names))
  number_n = np.arange(1, array.size + 1, dtype=np.float32)

  def part(index: tuple[slice, ...] | None) -> np.ndarray:
    rows = number_n if index is None else number_n[index[0]]
    return np.broadcast_to(rows[:, None], (len(rows), length)).copy()

  x_nl = jax.make_array_from_callback((array.size, length), sharding, part)

  def local(x_1l: jax.Array) -> jax.Array:
    return jax.lax.psum(x_1l, names[axis])

  summed = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P(names), out_specs=P(names), check_vma=False))
  result = jax.block_until_ready(summed(x_nl))  # compiles, and connects the devices
  seconds: list[float] = []
  began = now()
  jax.block_until_ready(summed(x_nl))
  for _ in range(_repeats(mesh, max(now() - began, 1e-6))):
    began = now()
    jax.block_until_ready(summed(x_nl))
    seconds.append(now() - began)
  return Measured(array.shape[axis], 4 * length, statistics.median(seconds), _right(result, number_n.reshape(array.shape), axis))


def _repeats(mesh: Mesh, seconds: float) -> int:
  """How often to measure, the same on all processes: the least of their wishes."""
  wish = int(np.clip(SECONDS / seconds, LEAST, MOST))
  if len({device.process_index for device in mesh.devices.flat}) == 1:
    return wish
  sharding = NamedSharding(mesh, P(mesh.axis_names))
  wish_n = np.full(mesh.size, wish, np.int32)
  wishes = jax.make_array_from_callback((mesh.size,), sharding, lambda index: wish_n if index is None else wish_n[index])
  least = jax.jit(jnp.min, out_shardings=NamedSharding(mesh, P()))(wishes)
  return int(np.asarray(least.addressable_data(0)))


def _right(result: jax.Array, number: np.ndarray, axis: int) -> bool:
  """Whether each local part of the result is the sum over its group."""
  expected_n = np.broadcast_to(number.sum(axis, keepdims=True), number.shape).reshape(-1)
  checks: list[Any] = [
    np.all(np.asarray(shard.data) == expected_n[shard.index[0]][:, None]) for shard in result.addressable_shards
  ]
  return bool(np.all(checks))


__all__ = ["Measured", "bus_rate", "measure_all_reduce"]
