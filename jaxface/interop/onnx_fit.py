"""Crop or resize of an input convention in ONNX, for any height and width.

The same arithmetic as `Preprocess.apply`, on sizes that are known only at run time. Linear interpolation is two matrix products
with the weights of `jax.image.resize`, since ONNX's `Resize` has no antialiasing before opset 18.
"""

import numpy as np

from jaxface.interop.onnx_graph import Graph
from jaxface.models.preprocess import Preprocess

_FLOAT, _INT64, _DOUBLE = 1, 7, 11  # of onnx.TensorProto


def fit_images(graph: Graph, image: str, preprocess: Preprocess, channels: int) -> str:
  """Emit the nodes that fit images to the size of a convention.

  Args:
    graph: the graph under construction.
    image: name of a tensor [batch, height, width, channels] of any height and width.
    preprocess: the convention.
    channels: channels of the images.
  Returns:
    Name of a tensor [batch, *size, channels]: of the same dtype if the convention crops, float32 if it resizes. A graph that
    crops fails on a smaller image, at a node whose name contains the minimum size.
  """
  height, width = preprocess.size
  shape = graph.emit("Shape", [image])
  size = graph.emit("Gather", [shape, _int(graph, [1, 2])], axis=0)
  if preprocess.fit == "crop":
    keep = _int(graph, [height, width])
  else:
    # The largest part with the aspect ratio; each side is bounded by the other: [width·h/w, height·w/h].
    other = graph.emit("Gather", [shape, _int(graph, [2, 1])], axis=0)
    product = graph.emit("Cast", [graph.emit("Mul", [other, _int(graph, [height, width])])], to=_DOUBLE)
    ratio = graph.emit("Div", [product, graph.constant(np.array([width, height], np.float64))])
    wanted = graph.emit("Cast", [graph.emit("Round", [ratio])], to=_INT64)
    keep = graph.emit("Min", [size, graph.emit("Max", [wanted, _int(graph, [1])])])
  spare = graph.emit("Div", [graph.emit("Sub", [size, keep]), _int(graph, [2])])
  start = graph.emit("Max", [spare, _int(graph, [0])])
  middle = graph.emit("Slice", [image, start, graph.emit("Add", [start, keep]), _int(graph, [1, 2])])
  if preprocess.fit == "crop":
    # For a smaller image the slice has fewer elements.
    return graph.emit(
      "Reshape", [middle, _int(graph, [0, height, width, channels])], name=f"image_has_at_least_{height}x{width}_pixels"
    )
  x_bhwc = graph.emit("Cast", [middle], to=_FLOAT)
  rows = graph.emit("Gather", [keep, _int(graph, 0)], axis=0)
  columns = graph.emit("Gather", [keep, _int(graph, 1)], axis=0)
  # Rows first, which are long vectors, then columns.
  flat = graph.emit("Reshape", [x_bhwc, graph.emit(
    "Concat", [_int(graph, [0]), graph.emit("Unsqueeze", [rows, _int(graph, [0])]), _int(graph, [-1])], axis=0
  )])
  x_bhwc = graph.emit("Reshape", [
    graph.emit("MatMul", [_weights(graph, rows, height), flat]), _int(graph, [0, height, -1, channels])
  ])
  return graph.emit("Reshape", [
    graph.emit("MatMul", [_weights(graph, columns, width), x_bhwc]), _int(graph, [0, height, width, channels])
  ])


def _weights(graph: Graph, count: str, out: int) -> str:
  """[out, count] weight of each input pixel in each output pixel; a triangle filter, widened for downscaling."""
  wide = graph.emit("Cast", [count], to=_DOUBLE)
  scale = graph.emit("Cast", [graph.emit("Div", [graph.constant(np.array(out, np.float64)), wide])], to=_FLOAT)
  step = graph.emit("Div", [_float(graph, 1), scale])
  reach = graph.emit("Max", [step, _float(graph, 1)])
  places = graph.constant((np.arange(out, dtype=np.float32) + np.float32(0.5))[:, None])
  centre = graph.emit("Sub", [graph.emit("Mul", [places, step]), _float(graph, 0.5)])
  pixel = graph.emit("Cast", [graph.emit("Range", [_int(graph, 0), count, _int(graph, 1)])], to=_FLOAT)
  distance = graph.emit("Div", [graph.emit("Abs", [graph.emit("Sub", [centre, pixel])]), reach])
  weight = graph.emit("Relu", [graph.emit("Sub", [_float(graph, 1), distance])])
  total = graph.emit("ReduceSum", [weight, _int(graph, [1])], keepdims=1)
  return graph.emit("Div", [weight, total])


def _int(graph: Graph, numbers: int | list[int]) -> str:
  return graph.constant(np.array(numbers, np.int64))


def _float(graph: Graph, number: float) -> str:
  return graph.constant(np.array(number, np.float32))


__all__ = ["fit_images"]
