"""PyTorch state dicts into our networks, and out again: which names, see `jaxface.interop.torch_names`.

| ours | theirs | how |
|---|---|---|
| `Conv` kernel [h, w, I, O] | weight [O, I, h, w], or [O, I] of a matrix | transposed |
| `Dense` kernel [HWC, O] | weight [O, CHW] | rows reordered from C, H, W to H, W, C, and transposed |
| `BatchNorm` scale, bias, mean, var | weight, bias, running_mean, running_var | as they are, as is ε |
| – | num_batches_tracked | written as 0, not read |
| `Activation` alpha [C] | weight [C], or one for all | as it is |
"""

import math
from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.interop.layer_list import Layer, list_layers
from jaxface.interop.own_names import LAYOUT, from_own_names, to_own_names
from jaxface.interop.safetensors_file import read_metadata, read_safetensors, write_safetensors
from jaxface.interop.torch_file import read_torch
from jaxface.interop.torch_names import NoNames, torch_names
from jaxface.interop.weights import (
  WrongWeights,
  conv_kernel,
  dense_kernel,
  described,
  find_convention,
  lineage_in,
  metadata,
  source,
)
from jaxface.models.calibration import norm_meta
from jaxface.models.preprocess import Preprocess, changed
from jaxface.models.saved import SavedModel, variable_shapes

READERS = {".safetensors": read_safetensors, ".pt": read_torch, ".pth": read_torch}
_LEAVES = {
  "kernel": "weight", "alpha": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
}
_COUNTER = "num_batches_tracked"
_FLOATS = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)


def import_state_dict(
  path: Path | str, model: str = "", preprocess: str = "", options: dict[str, Any] | None = None
) -> SavedModel:
  """Read a state dict's numbers into a network.

  Args:
    path: a `.safetensors`, `.pt` or `.pth` file; a `module.` before all names is dropped.
    model: name of the network, such as "iresnet50"; not needed for a file that `export_state_dict` wrote, which names the
      network, its options and its preprocess.
    preprocess: name of the input convention that the weights were trained with; "" takes the network's own.
    options: of the network; what is not given is read off the shapes (units, variant, embedding size).
  Raises:
    WrongWeights: the state dict is not this network's; names key, expected and found.
    DamagedData, UnsafePickle, UnsafePath: see `read_safetensors` and `read_torch`.
    NoNames: there is no table of names for this network.
    ValueError: unknown suffix, model, option or preprocess, or no model where the file does not name it.
  """
  path = Path(path)
  if path.suffix not in READERS:
    raise ValueError(f"{path}: state dicts are read from {', '.join(READERS)}")
  state = READERS[path.suffix](path)
  if all(key.startswith("module.") for key in state):
    state = {key.removeprefix("module."): array for key, array in state.items()}
  said_of_itself = read_metadata(path) if path.suffix == ".safetensors" else {}
  own = described(said_of_itself, path)
  if own and model in ("", own[0]):
    model, said, convention = own
    options = {**said, **(options or {})}
    if preprocess:
      convention = changed(find_convention(model, options, preprocess, convention.size), template=convention.template)
  else:
    if not model:
      raise ValueError(f"{path} does not name the network that it is of: say which with --model")
    options = {**_guess(state, model), **(options or {})}
    convention = find_convention(model, options, preprocess, _guess_size(state))
  meta = {**source(path), **lineage_in(said_of_itself, path)}
  if said_of_itself.get(LAYOUT) == "jaxface":
    return SavedModel(model, options, convention, from_own_names(state, model, options, convention, path), meta)
  leaves = {}
  table = _table(model, options, convention)
  for place, (key, layer, shape) in table.items():
    leaves[place] = _to_ours(_array(state, key, layer, place[-1], shape, path), layer, place[-1], shape)
  known = {key for key, _, _ in table.values()}
  more = [key for key in state if key not in known and not key.endswith(_COUNTER)]
  if more:
    raise WrongWeights(f"{path}: key {more[0]!r} (of {len(more)} more) is nothing in {model} {options}")
  variables = flax.traverse_util.unflatten_dict(leaves)
  return SavedModel(model, options, convention, variables, {**meta, **norm_meta(variables)})


def to_state_dict(saved: SavedModel) -> dict[str, np.ndarray]:
  """A network's variables as a PyTorch state dict, counters of batches included."""
  state: dict[str, np.ndarray] = {}
  leaves = flax.traverse_util.flatten_dict(saved.variables)
  for place, (key, layer, shape) in _table(saved.name, saved.options, saved.preprocess).items():
    state[key] = _to_theirs(np.asarray(leaves[place], np.float32), layer, place[-1]).reshape(shape)
    if place[-1] == "var":
      state[f"{key.rpartition('.')[0]}.{_COUNTER}"] = np.zeros((), np.int64)
  return state


def export_state_dict(saved: SavedModel, path: Path | str) -> None:
  """Write a network as safetensors; read back and compared before the file appears.

  Names are those of PyTorch where there is a table of them, else our own: see `jaxface.interop.own_names`. What the file is
  stands in its metadata under `jaxface.*`.
  """
  try:
    state, layout = to_state_dict(saved), {"format": "pt", LAYOUT: "pytorch"}
  except NoNames:
    state, layout = to_own_names(saved), {LAYOUT: "jaxface"}
  with atomic_file(path) as file:
    write_safetensors(file, state, {**layout, **metadata(saved)})
    file.flush()
    again = read_safetensors(file.name)
    if again.keys() != state.keys() or any((again[key] != array).any() for key, array in state.items()):
      raise OSError(f"{path}: not written: what was read back differs")


def _table(model: str, options: dict[str, Any], convention: Preprocess) -> dict[tuple, tuple[str, Layer, tuple[int, ...]]]:
  """Place of each of our variables to its key, its layer and the shape of theirs."""
  layers = {layer.path: layer for layer in list_layers(model, options, convention)}
  shapes = flax.traverse_util.flatten_dict(variable_shapes(model, options, convention))
  owners = {place[1:-1] for place in shapes}  # a ReLU owns nothing, and has no name
  names = torch_names(model, options, [path for path in layers if path in owners])
  order = list(layers)
  table = {}
  for place in sorted(shapes, key=lambda place: order.index(place[1:-1])):
    ours, layer = shapes[place], layers[place[1:-1]]
    name = f"{names[layer.path]}.{_LEAVES[place[-1]]}"
    shape = ours.shape
    if place[-1] == "kernel":
      shape = (shape[3], shape[2], *shape[:2]) if layer.kind == "conv" else shape[::-1]
      # InsightFace's last layer is a matrix where ours is a 1×1 convolution; foamliu's is a convolution too.
      if name == "features.layers.2.weight":
        shape = shape[:2]
    table[place] = (name, layer, shape)
  return table


def _array(state: dict[str, np.ndarray], key: str, layer: Layer, leaf: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
  """The numbers of a key, once they are known to be of the right shape."""
  if key not in state:
    raise WrongWeights(f"{path}: key {key!r} is missing; layer {layer.name} expects it with shape {shape}")
  array = state[key]
  if array.dtype not in _FLOATS:
    raise WrongWeights(f"{path}: key {key!r} for layer {layer.name} has type {array.dtype}, expected floats")
  if leaf == "alpha" and array.shape == (1,):
    array = np.broadcast_to(array, shape)
  if array.shape != shape:
    raise WrongWeights(f"{path}: key {key!r} for layer {layer.name} has shape {array.shape}, expected {shape}")
  return array.astype(np.float32)


def _to_ours(array: np.ndarray, layer: Layer, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
  if leaf == "kernel" and layer.kind == "conv":
    array = conv_kernel(array.reshape(*shape, *(1,) * (4 - len(shape))))
  elif leaf == "kernel":
    array = dense_kernel(array, layer.image_shape)
  return np.ascontiguousarray(array)


def _to_theirs(array: np.ndarray, layer: Layer, leaf: str) -> np.ndarray:
  if leaf == "kernel" and layer.kind == "conv":
    array = array.transpose(3, 2, 0, 1)
  elif leaf == "kernel":
    height, width, channels = layer.image_shape
    array = array.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
  return np.ascontiguousarray(array)


def _guess(state: dict[str, np.ndarray], model: str) -> dict[str, Any]:
  """Options of `model` that keys and shapes show."""
  guess: dict[str, Any] = {}
  if model == "mobilefacenet":
    guess |= {"variant": "separable", "activation": "relu6"} if "dw_conv.pointwise.weight" in state else {}
  for key in ("features.weight", "features.layers.3.weight", "bn.weight"):
    if key in state:
      guess["embedding_size"] = len(np.atleast_1d(state[key]))
  if model == "iresnet":
    stages = [{key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")} for stage in (1, 2, 3, 4)]
    guess["units"] = tuple(len(units) for units in stages)
  return guess


def _guess_size(state: dict[str, np.ndarray]) -> int | tuple[int, int]:
  """Height and width that the last layers were made for; 0 where the keys do not say."""
  for key in ("features.layers.0.layers.0.weight", "gdconv.depthwise.weight"):
    if key in state and state[key].ndim == 4:
      return 16 * state[key].shape[2], 16 * state[key].shape[3]
  if "fc.weight" in state and "bn2.weight" in state and state["fc.weight"].ndim == 2 and len(state["bn2.weight"]):
    return 16 * math.isqrt(state["fc.weight"].shape[1] // len(state["bn2.weight"]))
  return 0


__all__ = ["READERS", "export_state_dict", "import_state_dict", "to_state_dict"]
