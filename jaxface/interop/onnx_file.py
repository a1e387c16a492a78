"""Reads ONNX files: with bounded sizes, only within their folder, without executing anything."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jaxface.formats.atomic import inside
from jaxface.formats.errors import DamagedData, UnsafePath

# A protobuf message cannot be longer than 2 GB; face networks have far less than 4 GB of weights.
MAX_FILE_BYTES = 2**31
MAX_TENSOR_BYTES = 2**30
MAX_TOTAL_BYTES = 2**32
# Operations that only move or rename numbers; they are applied to constants while reading.
_MOVES = ("Identity", "Transpose", "Unsqueeze")


def need(package: str) -> ModuleType:
  """Import `onnx` or `onnxruntime`, which are slow to load and needed only for import and export."""
  try:
    return __import__(package)
  except ImportError as error:
    raise ImportError(f"{package} is not installed: pip install {package}") from error


@dataclass(frozen=True)
class Node:
  """One operation.

  Attributes:
    op: its type, such as "Conv".
    name: its name, or that of its first result.
    inputs: names of its arguments, "" for an omitted one.
    output: name of its first result.
    attributes: plain Python values.
  """

  op: str
  name: str
  inputs: tuple[str, ...]
  output: str
  attributes: dict[str, Any]


@dataclass(frozen=True)
class OnnxGraph:
  """Nodes in topological order and all constants: initialisers, `Constant` nodes, and operations that only move their numbers.

  Attributes:
    inputs: name and shape of each argument of the graph; 0 for a free size.
  """

  path: Path
  nodes: tuple[Node, ...]
  constants: dict[str, np.ndarray]
  inputs: dict[str, tuple[int, ...]]


def read_onnx(path: Path | str) -> OnnxGraph:
  """Read a file's graph and constants.

  External data are read only from below the file's folder.

  Raises:
    DamagedData: not ONNX, too large, a tensor whose bytes do not match its shape, or nodes out of order.
    UnsafePath: external data outside the file's folder.
  """
  onnx = need("onnx")
  path = Path(path)
  size = path.stat().st_size
  if size > MAX_FILE_BYTES:
    raise DamagedData(f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read", file=path)
  model = onnx.ModelProto()
  try:
    model.ParseFromString(path.read_bytes())
  except Exception as error:  # the protobuf runtimes raise various types
    raise DamagedData(f"not an ONNX file: {error}", file=path) from error
  if not model.graph.node:
    raise DamagedData("not an ONNX file, or one without a graph", file=path)

  constants: dict[str, np.ndarray] = {}
  total = 0
  for tensor in model.graph.initializer:
    constants[tensor.name] = _array(tensor, path)
    total += constants[tensor.name].nbytes
    if total > MAX_TOTAL_BYTES:
      raise DamagedData(f"more than {MAX_TOTAL_BYTES:,} bytes of constants", file=path)
  nodes = []
  inputs = {
    value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    for value in model.graph.input
    if value.name not in constants
  }
  known = {"", *inputs, *constants}
  for proto in model.graph.node:
    name = proto.name or (proto.output[0] if proto.output else proto.op_type)
    missing = [i for i in proto.input if i not in known]
    if missing:
      raise DamagedData(f"node {name!r} uses {missing[0]!r}, which no earlier node outputs", file=path)
    known.update(proto.output)
    if proto.op_type == "Constant" and len(proto.attribute) == 1 and proto.attribute[0].name == "value":
      constants[proto.output[0]] = _array(proto.attribute[0].t, path, name)
      total += constants[proto.output[0]].nbytes
      if total > MAX_TOTAL_BYTES:
        raise DamagedData(f"more than {MAX_TOTAL_BYTES:,} bytes of constants", file=path)
      continue
    attributes = {
      a.name: onnx.helper.get_attribute_value(a)
      for a in proto.attribute
      if a.type in (a.FLOAT, a.INT, a.STRING, a.FLOATS, a.INTS)
    }
    output = proto.output[0] if proto.output else ""
    if proto.op_type in _MOVES and all(i in constants for i in proto.input):
      constants[output] = _moved(proto.op_type, [constants[i] for i in proto.input], attributes, f"node {name!r}", path)
      continue
    nodes.append(Node(proto.op_type, name, tuple(proto.input), output, attributes))
  return OnnxGraph(path, tuple(nodes), constants, inputs)


def _moved(op: str, arrays: list[np.ndarray], attributes: dict[str, Any], where: str, path: Path) -> np.ndarray:
  """A constant with transposed axes, or with additional axes of size one, as exporters write weights."""
  try:
    if op == "Transpose":
      return arrays[0].transpose(attributes.get("perm"))
    if op == "Unsqueeze":
      # The axes became an argument at opset 13.
      return np.expand_dims(arrays[0], tuple(attributes["axes"] if len(arrays) == 1 else arrays[1].tolist()))
    return arrays[0]
  except (ValueError, KeyError, TypeError, IndexError) as error:
    raise DamagedData(f"{where}, a {op}, does not match its argument: {error}", file=path) from error


def _array(tensor: Any, path: Path, name: str = "") -> np.ndarray:
  """A tensor's array, after checking that its bytes match its shape."""
  onnx = need("onnx")
  where = f"initializer {tensor.name or name!r}"
  shape = tuple(tensor.dims)
  try:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
  except KeyError as error:
    raise DamagedData(f"{where} has no known element type ({tensor.data_type})", file=path) from error
  if any(n < 0 for n in shape):
    raise DamagedData(f"{where} has shape {shape}", file=path)
  nbytes = math.prod(shape) * dtype.itemsize
  if nbytes > MAX_TENSOR_BYTES:
    raise DamagedData(f"{where} has shape {shape}: {nbytes:,} bytes, at most {MAX_TENSOR_BYTES:,}", file=path)
  if tensor.data_location == onnx.TensorProto.EXTERNAL:
    return _external(tensor, path, where, dtype, shape, nbytes)
  if tensor.HasField("raw_data") and len(tensor.raw_data) != nbytes:
    raise DamagedData(
      f"{where} has shape {shape}: {nbytes:,} bytes expected, {len(tensor.raw_data):,} found", file=path
    )
  try:
    return onnx.numpy_helper.to_array(tensor)
  except Exception as error:
    raise DamagedData(f"{where} of shape {shape} cannot be read: {error}", file=path) from error


def _external(
  tensor: Any, path: Path, where: str, dtype: np.dtype, shape: tuple[int, ...], nbytes: int
) -> np.ndarray:
  entries = {entry.key: entry.value for entry in tensor.external_data}
  try:
    file = inside(path.parent, entries.get("location", ""))
  except UnsafePath as error:
    raise UnsafePath(f"{path}: {where} has its data outside the file's folder: {error}") from error
  try:
    offset, length = int(entries.get("offset", 0)), int(entries.get("length", nbytes))
  except ValueError as error:
    raise DamagedData(f"{where}: offset or length of external data is not a number", file=path) from error
  if length != nbytes or offset < 0:
    raise DamagedData(f"{where} of shape {shape}: {nbytes:,} bytes expected, {length:,} external", file=path)
  if not file.is_file() or file.stat().st_size < offset + length:
    raise DamagedData(f"{where}: {file} is missing or ends before byte {offset + length:,}", file=path)
  with open(file, "rb") as handle:
    handle.seek(offset)
    return np.frombuffer(handle.read(length), dtype).reshape(shape)


__all__ = ["Node", "OnnxGraph", "need", "read_onnx"]
