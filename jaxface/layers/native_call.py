"""Calls to native functions through XLA's foreign function interface, with support for `vmap` and meshes.

Every argument and result of a native function is either *images*, [many, B, ...], or *shared*, [many, ...]: kernels,
parameters, statistics. `many` is an axis of independent calls, filled by `vmap`; an array shared by all calls may be
[1, ...]. B is the batch, which a mesh splits.
"""

import functools
import math
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
from jaxface.layers.formulation import by_platform

IMAGES, SHARED = "images", "shared"


@functools.cache
def _register(symbol: str) -> str:
  """Registers a function of the library with XLA; returns the name of its target."""
  name = f"jaxface_{symbol}"
  jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(native.library(), symbol)), platform="cpu")
  return name


def _sum(part: Array, axes: Any) -> Array:
  return jax.lax.psum(part, axes)


def _devices(mesh: Mesh, axes: Any) -> int:
  """Number of parts into which these mesh axes split an array."""
  names = () if axes is None else (axes,) if isinstance(axes, str) else axes
  return math.prod(mesh.shape[name] for name in names)


def native_call(
  symbol: str,
  shape: Callable[..., jax.ShapeDtypeStruct],
  arguments: tuple[str, ...],
  result: str,
  plain: Callable[..., Array],
  *,
  merge: Callable[[Array, Any], Array] = _sum,
  aliases: dict[int, int] | None = None,
  **attributes: Any,
) -> Callable[..., Array]:
  """A function of arrays that runs native code if lowered for a CPU.

  Args:
    symbol: name of the handler in the library.
    shape: returns shape and dtype of the result for given arguments.
    arguments: IMAGES or SHARED for each argument; the first is images.
    result: IMAGES or SHARED; a shared result is merged over devices by `merge`.
    plain: the same function in JAX operations, for all other platforms; takes unsharded arrays.
    merge: called with a device's result and the mesh axes over which the batch is split.
    aliases: positions of an argument and the result that may share memory.
    attributes: integers or tuples of integers for the handler.
  Returns:
    The function; it has no gradient.
  """
  attributes = {name: np.asarray(value, np.int64)[()] for name, value in attributes.items()}

  def call(*arrays: Array) -> Array:
    function = jax.ffi.ffi_call(_register(symbol), shape(*arrays), input_output_aliases=aliases)
    return function(*arrays, **attributes)

  def partition(mesh: Mesh, given: Any, wanted: Any) -> tuple:
    many, batch = (*given[0].sharding.spec, None, None)[:2]
    if result == SHARED and given[0].shape[1] % _devices(mesh, batch):
      batch = None  # the padding of uneven parts is undefined and must not be summed

    def place(kind: str, shape: tuple[int, ...]) -> NamedSharding:
      if kind == IMAGES:
        return NamedSharding(mesh, P(many, batch))
      return NamedSharding(mesh, P(many if shape[0] == given[0].shape[0] else None))

    def merged(*arrays: Array) -> Array:
      return call(*arrays) if batch is None else merge(call(*arrays), batch)

    places = tuple(place(kind, value.shape) for kind, value in zip(arguments, given))
    return mesh, merged if result == SHARED else call, place(result, wanted.shape), places

  def rule(mesh: Mesh, operands: Any, results: Any) -> tuple[str, dict]:
    """Which axes may be split, in the notation of `custom_partitioning`: the first, and the batch."""
    inner: list[str] = []

    def name(kind: str, shape: tuple[int, ...]) -> str:
      lead = ["m", "b"] if kind == IMAGES else ["m"] if shape[0] == operands[0].shape[0] else []
      own = [f"d{len(inner) + i}" for i in range(len(shape) - len(lead))]
      inner.extend(own)
      return " ".join(lead + own)

    left = ", ".join(name(kind, value.shape) for kind, value in zip(arguments, operands))
    right = name(result, results[0].shape)
    return f"{left} -> {right}", {"need_replication_factors": tuple(inner)}

  split = custom_partitioning(call)
  split.def_partition(partition, sharding_rule=rule)

  @custom_vmap
  def run(*arrays: Array) -> Array:
    return by_platform(*arrays, cpu=split, other=plain)

  @run.def_vmap
  def batched(size: int, is_batched: list[bool], *arrays: Array) -> tuple[Array, bool]:
    many = arrays[0].shape[int(is_batched[0])]

    def whole(a: Array, each: bool, kind: str) -> Array:
      own = a.shape[1 + each :]
      if kind == SHARED and not each and a.shape[0] == 1:
        return a  # one for all calls: no copies
      return jnp.broadcast_to(a if each else a[None], (size, many, *own)).reshape(size * many, *own)

    y = run(*map(whole, arrays, is_batched, arguments))
    return y.reshape(size, many, *y.shape[1:]), True

  return run


__all__ = ["IMAGES", "SHARED", "native_call"]
