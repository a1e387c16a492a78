"""JAX primitives in ONNX: one table, name of the primitive to a function that emits its nodes.

A rule takes (graph, values, params, shape of the result, its dtype) and returns the result. Rules see at
least one tensor: equations over constants alone never get here.
"""

import string
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxface.interop.onnx_graph import Graph
from jaxface.interop.onnx_values import (
  Const,
  Shape,
  Tensor,
  Unsupported,
  Value,
  fixed,
  plain,
  reshaped,
  stored,
)

Rule = Callable[[Graph, list[Value], dict[str, Any], Shape, np.dtype], Value]


def _elementwise(graph: Graph, op: str, values: list[Value], shape: Shape, **attributes: Any) -> Tensor:
  """Emit `op`, which repeats axes of size one by itself, in the axis order of its largest tensor."""
  tensors = [v for v in values if isinstance(v, Tensor)]
  lead = next((v for v in tensors if v.shape == tuple(shape) and not v.repeated), tensors[0])
  order = lead.order if len(lead.order) == len(shape) else tuple(range(len(shape)))
  names = [stored(graph, v, order if len(v.shape) == len(shape) else (), whole=False) for v in values]
  repeated = all(v.repeated for v in tensors) or not any(v.shape == tuple(shape) for v in tensors)
  return Tensor(graph.emit(op, names, **attributes), tuple(shape), order, repeated)


def _simple(*ops: str) -> Rule:
  """The first operation on all arguments, each further one on the result before."""

  def rule(graph, values, params, shape, dtype):
    out = _elementwise(graph, ops[0], values, shape)
    for op in ops[1:]:
      out = _elementwise(graph, op, [out], shape)
    return out

  return rule


def _scalar(number: float, dtype: Any) -> Const:
  return Const(np.asarray(number, dtype), ())


def _max(graph, values, params, shape, dtype):
  for index, value in enumerate(values):
    if isinstance(value, Const) and value.array.size == 1 and not value.array.any():
      return _elementwise(graph, "Relu", [values[1 - index]], shape)
  return _elementwise(graph, "Max", values, shape)


def _clamp(graph, values, params, shape, dtype):
  low, x, high = values
  if all(isinstance(v, Const) and v.array.size == 1 for v in (low, high)):
    bounds = [Const(v.array.reshape(()), ()) for v in (low, high)]
    return _elementwise(graph, "Clip", [x, *bounds], shape)
  return _elementwise(graph, "Min", [_elementwise(graph, "Max", [x, low], shape), high], shape)


def _select(graph, values, params, shape, dtype):
  if len(values) != 3:
    raise Unsupported("select_n among more than two cases")
  return _elementwise(graph, "Where", [values[0], values[2], values[1]], shape)


def _power(graph, values, params, shape, dtype):
  exponent = _scalar(params["y"], dtype)
  if params["y"] == 2:
    return _elementwise(graph, "Mul", [values[0], values[0]], shape)
  return _elementwise(graph, "Pow", [values[0], exponent], shape)


def _square(graph, values, params, shape, dtype):
  return _elementwise(graph, "Mul", [values[0], values[0]], shape)


def _log1p(graph, values, params, shape, dtype):
  return _elementwise(
    graph, "Log", [_elementwise(graph, "Add", [values[0], _scalar(1, dtype)], shape)], shape
  )


def _cast(graph, values, params, shape, dtype):
  from onnx.helper import np_dtype_to_tensor_dtype

  return _elementwise(graph, "Cast", values, shape, to=np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _same(graph, values, params, shape, dtype):
  return values[0]


def prelu(graph: Graph, values: list[Value], shape: Shape) -> Tensor | None:
  """`jaxface.layers.activation.prelu` as one node, None where the slope is not a constant per channel."""
  x, alpha = values
  if not isinstance(x, Tensor) or not isinstance(alpha, Const) or alpha.array.ndim != 1 or len(shape) < 2:
    return None
  if x.order[0] != 0:
    return None
  ones = (1,) * (len(shape) - 2)  # the slope has no batch axis: ONNX adds it in front
  slope = Const(alpha.array.reshape((*ones, -1)), (*ones, *alpha.shape))
  order = tuple(axis - 1 for axis in x.order[1:])
  return Tensor(graph.emit("PRelu", [x.name, stored(graph, slope, order)]), tuple(shape), x.order, x.repeated)


def _broadcast(graph, values, params, shape, dtype):
  value, axes = values[0], params["broadcast_dimensions"]
  sizes = [1] * len(shape)
  for axis, n in zip(axes, value.shape):
    sizes[axis] = n
  if tuple(sizes) == tuple(value.shape):
    return Tensor(value.name, tuple(shape), value.order, value.repeated or tuple(sizes) != tuple(shape))
  narrow = reshaped(graph, value, tuple(sizes))
  return Tensor(narrow.name, tuple(shape), narrow.order, tuple(sizes) != tuple(shape))


def _reshape(graph, values, params, shape, dtype):
  return reshaped(graph, values[0], shape)


def _transpose(graph, values, params, shape, dtype):
  # Nothing moves: only the note about the order changes.
  value, permutation = values[0], list(params["permutation"])
  return Tensor(value.name, tuple(shape), tuple(permutation.index(a) for a in value.order), value.repeated)


def _concatenate(graph, values, params, shape, dtype):
  if any(not fixed(v.shape[params["dimension"]]) for v in values):
    raise Unsupported("concatenate along the batch")
  order = next(v.order for v in values if isinstance(v, Tensor))
  names = [stored(graph, v, order) for v in values]
  return Tensor(graph.emit("Concat", names, axis=order.index(params["dimension"])), tuple(shape), order)


def cut(graph: Graph, value: Tensor, starts: Shape, limits: Shape, steps: Shape, shape: Shape) -> Tensor:
  """`value`[starts:limits:steps], per axis."""
  name = stored(graph, value, value.order)
  axes = [a for a in range(len(shape)) if (starts[a], limits[a], steps[a]) != (0, value.shape[a], 1)]
  if not all(fixed(value.shape[a]) for a in axes):
    raise Unsupported("a slice along the batch")
  if axes:
    places = [[starts[a] for a in axes], [limits[a] for a in axes], [value.order.index(a) for a in axes]]
    numbers = [*places, [steps[a] for a in axes]]
    name = graph.emit("Slice", [name, *(graph.constant(np.array(n, np.int64)) for n in numbers)])
  return Tensor(name, tuple(shape), value.order)


def _slice(graph, values, params, shape, dtype):
  steps = params["strides"] or (1,) * len(shape)
  return cut(graph, values[0], params["start_indices"], params["limit_indices"], steps, shape)


def _pad(graph, values, params, shape, dtype):
  x, fill = values
  config = [params["padding_config"][a] for a in x.order]
  if any(interior or low < 0 or high < 0 for low, high, interior in config):
    raise Unsupported("pad with a negative or interior amount")
  if any((low or high) and not fixed(x.shape[a]) for a, (low, high, _) in zip(x.order, config)):
    raise Unsupported("pad along the batch")
  amounts = [low for low, _, _ in config] + [high for _, high, _ in config]
  names = [stored(graph, x, x.order), graph.constant(np.array(amounts, np.int64)), stored(graph, fill, ())]
  return Tensor(graph.emit("Pad", names), tuple(shape), x.order)


def _reduce(op: str) -> Rule:
  def rule(graph, values, params, shape, dtype):
    x, axes = values[0], params["axes"]
    places = sorted(x.order.index(a) for a in axes)
    name = stored(graph, x, x.order)
    if op == "ReduceSum":  # its axes became an argument at opset 13, the others' at 18
      name = graph.emit(op, [name, graph.constant(np.array(places, np.int64))], keepdims=0)
    else:
      name = graph.emit(op, [name], axes=places, keepdims=0)
    kept = [a for a in range(len(x.shape)) if a not in axes]
    return Tensor(name, tuple(shape), tuple(kept.index(a) for a in x.order if a in kept))

  return rule


def _pool(op: str) -> Rule:
  def rule(graph, values, params, shape, dtype):
    x, window = values[0], params["window_dimensions"]
    order = (0, 3, 1, 2)
    dilated = any(n != 1 for key in ("base_dilation", "window_dilation") for n in params[key])
    if len(window) != 4 or window[0] != 1 or window[3] != 1 or dilated:
      raise Unsupported(f"pooling over a window of {window}, only [1, height, width, 1] without dilation is")
    (top, bottom), (left, right) = params["padding"][1:3]
    attributes: dict[str, Any] = {
      "kernel_shape": list(window[1:3]),
      "strides": list(params["window_strides"][1:3]),
      "pads": [top, left, bottom, right],
    }
    if op == "AveragePool":
      attributes["count_include_pad"] = 1
    out = Tensor(graph.emit(op, [stored(graph, x, order)], **attributes), tuple(shape), order)
    if op == "AveragePool":
      out = _elementwise(graph, "Mul", [out, _scalar(window[1] * window[2], dtype)], shape)
    return out

  return rule


def _conv(graph, values, params, shape, dtype):
  numbers = params["dimension_numbers"]
  if len(shape) != 4 or params["batch_group_count"] != 1 or any(n != 1 for n in params["lhs_dilation"]):
    raise Unsupported("a convolution that is transposed, grouped over the batch or not over images")
  pads = params["padding"]
  if any(n < 0 for pair in pads for n in pair):
    raise Unsupported("a convolution with negative padding")
  names = [stored(graph, values[0], numbers.lhs_spec), stored(graph, values[1], numbers.rhs_spec)]
  kernel = [values[1].shape[a] for a in numbers.rhs_spec[2:]]
  name = graph.emit(
    "Conv",
    names,
    kernel_shape=kernel,
    strides=list(params["window_strides"]),
    pads=[low for low, _ in pads] + [high for _, high in pads],
    dilations=list(params["rhs_dilation"]),
    group=params["feature_group_count"],
  )
  return Tensor(name, tuple(shape), tuple(numbers.out_spec))


def _dot(graph, values, params, shape, dtype):
  (left, right), (left_batch, right_batch) = params["dimension_numbers"]
  a, b = values
  if len(a.shape) == len(b.shape) == 2 and not left_batch:
    names = [
      stored(graph, a, (1 - left[0], left[0])),
      stored(graph, b, (right[0], 1 - right[0])),
    ]
    return plain(graph.emit("Gemm" if dtype == np.float32 else "MatMul", names), shape)
  letters = iter(string.ascii_lowercase)
  a_letters = [next(letters) for _ in a.shape]
  b_letters = [next(letters) for _ in b.shape]
  for i, j in [*zip(left, right), *zip(left_batch, right_batch)]:
    b_letters[j] = a_letters[i]
  out = [a_letters[i] for i in left_batch]
  out += [x for i, x in enumerate(a_letters) if i not in (*left, *left_batch)]
  out += [x for j, x in enumerate(b_letters) if j not in (*right, *right_batch)]
  equation = f"{''.join(a_letters)},{''.join(b_letters)}->{''.join(out)}"
  names = [stored(graph, v, tuple(range(len(v.shape)))) for v in values]
  return plain(graph.emit("Einsum", names, equation=equation), shape)


RULES: dict[str, Rule] = {
  "abs": _simple("Abs"),
  "add": _simple("Add"),
  "and": _simple("And"),
  "broadcast_in_dim": _broadcast,
  "ceil": _simple("Ceil"),
  "clamp": _clamp,
  "concatenate": _concatenate,
  "conv_general_dilated": _conv,
  "convert_element_type": _cast,
  "copy": _same,
  "copy_p": _same,
  "cos": _simple("Cos"),
  "div": _simple("Div"),
  "dot_general": _dot,
  "eq": _simple("Equal"),
  "erf": _simple("Erf"),
  "exp": _simple("Exp"),
  "expand_dims": _reshape,
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
  "pad": _pad,
  "pow": _simple("Pow"),
  "reduce_max": _reduce("ReduceMax"),
  "reduce_min": _reduce("ReduceMin"),
  "reduce_precision": _same,
  "reduce_prod": _reduce("ReduceProd"),
  "reduce_sum": _reduce("ReduceSum"),
  "reduce_window_max": _pool("MaxPool"),
  "reduce_window_sum": _pool("AveragePool"),
  "reshape": _reshape,
  "rsqrt": _simple("Sqrt", "Reciprocal"),
  "select_n": _select,
  "sign": _simple("Sign"),
  "sin": _simple("Sin"),
  "slice": _slice,
  "sqrt": _simple("Sqrt"),
  "square": _square,
  "squeeze": _reshape,
  "stop_gradient": _same,
  "sub": _simple("Sub"),
  "tanh": _simple("Tanh"),
  "transpose": _transpose,
}

__all__ = ["RULES", "Rule", "cut", "prelu"]
