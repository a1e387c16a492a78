"""Controls the batch norms of any network from outside: freezes their running statistics, or records their inputs."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import Array

from jaxface.layers.norm import BatchNorm, channel_sum

Path = tuple[str, ...]
NORM_INPUTS = "norm_inputs"


def norm_paths(batch_stats: Any) -> list[Path]:
  """Paths of the modules with running statistics, in the tree's order."""
  return list(dict.fromkeys(path[:-1] for path in flatten_dict(batch_stats)))


def call_arguments(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
  """Arguments of a call of `module.__call__` by their names, in the order of its signature, however they were given."""
  given = inspect.signature(type(module).__call__).bind(module, *args, **kwargs).arguments
  return dict(list(given.items())[1:])


@contextlib.contextmanager
def running_statistics(where: Callable[[Path], bool] = lambda path: True) -> Iterator[None]:
  """Inside the `with`, traced training steps normalise by the running statistics and do not update them.

  Applies to `BatchNorm` of this package and to `flax.linen.BatchNorm`, in any network.

  Args:
    where: selects norms by module path; all by default.
  """

  def hold(next_call: Any, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    module = context.module
    if context.method_name != "__call__" or not isinstance(module, (BatchNorm, nn.BatchNorm)) or not where(module.path):
      return next_call(*args, **kwargs)
    given = call_arguments(module, args, kwargs)
    if isinstance(module, BatchNorm):
      return next_call(**{**given, "train": False})
    # Flax takes the choice from the call or from the attribute, and rejects both at once.
    said = module.use_running_average
    object.__setattr__(module, "use_running_average", None)
    try:
      return next_call(**{**given, "use_running_average": True})
    finally:
      object.__setattr__(module, "use_running_average", said)

  with nn.intercept_methods(hold):
    yield


def _mean(x: Array, over: tuple[int, ...], mask: Array | None) -> Array:
  if mask is None and over == tuple(range(x.ndim - 1)):
    return channel_sum(x) / (x.size // x.shape[-1])
  return jnp.mean(x, over, where=mask)


@contextlib.contextmanager
def watched_inputs() -> Iterator[None]:
  """Every `BatchNorm` called inside the `with` sows the moments of its input into the collection `NORM_INPUTS`.

  `BatchNorm` of this package and `flax.linen.BatchNorm` are watched, over the axes and with the mask that they were given.
  Per call: {"mean": [C], "var": [C], biased, "epsilon": scalar}, float32, in a tuple under the module's path and "seen".
  The collection must be mutable in `apply`.
  """

  def look(next_call: Any, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    module = context.module
    if context.method_name == "__call__" and isinstance(module, (BatchNorm, nn.BatchNorm)):
      given = call_arguments(module, args, kwargs)
      x = given["x"].astype(jnp.float32)
      kept = {axis % x.ndim for axis in np.atleast_1d(getattr(module, "axis", -1))}
      over = tuple(axis for axis in range(x.ndim) if axis not in kept)
      mean_c = _mean(x, over, given.get("mask"))
      var_c = _mean(jnp.square(x - jnp.expand_dims(mean_c, over)), over, given.get("mask"))
      module.sow(NORM_INPUTS, "seen", {"mean": mean_c, "var": var_c, "epsilon": jnp.float32(module.epsilon)})
    return next_call(*args, **kwargs)

  with nn.intercept_methods(look):
    yield


__all__ = ["NORM_INPUTS", "call_arguments", "norm_paths", "running_statistics", "watched_inputs"]
