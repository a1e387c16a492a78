"""Reads released weights of MTCNN: PyTorch state dicts, and ONNX graphs that were converted from TensorFlow. Nothing is executed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxface.interop.onnx_file import read_onnx
from jaxface.interop.torch_file import read_torch
from jaxface.interop.weights import WrongWeights, conv_kernel, dense_kernel

SUFFIXES = (".pt", ".onnx")
# Per network: kernels in order, the feature map that is flattened (H, W, C), and the numbers of outputs of its heads.
_PLANS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, int, int] | None, tuple[int, ...]]] = {
  "pnet": (((10, 3, 3, 3), (16, 10, 3, 3), (32, 16, 3, 3)), None, (2, 4)),
  "rnet": (((28, 3, 3, 3), (48, 28, 3, 3), (64, 48, 2, 2), (128, 576)), (3, 3, 64), (2, 4)),
  "onet": (((32, 3, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (128, 64, 2, 2), (256, 1152)), (3, 3, 128), (2, 4, 10)),
}


def find_files(folder: Path) -> dict[str, Path]:
  """The files of the three networks in a folder, by network.

  Raises:
    FileNotFoundError: one is missing; names those that are read.
  """
  for suffix in SUFFIXES:
    files = {net: folder / f"{net}{suffix}" for net in _PLANS}
    if all(file.is_file() for file in files.values()):
      return files
  wanted = " or ".join(", ".join(f"{net}{suffix}" for net in _PLANS) for suffix in SUFFIXES)
  raise FileNotFoundError(f"{folder}: has no MTCNN: expected the files {wanted}")


def read_mtcnn(folder: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
  """Parameters of the three networks from a folder of released weights.

  Args:
    folder: with pnet, rnet and onet as .pt (state dicts of facenet-pytorch) or .onnx (converted from its TensorFlow release).
  Returns:
    {"pnet": params, "rnet": params, "onet": params}, and the SHA-256 of each file by its name.
  Raises:
    FileNotFoundError: a file is missing.
    WrongWeights: a file holds another network; names the layer, the expected and the found shape.
    DamagedData, UnsafePickle, UnsafePath: a file cannot be read.
  """
  files = find_files(Path(folder))
  params = {net: _params(net, _layers(net, file), file) for net, file in files.items()}
  return params, {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()}


class _Layer(NamedTuple):
  """A layer of a file: its kernel as PyTorch stores it, and the slopes of the PReLU that follows it."""

  name: str
  kernel: np.ndarray
  bias: np.ndarray
  slopes: np.ndarray | None


def _layers(net: str, file: Path) -> list[_Layer]:
  """The layers in order, the heads (face, offset, points) last."""
  return _torch_layers(net, read_torch(file), file) if file.suffix == ".pt" else _onnx_layers(net, file)


def from_state_dict(net: str, state: Mapping[str, np.ndarray], where: str | Path = "state dict") -> dict[str, Any]:
  """Parameters of one network from arrays with the names of facenet-pytorch.

  Args:
    net: "pnet", "rnet" or "onet".
    state: arrays by name.
    where: name for messages.
  Raises:
    WrongWeights: it is not of this network; names the layer.
  """
  return _params(net, _torch_layers(net, state, where), where)


def _torch_layers(net: str, state: Mapping[str, np.ndarray], file: str | Path) -> list[_Layer]:
  kernels, _, heads = _PLANS[net]
  body = [f"{'conv' if len(shape) == 4 else 'dense'}{number}" for number, shape in enumerate(kernels, 1)]
  last = f"{'conv' if net == 'pnet' else 'dense'}{len(kernels) + 1}"
  layers = []
  for number, name in enumerate([*body, *(f"{last}_{head}" for head in range(1, len(heads) + 1))], 1):
    slopes = f"prelu{number}.weight" if number <= len(body) else None
    missing = [key for key in (f"{name}.weight", f"{name}.bias", slopes) if key and key not in state]
    if missing:
      raise WrongWeights(f"{file}: no tensor {missing[0]!r}: not the {net} of facenet-pytorch; it has {', '.join(list(state)[:5])}")
    layers.append(_Layer(name, state[f"{name}.weight"], state[f"{name}.bias"], state[slopes] if slopes else None))
  return layers


def _onnx_layers(net: str, file: Path) -> list[_Layer]:
  """The layers of a graph that takes transposed images: height and width of its kernels change places."""
  graph = read_onnx(file)
  layers: list[_Layer] = []
  products: dict[str, np.ndarray] = {}
  for node in graph.nodes:
    held = [graph.constants[name] for name in node.inputs if name in graph.constants]
    product = next((products[name] for name in node.inputs if name in products), None)
    if node.op == "Conv" and len(held) == 2:
      layers.append(_Layer(node.name, held[0].swapaxes(2, 3), held[1], None))
    elif node.op == "MatMul" and len(held) == 1:
      products[node.output] = held[0].T
    elif node.op == "Add" and len(held) == 1 and product is not None:
      layers.append(_Layer(node.name, product, held[0], None))
    elif node.op == "PRelu" and len(held) == 1 and layers:
      layers[-1] = layers[-1]._replace(slopes=held[0].reshape(-1))
  # Heads have no order in a graph, but different numbers of outputs.
  sizes = _PLANS[net][2]
  heads = {len(layer.bias): layer for layer in layers if layer.slopes is None}
  if len(heads) + len([layer for layer in layers if layer.slopes is not None]) != len(layers) or set(heads) != set(sizes):
    raise WrongWeights(f"{file}: heads of {sorted(heads)} outputs, {net} has {sorted(sizes)}")
  return [layer for layer in layers if layer.slopes is not None] + [heads[size] for size in sizes]


def _params(net: str, layers: list[_Layer], file: str | Path) -> dict[str, Any]:
  kernels, flat, heads = _PLANS[net]
  depth = kernels[-1][0]
  expected = [*kernels, *((count, depth, 1, 1) if net == "pnet" else (count, depth) for count in heads)]
  if len(layers) != len(expected):
    raise WrongWeights(f"{file}: {len(layers)} layers, {net} has {len(expected)}")
  for (name, kernel, bias, slopes), shape in zip(layers, expected):
    if kernel.shape != shape or bias.shape != shape[:1] or (slopes is not None and slopes.shape != shape[:1]):
      raise WrongWeights(f"{file}: layer {name} has a kernel of shape {kernel.shape} and {len(bias)} biases, {net} has {shape}")
    bad = [array for array in (kernel, bias, slopes) if array is not None and not np.isfinite(array).all()]
    if bad:
      raise WrongWeights(f"{file}: layer {name} has numbers that are not finite")
  params: dict[str, Any] = {}
  for number, (_, kernel, bias, slopes) in enumerate(layers[: len(kernels)], 1):
    if kernel.ndim == 4:
      params[f"stage{number}"] = {"conv": _layer(conv_kernel(kernel), bias), "prelu": {"alpha": _float(slopes)}}
    else:
      assert flat is not None
      params["dense"], params["prelu"] = _layer(dense_kernel(kernel, flat, "whc"), bias), {"alpha": _float(slopes)}
  kernel = np.concatenate([layer.kernel for layer in layers[len(kernels) :]])
  bias = np.concatenate([layer.bias for layer in layers[len(kernels) :]])
  params["heads"] = _layer(conv_kernel(kernel) if kernel.ndim == 4 else kernel.T, bias)
  return params


def _float(array: np.ndarray | None) -> np.ndarray:
  return np.ascontiguousarray(array, dtype=np.float32)


def _layer(kernel: np.ndarray, bias: np.ndarray) -> Mapping[str, np.ndarray]:
  return {"kernel": _float(kernel), "bias": _float(bias)}


__all__ = ["SUFFIXES", "find_files", "from_state_dict", "read_mtcnn"]
