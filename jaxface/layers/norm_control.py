"""Controls the batch norms of any network from outside: freezes their running statistics, or records their inputs."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jaxface.layers.norm import BatchNorm, channel_sum

Path = tuple[str, ...]
NORM_INPUTS = "norm_inputs"


def norm_paths(batch_stats: Any) -> list[Path]:
  """Paths of the modules with running statistics, in the tree's order."""
  return list(dict.fromkeys(path[:-1] for path in flatten_dict(batch_stats)))


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
    if isinstance(module, BatchNorm):
      x, *rest = args
      kwargs.pop("train", None)
      return next_call(x, False, *rest[1:], **kwargs)
    # Flax takes the choice from the call or from the attribute, and rejects both at once.
    said = module.use_running_average
    object.__setattr__(module, "use_running_average", None)
    try:
      kwargs.pop("use_running_average", None)
      return next_call(args[0], use_running_average=True, **kwargs)
    finally:
      object.__setattr__(module, "use_running_average", said)

  with nn.intercept_methods(hold):
    yield


@contextlib.contextmanager
def watched_inputs() -> Iterator[None]:
  """Every `BatchNorm` called inside the `with` sows the moments of its input into the collection `NORM_INPUTS`.

  Per call: {"mean": [C], "var": [C], biased, "epsilon": scalar}, float32, in a tuple under the module's path and "seen".
  The collection must be mutable in `apply`.
  """

  def look(next_call: Any, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    module = context.module
    if context.method_name == "__call__" and isinstance(module, BatchNorm):
      x = args[0].astype(jnp.float32)
      count = x.size // x.shape[-1]
      mean_c = channel_sum(x) / count
      var_c = channel_sum(jnp.square(x - mean_c)) / count
      module.sow(NORM_INPUTS, "seen", {"mean": mean_c, "var": var_c, "epsilon": jnp.float32(module.epsilon)})
    return next_call(*args, **kwargs)

  with nn.intercept_methods(look):
    yield


__all__ = ["NORM_INPUTS", "norm_paths", "running_statistics", "watched_inputs"]
