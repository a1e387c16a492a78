"""Smaller forms of an ONNX graph: float16 weights and arithmetic, or 8-bit integers calibrated on faces."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.interop.onnx_file import need
from jaxface.losses.ranges import check_name

PRECISIONS = ("float32", "float16", "int8")
# Operations with weights, which become integer products.
QUANTIZED = ("Conv", "Gemm", "MatMul")
# Tells the quantiser that constants are folded already, as `to_onnx` does; it warns without it.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def to_float16(model: Any) -> Any:
  """An `onnx.ModelProto` that computes in float16; its argument and its result keep their types.

  Raises:
    ImportError: onnxruntime is not installed; gives the command.
  """
  need("onnxruntime")
  from onnxruntime.transformers.float16 import convert_float_to_float16

  half = convert_float_to_float16(model, keep_io_types=True)
  # The converter writes the cast of a constant once for each node that uses it, under one name.
  seen: set[bytes] = set()
  nodes = []
  for node in half.graph.node:
    key = node.SerializeToString(deterministic=True)
    if key not in seen:
      seen.add(key)
      nodes.append(node)
  del half.graph.node[:]
  half.graph.node.extend(nodes)
  return half


def to_int8(model: Any, batches: Iterable[np.ndarray]) -> Any:
  """An `onnx.ModelProto` whose convolutions and dense layers, except the first and the last, multiply 8-bit integers.

  Weights have seven bits and one scale per output channel, activations eight bits and one scale per tensor, from their range on the calibration images (QDQ form:
  pairs of QuantizeLinear and DequantizeLinear, which runtimes fuse). Everything else stays in float32.

  Args:
    model: the graph in float32, with one argument.
    batches: images [B, H, W, C] of the graph's argument; every one is used.
  Raises:
    ImportError: onnxruntime is not installed; gives the command.
    ValueError: there are no images.
  """
  need("onnxruntime")
  from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

  class Reader(CalibrationDataReader):
    def __init__(self) -> None:
      self.batches: Iterator[np.ndarray] = iter(batches)
      self.seen = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
      image_bhwc = next(self.batches, None)
      if image_bhwc is None:
        if not self.seen:
          raise ValueError("int8 needs images to calibrate on, and none could be read")
        return None
      self.seen += len(image_bhwc)
      return {model.graph.input[0].name: image_bhwc}

  products = [node.name for node in model.graph.node if node.op_type in QUANTIZED]
  with tempfile.TemporaryDirectory(prefix="jaxface-int8-") as folder:
    before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
    marked = need("onnx").ModelProto()
    marked.CopyFrom(model)
    marked.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])
    before.write_bytes(marked.SerializeToString())
    quantize_static(
      str(before),
      str(after),
      Reader(),
      quant_format=QuantFormat.QDQ,
      op_types_to_quantize=list(QUANTIZED),
      # Pixels and the embedding lose the most, and their layers are few of the products.
      nodes_to_exclude=[products[0], products[-1]] if len(products) > 2 else [],
      per_channel=True,
      activation_type=QuantType.QUInt8,
      weight_type=QuantType.QInt8,
      # Seven bits of weights: on processors without VNNI, sums of two 8-bit products saturate at 16 bits.
      reduce_range=True,
    )
    small = need("onnx").load(str(after))
  # The quantiser adds its own mark, and does not promise to keep the rest.
  del small.metadata_props[:]
  small.metadata_props.extend(model.metadata_props)
  return small


def check_precision(precision: str, calibrated: bool) -> None:
  """Rejects a combination of precision and calibration images that has no meaning.

  Raises:
    ValueError: an unknown precision, int8 without images, or images for another precision.
  """
  check_name("precision", precision, PRECISIONS)
  if precision == "int8" and not calibrated:
    raise ValueError("precision int8 needs images to calibrate on: aligned faces like those that the model will see")
  if precision != "int8" and calibrated:
    raise ValueError(f"images to calibrate on are for precision int8, not for {precision}")


def split_batches(batches: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
  """Batches that set the ranges, and batches that measure the result: every fourth, or all if there are fewer than four."""
  if len(batches) < 4:
    return list(batches), list(batches)
  return [batch for number, batch in enumerate(batches) if number % 4 != 3], list(batches[3::4])


__all__ = ["PRECISIONS", "check_precision", "split_batches", "to_float16", "to_int8"]
