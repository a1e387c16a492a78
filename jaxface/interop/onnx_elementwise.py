"""Elementwise operations in ONNX."""
# ruff: noqa: ANN001 (every rule takes what `Rule` says)

from typing import Any

import numpy as np

from jaxface.interop.onnx_graph import Graph
from jaxface.interop.onnx_values import Const, Rule, Shape, Tensor, Unsupported, Value, stored


def elementwise(graph: Graph, op: str, values: list[Value], shape: Shape, **attributes: Any) -> Tensor:
  """Emit `op`, which broadcasts axes of size one, in the axis order of its largest tensor."""
  tensors = [v for v in values if isinstance(v, Tensor)]
  lead = next((v for v in tensors if v.shape == tuple(shape) and not v.repeated), tensors[0])
  order = lead.order if len(lead.order) == len(shape) else tuple(range(len(shape)))
  names = [stored(graph, v, order if len(v.shape) == len(shape) else (), whole=False) for v in values]
  repeated = all(v.repeated for v in tensors) or not any(v.shape == tuple(shape) for v in tensors)
  return Tensor(graph.emit(op, names, **attributes), tuple(shape), order, repeated)


def _simple(*ops: str) -> Rule:
  """The first operation on all arguments, each further one on the previous result."""

  def rule(graph, values, params, shape, dtype):
    out = elementwise(graph, ops[0], values, shape)
    for op in ops[1:]:
      out = elementwise(graph, op, [out], shape)
    return out

  return rule


def scalar(number: float, dtype: Any) -> Const:
  return Const(np.asarray(number, dtype), ())


def _max(graph, values, params, shape, dtype):
  for index, value in enumerate(values):
    if isinstance(value, Const) and value.array.size == 1 and not value.array.any():
      return elementwise(graph, "Relu", [values[1 - index]], shape)
  return elementwise(graph, "Max", values, shape)


def _clamp(graph, values, params, shape, dtype):
  low, x, high = values
  if all(isinstance(v, Const) and v.array.size == 1 for v in (low, high)):
    bounds = [Const(v.array.reshape(()), ()) for v in (low, high)]
    return elementwise(graph, "Clip", [x, *bounds], shape)
  return elementwise(graph, "Min", [elementwise(graph, "Max", [x, low], shape), high], shape)


def _select(graph, values, params, shape, dtype):
  if len(values) != 3:
    raise Unsupported("select_n among more than two cases")
  return elementwise(graph, "Where", [values[0], values[2], values[1]], shape)


def _power(graph, values, params, shape, dtype):
  exponent = scalar(params["y"], dtype)
  if params["y"] == 2:
    return elementwise(graph, "Mul", [values[0], values[0]], shape)
  return elementwise(graph, "Pow", [values[0], exponent], shape)


def _square(graph, values, params, shape, dtype):
  return elementwise(graph, "Mul", [values[0], values[0]], shape)


def _log1p(graph, values, params, shape, dtype):
  return elementwise(
    graph, "Log", [elementwise(graph, "Add", [values[0], scalar(1, dtype)], shape)], shape
  )


def _cast(graph, values, params, shape, dtype):
  from onnx.helper import np_dtype_to_tensor_dtype

  return elementwise(graph, "Cast", values, shape, to=np_dtype_to_tensor_dtype(np.dtype(dtype)))


def prelu(graph: Graph, values: list[Value], shape: Shape) -> Tensor | None:
  """`jaxface.layers.activation.prelu` as one node; None if the slope is not a constant per channel."""
  x, alpha = values
  if not isinstance(x, Tensor) or not isinstance(alpha, Const) or alpha.array.ndim != 1 or len(shape) < 2:
    return None
  if x.order[0] != 0:
    return None
  ones = (1,) * (len(shape) - 2)  # the slope has no batch axis: ONNX broadcasts it
  slope = Const(alpha.array.reshape((*ones, -1)), (*ones, *alpha.shape))
  order = tuple(axis - 1 for axis in x.order[1:])
  return Tensor(graph.emit("PRelu", [x.name, stored(graph, slope, order)]), tuple(shape), x.order, x.repeated)


RULES: dict[str, Rule] = {
  "abs": _simple("Abs"),
  "add": _simple("Add"),
  "and": _simple("And"),
  "ceil": _simple("Ceil"),
  "clamp": _clamp,
  "convert_element_type": _cast,
  "cos": _simple("Cos"),
  "div": _simple("Div"),
  "eq": _simple("Equal"),
  "erf": _simple("Erf"),
  "exp": _simple("Exp"),
  "floor": _simple("Floor"),
  "ge": _simple("GreaterOrEqual"),
  "gt": _simple("Greater"),
  "integer_pow": _power,
  "le": _simple("LessOrEqual"),
  "log": _simple("Log"),
  "log1p": _log1p,
  "logistic": _simple("Sigmoid"),
  "lt": _simple("Less"),
  "max": _max,
  "min": _simple("Min"),
  "mul": _simple("Mul"),
  "ne": _simple("Equal", "Not"),
  "neg": _simple("Neg"),
  "not": _simple("Not"),
  "or": _simple("Or"),
  "pow": _simple("Pow"),
  "rsqrt": _simple("Sqrt", "Reciprocal"),
  "select_n": _select,
  "sign": _simple("Sign"),
  "sin": _simple("Sin"),
  "sqrt": _simple("Sqrt"),
  "square": _square,
  "sub": _simple("Sub"),
  "tanh": _simple("Tanh"),
}

__all__ = ["RULES", "elementwise", "prelu", "scalar"]
