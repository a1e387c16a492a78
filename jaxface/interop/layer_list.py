"""A network's layers in the order in which it runs them, found by watching one abstract call."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxface.layers.activation import Activation
from jaxface.layers.conv import Conv
from jaxface.layers.formulation import formulation
from jaxface.layers.norm import BatchNorm
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create


@dataclass(frozen=True)
class Layer:
  """One layer that has parameters or bends the numbers.

  Attributes:
    kind: "conv", "norm", "dense" or "activation".
    path: names of its modules from the top, the key of its parameters.
    module: the layer itself, with its options.
    input_shape: of its argument.
    image_shape: (H, W, C) of the last feature map before it: what a dense layer's flattened input was.
  """

  kind: str
  path: tuple[str, ...]
  module: nn.Module
  input_shape: tuple[int, ...]
  image_shape: tuple[int, ...]

  @property
  def name(self) -> str:
    """Its path as one word."""
    return "/".join(self.path)


_KINDS: dict[type, str] = {Conv: "conv", BatchNorm: "norm", nn.Dense: "dense", Activation: "activation"}


def count_residuals(name: str, options: dict[str, Any], preprocess: Preprocess) -> int:
  """How many times network `name` adds two whole feature maps."""
  module = create(name, **{**options, "remat": False})
  image = jax.ShapeDtypeStruct((2, *preprocess.size, preprocess.channels), jnp.float32)
  variables = jax.eval_shape(
    lambda key: module.init(key, jnp.zeros(image.shape), train=False), jax.random.key(0)
  )
  # In other formulations a convolution is itself a sum of feature maps.
  with formulation("xla"):
    closed = jax.make_jaxpr(lambda v, x: module.apply(v, x, train=False))(variables, image)
  # A bias has shape (1, 1, 1, C), so that only feature maps have a batch on both sides.
  return sum(
    eqn.primitive.name == "add" and all(len(v.aval.shape) == 4 and v.aval.shape[0] == 2 for v in eqn.invars)
    for eqn in closed.jaxpr.eqns
  )


def list_layers(name: str, options: dict[str, Any], preprocess: Preprocess) -> list[Layer]:
  """Layers of network `name` in execution order; computes nothing."""
  module = create(name, **{**options, "remat": False})
  layers: list[Layer] = []
  image_shape: tuple[int, ...] = ()

  def watch(next_call: Any, args: Any, kwargs: Any, context: Any):
    nonlocal image_shape
    kind = _KINDS.get(type(context.module))
    if kind is not None and context.method_name == "__call__":
      shape = tuple(args[0].shape)
      image_shape = shape[1:] if len(shape) == 4 else image_shape
      layers.append(Layer(kind, context.module.path, context.module, shape, image_shape))
    return next_call(*args, **kwargs)

  image = jnp.zeros((1, *preprocess.size, preprocess.channels))
  # In other formulations a norm and its activation are one call.
  with formulation("xla"), nn.intercept_methods(watch):
    jax.eval_shape(lambda key: module.init(key, image, train=False), jax.random.key(0))
  return layers


__all__ = ["Layer", "count_residuals", "list_layers"]
