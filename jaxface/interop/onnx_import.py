"""Imports the weights of an ONNX file into one of our networks, layer by layer, without executing it.

The file's nodes, in topological order, are matched with the network's layers in execution order:

| ours | in the file | how |
|---|---|---|
| `Conv` kernel [h, w, C/g, O] | `Conv` weight [O, C/g, h, w] | transposed; strides, pads, groups agree |
| `Conv` bias | `Conv` bias | unchanged; moved to the norm if our layer has none |
| `BatchNorm` | `BatchNormalization` after it | unchanged; the variance absorbs a different epsilon |
| `BatchNorm` | none: folded into the product | scale 1, its bias, mean 0, variance 1 − ε: adds the bias |
| `Dense` kernel [HWC, O] | `Gemm`, `MatMul` | rows reordered from C, H, W, as the file flattens, to H, W, C |
| `Conv` kernel [1, 1, C, O] on one pixel | `Gemm`, `MatMul` too | unchanged |
| `Activation` | `PRelu`, `Relu`, `Clip` 0..6 | slopes [C, 1, 1] as [C] |

Additions of feature maps are counted. A normalisation of the input before the network and of the embedding after it are removed
first (`jaxface.interop.onnx_ends`). Any other node that computes is rejected.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import flax.traverse_util
import numpy as np

from jaxface.interop.layer_list import Layer, count_residuals, list_layers
from jaxface.interop.onnx_ends import split_ends, with_front
from jaxface.interop.onnx_file import Node, OnnxGraph, read_onnx
from jaxface.interop.weights import WrongWeights, conv_kernel, dense_kernel, find_convention, source
from jaxface.models.calibration import norm_meta
from jaxface.models.registry import model_options
from jaxface.models.saved import SavedModel

# These do not change their argument (a reshape only flattens here, before a dense layer or at the end).
_TRANSPARENT = {"Identity", "Dropout", "Flatten", "Reshape", "Squeeze"}
_PRODUCTS = ("Gemm", "MatMul")
_LAYERS = {"Conv", *_PRODUCTS, "BatchNormalization", "PRelu", "Relu", "Clip"}
_ACTIVATIONS = {"prelu": "PRelu", "relu": "Relu", "relu6": "Clip"}


def import_onnx(
  path: Path | str,
  model: str,
  preprocess: str = "",
  options: dict[str, Any] | None = None,
  *,
  colour: str = "",
  say: Callable[[str], object] = lambda line: None,
) -> SavedModel:
  """Import a file's initialisers into a network.

  Args:
    path: the ONNX file.
    model: name of the network, such as "mobilefacenet".
    preprocess: name of the input convention of the graph's input; "" uses the network's own, or, if the graph normalises
      its input itself, the range inferred from its constants.
    options: options of the network; others are inferred from the graph (activation, variant, embedding size).
    colour: order of the channels, if it is not the convention's.
    say: called with messages about the ends of the graph before and after the network.
  Returns:
    The network with the file's weights.
  Raises:
    WrongWeights: the graph does not match the network.
    DamagedData, UnsafePath: see `read_onnx`.
    ValueError: unknown model, option or preprocess.
  """
  graph, front, behind = split_ends(read_onnx(path))
  options = {**_guess(graph, model), **(options or {})}
  if len(graph.inputs) != 1:
    raise WrongWeights(f"{path}: takes {sorted(graph.inputs)}, expected one image")
  shape = next(iter(graph.inputs.values()))
  size = shape[2:] if len(shape) == 4 and all(shape[2:]) else 0
  convention, notes = find_convention(model, options, preprocess, size, colour), []
  if front is not None:
    convention, note = with_front(convention, front, bool(preprocess), str(path))
    notes.append(note)
  if behind:
    notes.append(f"skipped {', '.join(behind)}: normalises embeddings, as `jaxface embed` does")
  for note in notes:
    say(f"note: {note}")
  matcher = _Matcher(graph, f"{model} {options}")
  for layer in list_layers(model, options, convention):
    matcher.match(layer)
  matcher.finish(count_residuals(model, options, convention))
  meta = {**source(graph.path), **({"notes": notes} if notes else {}), **({"normalises": True} if front is not None else {})}
  variables = flax.traverse_util.unflatten_dict(matcher.leaves)
  return SavedModel(model, options, convention, variables, {**meta, **norm_meta(variables)})


def _guess(graph: OnnxGraph, model: str) -> dict[str, Any]:
  """Options of `model` inferred from the graph."""
  valid = model_options(model)
  ops = {node.op for node in graph.nodes}
  shapes = [
    (node, graph.constants[node.inputs[1]].shape)
    for node in graph.nodes
    if node.op in ("Conv", *_PRODUCTS) and len(node.inputs) > 1 and node.inputs[1] in graph.constants
  ]
  guess: dict[str, Any] = {}
  if "activation" in valid:
    guess["activation"] = "prelu" if "PRelu" in ops else "relu6" if "Clip" in ops else "relu"
  if "variant" in valid and len(shapes) > 2:
    # The paper's network widens after the first depthwise convolution; the separable stem keeps its channels.
    shape = shapes[2][1]
    guess["variant"] = "separable" if shape[0] == shape[1] and shape[2:] == (1, 1) else "paper"
  if shapes:
    node, shape = shapes[-1]
    guess["embedding_size"] = int(
      shape[0] if node.op == "Conv" or node.attributes.get("transB") else shape[-1]
    )
  return guess


class _Matcher:
  """Matches nodes with layers in order; collects the variables' leaves."""

  def __init__(self, graph: OnnxGraph, network: str):
    self.graph, self.network = graph, network
    self.leaves: dict[tuple[str, ...], np.ndarray] = {}
    self.nodes: list[Node] = []
    self.alias: dict[str, str] = {}
    self.additions = 0
    for node in graph.nodes:
      if node.op in _TRANSPARENT and node.inputs:
        self.alias[node.output] = self._source(node.inputs[0])
      elif node.op == "Add" and not any(self._source(i) in graph.constants for i in node.inputs):
        self.additions += 1
      elif node.op in _LAYERS and node.inputs:
        self.nodes.append(node)
      else:
        raise WrongWeights(
          f"{graph.path}: node {node.name!r} is a {node.op} that matches no layer of {network};"
          f" supported are {', '.join(sorted(_LAYERS | _TRANSPARENT | {'Add'}))}"
        )
    self.position = 0
    self.last: Node | None = None
    self.after_product = False
    self.bias: np.ndarray | None = None

  def match(self, layer: Layer) -> None:
    """Find the node of `layer`, check it, and store its weights."""
    if self.bias is not None and layer.kind != "norm" and self.bias.any():
      raise WrongWeights(
        f"{self.graph.path}: {self.network} has no place for the bias before layer {layer.name}"
      )
    getattr(self, f"_{layer.kind}")(layer)
    self.after_product = layer.kind in ("conv", "dense")

  def finish(self, additions: int) -> None:
    """Check that no node is left."""
    if self.position < len(self.nodes):
      node = self.nodes[self.position]
      raise WrongWeights(f"{self.graph.path}: {self.network} ends before node {node.name!r} ({node.op})")
    if self.additions != additions:
      raise WrongWeights(
        f"{self.graph.path}: {self.additions} nodes add feature maps, {self.network} adds {additions} times"
      )

  def _conv(self, layer: Layer) -> None:
    module: Any = layer.module
    one_pixel = module.kernel_size == layer.input_shape[1:3] == (1, 1) and module.groups == 1
    if one_pixel and self.position < len(self.nodes) and self.nodes[self.position].op in _PRODUCTS:
      self._keep(layer, "kernel", self._product(layer)[None, None])
      return
    node = self._take(layer, "Conv")
    (top, bottom), (left, right) = module.padding
    expected = {
      "strides": list(module.strides),
      "pads": [top, left, bottom, right],
      "group": module.groups,
      "dilations": [1, 1],
      "auto_pad": b"NOTSET",
    }
    default = {
      "strides": [1, 1],
      "pads": [0, 0, 0, 0],
      "group": 1,
      "dilations": [1, 1],
      "auto_pad": b"NOTSET",
    }
    for key, value in expected.items():
      found = node.attributes.get(key, default[key])
      if found != value:
        self._refuse(layer, node, f"has {key} {found}, expected {value}")
    channels = layer.input_shape[-1] // module.groups
    kernel = self._constant(layer, node, 1, (module.features, channels, *module.kernel_size))
    self._keep(layer, "kernel", conv_kernel(kernel))
    self._keep_bias(layer, node, module.features, module.use_bias)

  def _dense(self, layer: Layer) -> None:
    self._keep(layer, "kernel", dense_kernel(self._product(layer).T, layer.image_shape))

  def _product(self, layer: Layer) -> np.ndarray:
    """Kernel [inputs, features] of the next node; its bias is stored."""
    node, module = self._take(layer, *_PRODUCTS), layer.module
    if any(node.attributes.get(key, 1) != 1 for key in ("alpha", "beta")) or node.attributes.get("transA"):
      self._refuse(layer, node, f"has attributes {node.attributes}, expected a plain product")
    shape = (layer.input_shape[-1], module.features)
    turned = bool(node.attributes.get("transB"))
    kernel = self._constant(layer, node, 1, shape[::-1] if turned else shape)
    self._keep_bias(layer, node, module.features, module.use_bias)
    return kernel.T if turned else kernel

  def _norm(self, layer: Layer) -> None:
    epsilon, size = layer.module.epsilon, (layer.input_shape[-1],)
    bias = np.zeros(size, np.float32) if self.bias is None else self.bias
    self.bias = None
    if self._folded():
      scale, shift, mean, var = np.ones(size), bias, np.zeros(size), np.full(size, 1 - epsilon)
    else:
      node = self._take(layer, "BatchNormalization")
      scale, shift, mean, var = (self._constant(layer, node, index, size) for index in (1, 2, 3, 4))
      mean, var = mean - bias, var + np.float32(node.attributes.get("epsilon", 1e-5) - epsilon)
    self._keep(layer, "scale", scale)
    self._keep(layer, "bias", shift)
    self._keep(layer, "mean", mean, "batch_stats")
    self._keep(layer, "var", var, "batch_stats")

  def _folded(self) -> bool:
    """Whether the norm after a convolution or dense layer has no separate node."""
    if self.last is None or not self.after_product:
      return False
    node = self.nodes[self.position] if self.position < len(self.nodes) else None
    return node is None or node.op != "BatchNormalization" or self._source(node.inputs[0]) != self.last.output

  def _activation(self, layer: Layer) -> None:
    kind = layer.module.kind
    last = self.last
    node = self._take(layer, _ACTIVATIONS[kind])
    if last is None or self._source(node.inputs[0]) != last.output:
      self._refuse(layer, node, "does not follow the preceding layer")
    if kind == "prelu":
      slope = self._constant(layer, node, 1, None)
      channels = layer.input_shape[-1]
      if slope.size not in (1, channels):
        self._refuse(
          layer, node, f"initializer {node.inputs[1]!r} has shape {slope.shape}, expected {(channels, 1, 1)}"
        )
      self._keep(layer, "alpha", np.broadcast_to(slope.reshape(-1), (channels,)))
    elif kind == "relu6":
      bounds = [node.attributes.get(key) for key in ("min", "max")]
      for index, name in enumerate(node.inputs[1:3]):
        if name:
          bounds[index] = float(self._constant(layer, node, index + 1, ()))
      if bounds != [0, 6]:
        self._refuse(layer, node, f"clips to {bounds}, expected [0, 6]")

  def _take(self, layer: Layer, *ops: str) -> Node:
    expected = " or ".join(ops)
    if self.position == len(self.nodes):
      raise WrongWeights(f"{self.graph.path}: ends before layer {layer.name} of {self.network}, a {expected}")
    node = self.nodes[self.position]
    if node.op not in ops:
      self._refuse(layer, node, f"is a {node.op}, expected a {expected}")
    self.position += 1
    self.last = node
    return node

  def _constant(self, layer: Layer, node: Node, index: int, shape: tuple[int, ...] | None) -> np.ndarray:
    name = self._source(node.inputs[index]) if index < len(node.inputs) else ""
    if name not in self.graph.constants:
      self._refuse(layer, node, f"argument {index} ({name!r}) is not an initializer")
    array = self.graph.constants[name]
    if array.dtype not in (np.float16, np.float32, np.float64):
      self._refuse(layer, node, f"initializer {name!r} has dtype {array.dtype}, expected float32")
    if shape is not None and array.shape != shape:
      self._refuse(layer, node, f"initializer {name!r} has shape {array.shape}, expected {shape}")
    return array.astype(np.float32)

  def _keep_bias(self, layer: Layer, node: Node, size: int, wanted: bool) -> None:
    given = len(node.inputs) > 2 and bool(node.inputs[2])
    bias = self._constant(layer, node, 2, (size,)) if given else np.zeros(size, np.float32)
    if wanted:
      self._keep(layer, "bias", bias)
    else:
      self.bias = bias

  def _keep(self, layer: Layer, leaf: str, array: np.ndarray, collection: str = "params") -> None:
    self.leaves[(collection, *layer.path, leaf)] = np.ascontiguousarray(array, dtype=np.float32)

  def _source(self, name: str) -> str:
    return self.alias.get(name, name)

  def _refuse(self, layer: Layer, node: Node, what: str) -> NoReturn:
    raise WrongWeights(
      f"{self.graph.path}: node {node.name!r} for layer {layer.name} of {self.network} {what}"
    )


__all__ = ["WrongWeights", "import_onnx"]
