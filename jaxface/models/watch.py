"""Records one abstract call of a network: its modules in execution order, and its equations."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxface.layers.formulation import formulation
from jaxface.layers.norm_control import call_arguments

_SCOPE = re.compile(r"watched_call_(\d+)")


@dataclass(frozen=True)
class Call:
  """One call of a module.

  Attributes:
    module: the module, with its options.
    input_shape: shape of its first argument.
    output_shape: shape of its result.
  """

  module: nn.Module
  input_shape: tuple[int, ...]
  output_shape: tuple[int, ...]

  @property
  def path(self) -> tuple[str, ...]:
    """Names of the modules from the top, the key of its parameters."""
    return self.module.path


@dataclass(frozen=True)
class Watched:
  """One abstract call of a network.

  Attributes:
    calls: calls of its modules, in the order in which they began; the first is the network itself.
    jaxpr: its equations.
    variables: shapes of its variables.
  """

  calls: tuple[Call, ...]
  jaxpr: Any
  variables: Any

  def equations(self) -> Iterator[tuple[Any, int, int]]:
    """Every innermost equation, the index of the call that it belongs to, and how many times it runs.

    Each branch of a condition counts once, and so does the body of a loop of unknown length.
    """
    return _equations(self.jaxpr, 0, 1)


def _equations(jaxpr: Any, call: int, times: int) -> Iterator[tuple[Any, int, int]]:
  for eqn in jaxpr.eqns:
    # The cached jaxpr of a jitted function does not record its current caller; the enclosing equation does.
    scopes = _SCOPE.findall(str(eqn.source_info.name_stack))
    own = int(scopes[-1]) if scopes else call
    inner = list(_inner(eqn.params))
    if not inner:
      yield eqn, own, times
    for part in inner:
      yield from _equations(part, own, times * eqn.params.get("length", 1))


def _inner(params: dict[str, Any]) -> Iterator[Any]:
  for value in params.values():
    for part in value if isinstance(value, tuple) else (value,):
      if isinstance(part, (Jaxpr, ClosedJaxpr)):
        yield part.jaxpr if isinstance(part, ClosedJaxpr) else part


def _shape(value: Any) -> tuple[int, ...]:
  leaves = jax.tree.leaves(value)
  return tuple(leaves[0].shape) if leaves and hasattr(leaves[0], "shape") else ()


def abstract_variables(module: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
  """Shapes of a network's variables for images of `image_shape` (B, H, W, C); computes nothing.

  Tracing a large network takes seconds, and is done once for equal networks.
  """
  dtype = jnp.result_type(float)
  try:
    hash(module)
  except TypeError:  # an attribute that cannot be hashed
    return _trace_variables(module, image_shape, dtype)
  # A copy, which its owner may change.
  return jax.tree.map(lambda leaf: leaf, _traced_variables(module, image_shape, dtype))


def _trace_variables(module: nn.Module, image_shape: tuple[int, ...], dtype: jnp.dtype) -> dict[str, Any]:
  return jax.eval_shape(lambda key: dict(module.init(key, jnp.zeros(image_shape, dtype), train=False)), abstract_key())


_traced_variables = functools.lru_cache(maxsize=32)(_trace_variables)


def abstract_key() -> Any:
  """Shape of a random key. A key itself would start the devices, which several processes must join for first."""
  return jax.eval_shape(lambda: jax.random.key(0))


def watch(module: nn.Module, image_shape: tuple[int, ...]) -> Watched:
  """Call a network on abstract images, in inference; computes nothing.

  Args:
    module: the network, without rematerialisation, which would hide its modules.
    image_shape: (B, H, W, C) of the images.
  """
  calls: list[Call] = []

  def interceptor(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    if context.method_name != "__call__":
      return next_call(*args, **kwargs)
    number = len(calls)
    # Keyword arguments are leaves in the order of the alphabet, not of the signature.
    first = args[:1] or list(call_arguments(context.module, args, kwargs).values())[:1]
    calls.append(Call(context.module, _shape(first), ()))
    with jax.named_scope(f"watched_call_{number}"):
      result = next_call(*args, **kwargs)
    calls[number] = Call(context.module, calls[number].input_shape, _shape(result))
    return result

  image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
  # In other formulations a convolution is a sum of several operations, and a norm and its activation are one call.
  with formulation("xla"):
    variables = abstract_variables(module, image_shape)
    with nn.intercept_methods(interceptor):
      closed = jax.make_jaxpr(lambda v, x: module.apply(v, x, train=False))(variables, image)
  return Watched(tuple(calls), closed.jaxpr, variables)


__all__ = ["Call", "Watched", "abstract_key", "abstract_variables", "watch"]
