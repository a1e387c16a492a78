"""Fills the variables of a network from a state dict, given the pairing."""

from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np

from jaxface.interop.file_layers import FileLayer
from jaxface.interop.pairing import Pairing
from jaxface.interop.slots import Place, Slot
from jaxface.interop.weights import WrongWeights, conv_kernel, dense_kernel

_FLOATS = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
# Values of missing leaves: a norm without scale and bias, a layer without bias.
_NEUTRAL = {"scale": 1.0, "bias": 0.0}


def fill(
  pairing: Pairing, state: dict[str, np.ndarray], flatten: str, path: Path, model: str, options: dict[str, Any]
) -> dict[str, Any]:
  """Variables of a network.

  Args:
    pairing: pairing of every layer; notes on filled or moved values are added.
    state: arrays by key.
    flatten: see `dense_kernel`.
    path: path of the file, for errors.
    model: name of the network, for errors.
    options: its options.
  Raises:
    WrongWeights: a key is missing, unused, or has another shape or dtype; names it and the expected value.
  """
  leaves: dict[Place, np.ndarray] = {}
  biases: dict[tuple[str, ...], np.ndarray] = {}
  for slot, layer in pairing.layers:
    for leaf, place in slot.places.items():
      if layer.keys.get(leaf) in state:
        leaves[place] = _to_ours(_array(state, layer, slot, leaf, path), slot, leaf, flatten)
      elif leaf in _NEUTRAL and (slot.layer.kind == "norm" or pairing.by != "names") and _has_statistics(state, layer, slot):
        leaves[place] = np.full(slot.shapes[leaf], _NEUTRAL[leaf], np.float32)
        pairing.notes.append(f"{layer.name} has no {leaf}: filled with {_NEUTRAL[leaf]:g}")
      else:
        key = layer.keys.get(leaf, f"{layer.name} ({leaf})")
        raise WrongWeights(f"{path}: key {key!r} is missing; layer {slot.layer.name} expects it with shape {slot.shapes[leaf]}")
    if "bias" in layer.keys and "bias" not in slot.places:
      biases[slot.layer.path[:-1]] = _array(state, layer, slot, "bias", path, slot.shapes["kernel"][:1])
      pairing.notes.append(f"{layer.name} has a bias before a norm: moved into the norm's mean")
  for owner, bias in biases.items():
    mean = next((slot.places["mean"] for slot, _ in pairing.layers if slot.layer.kind == "norm" and slot.layer.path[:-1] == owner), None)
    if mean is None or not owner:
      raise WrongWeights(f"{path}: {model} has no place for the bias of layer {'/'.join(owner)}: no norm follows it")
    leaves[mean] = leaves[mean] - bias
  if pairing.unknown:
    first, count = pairing.unknown[0], len(pairing.unknown)
    raise WrongWeights(f"{path}: key {first!r} (of {count} more) is not in {model} {options}")
  return flax.traverse_util.unflatten_dict(leaves)


def _has_statistics(state: dict[str, np.ndarray], layer: FileLayer, slot: Slot) -> bool:
  return slot.layer.kind != "norm" or layer.keys.get("mean") in state


def _array(
  state: dict[str, np.ndarray], layer: FileLayer, slot: Slot, leaf: str, path: Path, shape: tuple[int, ...] | None = None
) -> np.ndarray:
  """The array of a key, after checking its dtype and shape."""
  key, shape = layer.keys[leaf], slot.shapes[leaf] if shape is None else shape
  array = state[key]
  if array.dtype not in _FLOATS:
    raise WrongWeights(f"{path}: key {key!r} for layer {slot.layer.name} has dtype {array.dtype}, expected floats")
  if leaf == "alpha" and array.shape == (1,):
    array = np.broadcast_to(array, shape)
  # A product on one pixel may be stored as a matrix or as a 1×1 convolution.
  short = array.shape[:2] if array.shape[2:] in ((), (1, 1)) else array.shape
  if array.shape != shape and not (leaf == "kernel" and slot.one_pixel and short == shape[:2]):
    raise WrongWeights(f"{path}: key {key!r} for layer {slot.layer.name} has shape {array.shape}, expected {shape}")
  return array.reshape(shape).astype(np.float32)


def _to_ours(array: np.ndarray, slot: Slot, leaf: str, flatten: str) -> np.ndarray:
  if leaf == "kernel" and slot.layer.kind == "conv":
    array = conv_kernel(array)
  elif leaf == "kernel":
    array = dense_kernel(array, (1, 1, array.shape[1]) if slot.one_pixel else slot.layer.image_shape, flatten)
  return np.ascontiguousarray(array)


__all__ = ["fill"]
