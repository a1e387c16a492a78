"""Layer table of a network: shapes, parameters and multiply-adds, by abstract evaluation."""

import math
from dataclasses import dataclass
from typing import Any

import jax

from jaxface.models.watch import Watched


@dataclass(frozen=True)
class LayerRow:
  """One module with its own parameters or multiplications.

  Attributes:
    path: module names from the top, joined by slashes; "" is the network itself.
    kind: its class.
    input_shape: shape of its first argument, without the batch.
    output_shape: shape of its result, without the batch.
    parameters: number of its own parameters, including biases.
    multiply_adds: number in its convolutions and matrix products for one image, without biases.
    with_bias: the same with one more multiply-add per output for the bias, as FaceNet's tables count:
      (k²·Cin + 1)·Cout·H·W.
  """

  path: str
  kind: str
  input_shape: tuple[int, ...]
  output_shape: tuple[int, ...]
  parameters: int
  multiply_adds: int
  with_bias: int


def multiply_adds(eqn: Any) -> int:
  """Multiply-adds of one equation of a jaxpr; includes padding zeros of a convolution, as papers do."""
  out = math.prod(eqn.outvars[0].aval.shape)
  if eqn.primitive.name == "dot_general":
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return out * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
  if eqn.primitive.name == "conv_general_dilated":
    kernel = eqn.invars[1].aval.shape
    return out * math.prod(kernel) // kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
  return 0


def layer_table(watched: Watched) -> list[LayerRow]:
  """Layers of a network in execution order.

  A layer is a module that has parameters, or multiplications outside of its submodules (attention). Pooling has no row.

  Args:
    watched: the network, called on one image.
  """
  products, results = [0] * len(watched.calls), [0] * len(watched.calls)
  for eqn, index, times in watched.equations():
    if number := times * multiply_adds(eqn):
      products[index] += number
      results[index] += times * math.prod(eqn.outvars[0].aval.shape)
  rows: list[LayerRow] = []
  counted: set[tuple[str, ...]] = set()
  for call, number, added in zip(watched.calls, products, results):
    own = _own(watched.variables.get("params", {}), call.path)
    # Shared weights are counted once.
    parameters = 0 if call.path in counted else sum(leaf.size for leaf in own.values())
    counted.add(call.path)
    if parameters or number:
      rows.append(
        LayerRow(
          "/".join(call.path), type(call.module).__name__, call.input_shape[1:], call.output_shape[1:], parameters, number,
          number + added if "bias" in own else number,
        )
      )
  return rows


def _own(params: Any, path: tuple[str, ...]) -> dict[str, jax.ShapeDtypeStruct]:
  """Parameters of the module at `path`, without those of its submodules."""
  for name in path:
    params = params.get(name, {})
  return {name: leaf for name, leaf in params.items() if hasattr(leaf, "shape")}


__all__ = ["LayerRow", "layer_table", "multiply_adds"]
