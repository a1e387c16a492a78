"""Values during translation: constants stay NumPy as long as they can, tensors only note their axis order.

JAX networks here are NHWC, ONNX convolutions NCHW. A convolution's result is left as NCHW and only remembered
to be the NHWC tensor of the jaxpr, elementwise operations keep whatever order their argument has, and a
`Transpose` appears where an operation needs another order: two in a whole network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.interop.onnx_graph import Graph

Shape = tuple[int, ...]  # sizes that depend on the batch are multiples of `BATCH`


# The batch size that is traced: a prime that no layer's size is a multiple of, so that what depends on the
# batch shows. (Symbolic sizes would show it too, but turn plain slices into gathers.)
BATCH = 7919


def fixed(size: int) -> bool:
  """Whether a size is the same for every batch."""
  return size == 0 or size % BATCH != 0


class Unsupported(ValueError):
  """Something of JAX that the export cannot say in ONNX; names the primitive."""


@dataclass(frozen=True)
class Const:
  """A known array; axes that are only repeated have size one in `array` and their full size in `shape`."""

  array: np.ndarray
  shape: Shape

  def whole(self) -> np.ndarray:
    """The array with every repetition written out."""
    if not all(map(fixed, self.shape)):
      raise Unsupported(f"a constant that is repeated along the batch, shape {self.shape}")
    return np.broadcast_to(self.array, self.shape)


@dataclass(frozen=True)
class Tensor:
  """A node's result.

  Attributes:
    name: in the graph.
    shape: in the jaxpr's axis order.
    order: stored axis i is axis order[i] of the jaxpr.
    repeated: some axes of size one in the graph have their full size only in `shape`.
  """

  name: str
  shape: Shape
  order: tuple[int, ...]
  repeated: bool = False


Value = Const | Tensor

# From (graph, values, params, shape of the result, its dtype) to the result of a primitive. Rules see at least one tensor:
# equations over constants alone never get there.
Rule = Callable[[Graph, list[Any], dict[str, Any], Shape, np.dtype], Value]


def plain(name: str, shape: Shape) -> Tensor:
  """A tensor stored in the jaxpr's own order."""
  return Tensor(name, tuple(shape), tuple(range(len(shape))))


def stored(graph: Graph, value: Value, order: tuple[int, ...], *, whole: bool = True) -> str:
  """Name of `value` with its axes stored as `order` says.

  Args:
    whole: write repetitions out; elementwise nodes repeat by themselves.
  """
  if isinstance(value, Const):
    array = value.whole() if whole else value.array
    return graph.constant(array.transpose(order) if array.ndim else array)
  name = value.name
  if value.order != tuple(order):
    name = graph.emit("Transpose", [name], perm=[value.order.index(axis) for axis in order])
  if whole and value.repeated:
    # In Expand a one keeps the argument's own size, which is what a batch axis needs.
    sizes = [value.shape[axis] if fixed(value.shape[axis]) else 1 for axis in order]
    name = graph.emit("Expand", [name, graph.constant(np.array(sizes, np.int64))])
  return name


def reshaped(graph: Graph, value: Tensor, shape: Shape) -> Tensor:
  """`value` with other sizes; at most one of them may depend on the batch."""
  # Axes of size one may stand anywhere: if the others are in order, so are the numbers.
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
