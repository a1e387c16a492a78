"""Reductions, pooling, convolutions and matrix products in ONNX."""
# ruff: noqa: ANN001 (every rule takes what `Rule` says)

import math
import string
from typing import Any

import numpy as np

from jaxface.interop.onnx_elementwise import elementwise, scalar
from jaxface.interop.onnx_values import Rule, Tensor, Unsupported, plain, reshaped, stored


def _reduce(op: str) -> Rule:
  def rule(graph, values, params, shape, dtype):
    x, axes = values[0], params["axes"]
    places = sorted(x.order.index(a) for a in axes)
    name = stored(graph, x, x.order)
    if op == "ReduceSum":  # its axes became an argument in opset 13, those of the others in 18
      name = graph.emit(op, [name, graph.constant(np.array(places, np.int64))], keepdims=0)
    else:
      name = graph.emit(op, [name], axes=places, keepdims=0)
    kept = [a for a in range(len(x.shape)) if a not in axes]
    return Tensor(name, tuple(shape), tuple(kept.index(a) for a in x.order if a in kept))

  return rule


def _pool(op: str) -> Rule:
  def rule(graph, values, params, shape, dtype):
    x, window, order = values[0], params["window_dimensions"], (0, 3, 1, 2)
    steps, pads = params["window_strides"], params["padding"]
    dilated = any(n != 1 for key in ("base_dilation", "window_dilation") for n in params[key])
    still = all(window[a] == steps[a] == 1 and pads[a] == (0, 0) for a in (*range(len(window) - 3), -1))
    if len(window) < 4 or not still or dilated:
      raise Unsupported(f"pooling over a window of {window}: needs [1, height, width, 1] without dilation")
    *outer, _, _, channels = x.shape
    if len(outer) > 1:  # networks vmapped over members: the member axis is merged into the batch
      x = reshaped(graph, x, (math.prod(outer), *x.shape[-3:]))
    (top, bottom), (left, right) = pads[-3:-1]
    attributes: dict[str, Any] = {
      "kernel_shape": list(window[-3:-1]),
      "strides": list(steps[-3:-1]),
      "pads": [top, left, bottom, right],
    }
    if op == "AveragePool":
      attributes["count_include_pad"] = 1
    pooled = (math.prod(outer), *shape[-3:-1], channels)
    out = Tensor(graph.emit(op, [stored(graph, x, order)], **attributes), pooled, order)
    if op == "AveragePool":
      out = elementwise(graph, "Mul", [out, scalar(window[-3] * window[-2], dtype)], pooled)
    return reshaped(graph, out, shape) if len(outer) > 1 else out

  return rule


def _conv(graph, values, params, shape, dtype):
  numbers = params["dimension_numbers"]
  if len(shape) != 4 or params["batch_group_count"] != 1 or any(n != 1 for n in params["lhs_dilation"]):
    raise Unsupported("a convolution that is transposed, grouped over the batch, or not two-dimensional")
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
  "conv_general_dilated": _conv,
  "dot_general": _dot,
  "reduce_max": _reduce("ReduceMax"),
  "reduce_min": _reduce("ReduceMin"),
  "reduce_prod": _reduce("ReduceProd"),
  "reduce_sum": _reduce("ReduceSum"),
  "reduce_window_max": _pool("MaxPool"),
  "reduce_window_sum": _pool("AveragePool"),
}

__all__ = ["RULES"]
