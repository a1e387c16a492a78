"""Which images of a batch are normalised by common statistics.

The number of groups belongs to the batch and not to the devices, so a step gives the same result on any number of devices. With as
many groups as devices, each device has one group, and the statistics need no communication.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
from jax import Array, lax


class NormScope(NamedTuple):
  """What batch norms of a traced training step compute their statistics over.

  Attributes:
    groups: number of equal, consecutive parts of the rows given, each with statistics of its own.
    axes: inside `jax.shard_map`, the mesh axes over whose devices statistics are summed; none where the rows given are all.
    blocks: device numbers along `axes` of each block that sums for itself; None if all devices do.
  """

  groups: int = 1
  axes: tuple[str, ...] = ()
  blocks: tuple[tuple[int, ...], ...] | None = None

  def total(self, part: Array) -> Array:
    """Sum over the devices of the scope."""
    return lax.psum(part, self.axes, axis_index_groups=self.blocks) if self.axes else part

  def mean(self, part: Array) -> Array:
    """Mean over the devices of the scope."""
    return lax.pmean(part, self.axes, axis_index_groups=self.blocks) if self.axes else part


WHOLE = NormScope()
_scope: contextvars.ContextVar[NormScope] = contextvars.ContextVar("norm_scope", default=WHOLE)


@contextlib.contextmanager
def norms_over(scope: NormScope) -> Iterator[None]:
  """Inside the `with`, traced training steps of `BatchNorm` compute their statistics over `scope`.

  Raises:
    ValueError: a `flax.linen.BatchNorm` is called in training, which knows the whole batch only.
  """

  def check(next_call: Any, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    module = context.module
    if isinstance(module, nn.BatchNorm) and context.method_name == "__call__":
      given = dict(zip(("x", "use_running_average"), args)) | kwargs
      if not nn.merge_param("use_running_average", module.use_running_average, given.get("use_running_average")):
        raise ValueError(
          f"norm {'/'.join(module.path)} is a flax.linen.BatchNorm, which has statistics of the whole batch only: model.norm_groups"
          " and mesh.gradient_dtype need jaxface.layers.BatchNorm"
        )
    return next_call(*args, **kwargs)

  token = _scope.set(scope)
  try:
    with nn.intercept_methods(check) if scope != WHOLE else contextlib.nullcontext():
      yield
  finally:
    _scope.reset(token)


def current_norm_scope(x: Array) -> NormScope:
  """The scope of the statistics of `x` [B, ..., C].

  Raises:
    ValueError: its groups do not divide B.
  """
  scope = _scope.get()
  if len(x) % scope.groups:
    raise ValueError(f"model.norm_groups is {scope.groups}: needs a divisor of the {len(x)} rows of a batch norm")
  return scope


__all__ = ["WHOLE", "NormScope", "current_norm_scope", "norms_over"]
