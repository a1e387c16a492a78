"""The layers of a network that occur in weight files, in execution order."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from jaxface.layers.activation import Activation
from jaxface.layers.convolution import Conv
from jaxface.layers.norm import BatchNorm
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create, with_taken
from jaxface.models.watch import Watched, watch


@dataclass(frozen=True)
class Layer:
  """One layer with parameters, or an activation.

  Attributes:
    kind: "conv", "norm", "dense" or "activation".
    path: module names from the top, the key of its parameters.
    module: the module, with its options.
    input_shape: shape of its argument.
    image_shape: (H, W, C) of the last feature map before it, which a dense layer's input flattens.
  """

  kind: str
  path: tuple[str, ...]
  module: nn.Module
  input_shape: tuple[int, ...]
  image_shape: tuple[int, ...]

  @property
  def name(self) -> str:
    """Its path as one string."""
    return "/".join(self.path)


_KINDS: dict[type, str] = {Conv: "conv", BatchNorm: "norm", nn.Dense: "dense", Activation: "activation"}


def count_residuals(name: str, options: dict[str, Any], preprocess: Preprocess) -> int:
  """Number of additions of two feature maps in network `name`."""
  # A bias has shape (1, 1, 1, C), so only additions of feature maps have a batch on both sides.
  return sum(
    eqn.primitive.name == "add" and all(len(v.aval.shape) == 4 and v.aval.shape[0] == 2 for v in eqn.invars)
    for eqn in _watch(name, options, preprocess, batch=2).jaxpr.eqns
  )


def list_layers(name: str, options: dict[str, Any], preprocess: Preprocess) -> list[Layer]:
  """Layers of network `name` in execution order, by abstract evaluation."""
  return layers_and_variables(name, options, preprocess)[0]


def layers_and_variables(name: str, options: dict[str, Any], preprocess: Preprocess) -> tuple[list[Layer], Any]:
  """`list_layers` of a network, and the shapes of its variables."""
  layers: list[Layer] = []
  image_shape: tuple[int, ...] = ()
  watched = _watch(name, options, preprocess, batch=1)
  for call in watched.calls:
    if kind := _KINDS.get(type(call.module)):
      image_shape = call.input_shape[1:] if len(call.input_shape) == 4 else image_shape
      layers.append(Layer(kind, call.path, call.module, call.input_shape, image_shape))
  return layers, watched.variables


def _watch(name: str, options: dict[str, Any], preprocess: Preprocess, batch: int) -> Watched:
  return watch(create(name, **{**options, **with_taken(name, remat=False)}), (batch, *preprocess.size, preprocess.channels))


__all__ = ["Layer", "count_residuals", "layers_and_variables", "list_layers"]
