"""Values during translation: constants stay NumPy arrays as long as possible, tensors record their axis order.

JAX networks here are NHWC, ONNX convolutions NCHW. A convolution's result stays NCHW and is recorded as the
NHWC tensor of the jaxpr, elementwise operations keep the order of their argument, and a `Transpose` is inserted
only if an operation needs another order: two in a network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.interop.onnx_graph import Graph

Shape = tuple[int, ...]  # sizes that depend on the batch are multiples of `BATCH`


# The traced batch size: a prime that divides no layer's size, which identifies sizes that depend on the
# batch. (Symbolic sizes would do so too, but turn plain slices into gathers.)
BATCH = 7919


def fixed(size: int) -> bool:
  """Whether a size is the same for every batch."""
  return size == 0 or size % BATCH != 0


class Unsupported(ValueError):
  """An operation that cannot be exported to ONNX; names the primitive."""


@dataclass(frozen=True)
class Const:
  """A constant array; broadcast axes have size one in `array` and their full size in `shape`."""

  array: np.ndarray
  shape: Shape

  def whole(self) -> np.ndarray:
    """The array with all axes broadcast."""
    if not all(map(fixed, self.shape)):
      raise Unsupported(f"a constant that is repeated along the batch, shape {self.shape}")
    return np.broadcast_to(self.array, self.shape)


@dataclass(frozen=True)
class Tensor:
  """A node's result.

  Attributes:
    name: name in the graph.
    shape: shape in the jaxpr's axis order.
    order: stored axis i is axis order[i] of the jaxpr.
    repeated: whether some axes of size one in the graph have their full size only in `shape`.
  """

  name: str
  shape: Shape
  order: tuple[int, ...]
  repeated: bool = False


Value = Const | Tensor

# Maps (graph, values, params, shape of the result, its dtype) to the result of a primitive. At least one value is a tensor:
# equations of constants are evaluated before.
Rule = Callable[[Graph, list[Any], dict[str, Any], Shape, np.dtype], Value]


def plain(name: str, shape: Shape) -> Tensor:
  """A tensor stored in the jaxpr's axis order."""
  return Tensor(name, tuple(shape), tuple(range(len(shape))))


def stored(graph: Graph, value: Value, order: tuple[int, ...], *, whole: bool = True) -> str:
  """Name of `value` with its axes stored in `order`.

  Args:
    whole: broadcast explicitly; elementwise nodes do not need it.
  """
  if isinstance(value, Const):
    array = value.whole() if whole else value.array
    return graph.constant(array.transpose(order) if array.ndim else array)
  name = value.name
  if value.order != tuple(order):
    name = graph.emit("Transpose", [name], perm=[value.order.index(axis) for axis in order])
  if whole and value.repeated:
    # In Expand a size of one keeps the argument's size, as needed for a batch axis.
    sizes = [value.shape[axis] if fixed(value.shape[axis]) else 1 for axis in order]
    name = graph.emit("Expand", [name, graph.constant(np.array(sizes, np.int64))])
  return name


def reshaped(graph: Graph, value: Tensor, shape: Shape) -> Tensor:
  """`value` with other sizes; at most one of them may depend on the batch."""
  # Axes of size one do not matter: if the others are in order, so are the numbers.
  long = [axis for axis in value.order if value.shape[axis] != 1]
  in_order = long == sorted(long) and not value.repeated
  name = value.name if in_order else stored(graph, value, tuple(range(len(value.shape))))
  if sum(not fixed(n) for n in shape) > 1:
    raise Unsupported(f"reshape to {shape}, with more than one size that depends on the batch")
  sizes = [n if fixed(n) else -1 for n in shape]
  return plain(graph.emit("Reshape", [name, graph.constant(np.array(sizes, np.int64))]), shape)


__all__ = [
  "BATCH",
  "Const",
  "Rule",
  "Shape",
  "Tensor",
  "Unsupported",
  "Value",
  "fixed",
  "plain",
  "reshaped",
  "stored",
]
