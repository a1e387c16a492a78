"""What the native functions share: a call through XLA's foreign function interface that `vmap` and a mesh understand.

Every array a native function takes or gives is either *images*, [many, B, ...], or *shared*, [many, ...]: kernels,
parameters, statistics. `many` is an axis of independent calls, which `vmap` fills; B is the batch, which a mesh splits.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.layers import native

IMAGES, SHARED = "images", "shared"


@functools.cache
def _register(symbol: str) -> str:
  """Makes a function of the library known to XLA; returns the name of its call there."""
  name = f"jaxface_{symbol}"
  jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(native.library(), symbol)), platform="cpu")
  return name


def _sum(part: Array, axes: Any) -> Array:
  return jax.lax.psum(part, axes)


def native_call(
  symbol: str,
  shape: Callable[..., jax.ShapeDtypeStruct],
  arguments: tuple[str, ...],
  result: str,
  *,
  merge: Callable[[Array, Any], Array] = _sum,
  **attributes: Any,
) -> Callable[..., Array]:
  """A function of arrays that runs native code.

  Args:
    symbol: the handler in the library.
    shape: shape and type of the result for given arguments.
    arguments: IMAGES or SHARED for each argument; the first is images.
    result: IMAGES or SHARED; a shared result is what `merge` makes of each device's.
    merge: takes a device's result and the mesh axes over which the batch is split.
    attributes: integers or tuples of integers for the handler.
  Returns:
    The function; it has no gradient of its own.
  """
  attributes = {name: np.asarray(value, np.int64)[()] for name, value in attributes.items()}

  def call(*arrays: Array) -> Array:
    return jax.ffi.ffi_call(_register(symbol), shape(*arrays))(*arrays, **attributes)

  def partition(mesh: Mesh, given: Any, wanted: Any) -> tuple:
    many, batch = (*given[0].sharding.spec, None, None)[:2]
    place = {IMAGES: NamedSharding(mesh, P(many, batch)), SHARED: NamedSharding(mesh, P(many))}

    def merged(*arrays: Array) -> Array:
      return call(*arrays) if batch is None else merge(call(*arrays), batch)

    return mesh, merged if result == SHARED else call, place[result], tuple(place[kind] for kind in arguments)

  def rule(mesh: Mesh, operands: Any, results: Any) -> tuple[str, dict]:
    """Which axes may be split, in the notation of `custom_partitioning`: the first, and the batch."""
    inner: list[str] = []

    def name(kind: str, rank: int) -> str:
      lead = ["m", "b"] if kind == IMAGES else ["m"]
      own = [f"d{len(inner) + i}" for i in range(rank - len(lead))]
      inner.extend(own)
      return " ".join(lead + own)

    left = ", ".join(name(kind, len(value.shape)) for kind, value in zip(arguments, operands))
    right = name(result, len(results[0].shape))
    return f"{left} -> {right}", {"need_replication_factors": tuple(inner)}

  split = custom_partitioning(call)
  split.def_partition(partition, sharding_rule=rule)

  @custom_vmap
  def run(*arrays: Array) -> Array:
    return split(*arrays)

  @run.def_vmap
  def batched(size: int, is_batched: list[bool], *arrays: Array) -> tuple[Array, bool]:
    shared_alike = not any(each for each, kind in zip(is_batched, arguments) if kind == SHARED)
    if result == IMAGES and shared_alike and arrays[0].shape[int(is_batched[0])] == 1:
      # All calls share kernels and parameters: their images are one larger batch.
      images = (
        (a if each else jnp.broadcast_to(a, (size, *a.shape))).reshape(1, -1, *a.shape[2 + each :])
        if kind == IMAGES else a
        for a, each, kind in zip(arrays, is_batched, arguments)
      )
      y = run(*images)
      return y.reshape(size, 1, -1, *y.shape[2:]), True
    y = run(*(
      (a if each else jnp.broadcast_to(a, (size, *a.shape))).reshape(-1, *a.shape[1 + each :])
      for a, each in zip(arrays, is_batched)
    ))
    return y.reshape(size, -1, *y.shape[1:]), True

  return run


__all__ = ["IMAGES", "SHARED", "native_call"]
