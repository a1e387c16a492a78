"""Data movement in ONNX: reshape, slice, pad, transpose, gather."""
# ruff: noqa: ANN001 (every rule takes what `Rule` says)

import numpy as np
from jax.lax import GatherScatterMode

from jaxface.interop.onnx_graph import Graph
from jaxface.interop.onnx_values import (
  Const,
  Rule,
  Shape,
  Tensor,
  Unsupported,
  fixed,
  reshaped,
  stored,
)


def _same(graph, values, params, shape, dtype):
  return values[0]


def _broadcast(graph, values, params, shape, dtype):
  value, axes = values[0], params["broadcast_dimensions"]
  sizes = [1] * len(shape)
  for axis, n in zip(axes, value.shape):
    sizes[axis] = n
  if tuple(sizes) == tuple(value.shape):
    return Tensor(value.name, tuple(shape), value.order, value.repeated or tuple(sizes) != tuple(shape))
  narrow = reshaped(graph, value, tuple(sizes))
  return Tensor(narrow.name, tuple(shape), narrow.order, tuple(sizes) != tuple(shape))


def _transpose(graph, values, params, shape, dtype):
  # No data are moved: only the recorded order changes.
  value, permutation = values[0], list(params["permutation"])
  return Tensor(value.name, tuple(shape), tuple(permutation.index(a) for a in value.order), value.repeated)


def _sizes(graph, values, params, shape, dtype):
  return reshaped(graph, values[0], shape)


def _reshape(graph, values, params, shape, dtype):
  value, order = values[0], params["dimensions"]
  if order is not None:  # the axes are transposed first
    value = _transpose(graph, [value], {"permutation": order}, tuple(value.shape[a] for a in order), dtype)
  return reshaped(graph, value, shape)


def _concatenate(graph, values, params, shape, dtype):
  order = next(v.order for v in values if isinstance(v, Tensor))
  names = [stored(graph, v, order) for v in values]
  return Tensor(graph.emit("Concat", names, axis=order.index(params["dimension"])), tuple(shape), order)


def _stack(graph, values, params, shape, dtype):
  # Concatenated along the axis that follows the new one, then split into two axes.
  place, size = params["axis"], values[0].shape
  axis = min(place, len(size) - 1)
  whole = (*size[:axis], len(values) * size[axis], *size[axis + 1 :])
  joined = _concatenate(graph, values, {"dimension": axis}, whole, dtype)
  split = reshaped(graph, joined, (*size[:axis], len(values), *size[axis:]))
  if place == axis:
    return split
  return Tensor(split.name, tuple(shape), (*range(axis), axis + 1, axis))


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
  config = params["padding_config"]
  if any(interior for _, _, interior in config):
    raise Unsupported("pad with an interior amount")
  if any((low or high) and not fixed(n) for n, (low, high, _) in zip(x.shape, config)):
    raise Unsupported("pad along the batch")
  # Negative padding crops.
  starts = tuple(max(0, -low) for low, _, _ in config)
  limits = tuple(n - max(0, -high) for n, (_, high, _) in zip(x.shape, config))
  x = cut(graph, x, starts, limits, (1,) * len(shape), tuple(map(int.__sub__, limits, starts)))
  amounts = [max(0, config[a][end]) for end in (0, 1) for a in x.order]
  if not any(amounts):
    return x
  if isinstance(fill, Const):
    fill = Const(fill.array.astype(dtype), fill.shape)  # Python floats are float64
  names = [x.name, graph.constant(np.array(amounts, np.int64)), stored(graph, fill, ())]
  return Tensor(graph.emit("Pad", names), tuple(shape), x.order)


def _dynamic_slice(graph, values, params, shape, dtype):
  x, *places = values
  if not all(isinstance(place, Const) for place in places):
    raise Unsupported("a slice whose position depends on the image")
  # JAX clamps a slice that would leave the array.
  starts = tuple(int(np.clip(place.array, 0, n - m)) for place, n, m in zip(places, x.shape, shape))
  return cut(graph, x, starts, tuple(map(int.__add__, starts, shape)), (1,) * len(shape), shape)


def _gather(graph, values, params, shape, dtype):
  """A slice at a constant position under `vmap`; these networks have no other gathers."""
  x, places = values
  numbers = params["dimension_numbers"]
  if not isinstance(places, Const) or places.array.ndim != 1 or numbers.operand_batching_dims:
    raise Unsupported("gather of more than one slice at a constant position")
  sizes = params["slice_sizes"]
  starts = [0] * len(sizes)
  for axis, place in zip(numbers.start_index_map, places.whole()):
    starts[axis] = int(place)
  if params["mode"] == GatherScatterMode.CLIP:
    starts = [min(max(start, 0), n - size) for start, n, size in zip(starts, x.shape, sizes)]
  limits = tuple(map(int.__add__, starts, sizes))
  if min(starts) < 0 or any(limit > n for limit, n in zip(limits, x.shape)):
    raise Unsupported("gather of a slice that leaves the array")
  return reshaped(graph, cut(graph, x, tuple(starts), limits, (1,) * len(sizes), tuple(sizes)), shape)


def _reverse(graph, values, params, shape, dtype):
  x = values[0]
  if not all(fixed(shape[a]) for a in params["dimensions"]):
    raise Unsupported("rev along the batch")
  # From the last element down to before the first, which only a huge negative index can express.
  axes = [x.order.index(a) for a in params["dimensions"]]
  numbers = [[-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes)]
  name = graph.emit("Slice", [stored(graph, x, x.order), *(graph.constant(np.array(n, np.int64)) for n in numbers)])
  return Tensor(name, tuple(shape), x.order)


RULES: dict[str, Rule] = {
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "copy": _same,
  "copy_p": _same,
  "dynamic_slice": _dynamic_slice,
  "expand_dims": _sizes,
  "gather": _gather,
  "name": _same,
  "pad": _pad,
  "reduce_precision": _same,
  "reshape": _reshape,
  "rev": _reverse,
  "slice": _slice,
  "squeeze": _sizes,
  "stack": _stack,
  "stop_gradient": _same,
  "transpose": _transpose,
}

__all__ = ["RULES", "cut"]
