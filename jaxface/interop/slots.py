"""The layers of our networks as slots for the tensors of a state dict."""

import math
from dataclasses import dataclass
from typing import Any

import flax.traverse_util

from jaxface.interop.file_layers import FileLayer
from jaxface.interop.layer_list import Layer, layers_and_variables
from jaxface.interop.torch_names import NoNames
from jaxface.models.preprocess import Preprocess

Place = tuple[str, ...]
LEAVES = {
  "kernel": "weight", "alpha": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
}


@dataclass(frozen=True)
class Slot:
  """One of our layers with variables.

  Attributes:
    layer: the layer.
    places: paths of its variables by leaf name, such as "kernel".
    shapes: shapes of its variables in PyTorch, likewise.
  """

  layer: Layer
  places: dict[str, Place]
  shapes: dict[str, tuple[int, ...]]

  @property
  def one_pixel(self) -> bool:
    """Whether it is a matrix product: a dense layer on one pixel, or a 1×1 convolution without groups."""
    module: Any = self.layer.module
    if self.layer.kind == "dense":
      return math.prod(self.layer.image_shape) == self.layer.image_shape[-1]
    return self.layer.kind == "conv" and module.kernel_size == (1, 1) and module.groups == 1

  @property
  def whole_image(self) -> bool:
    """Whether it is a convolution over the whole feature map, whose size depends on the image."""
    module: Any = self.layer.module
    return self.layer.kind == "conv" and module.kernel_size == self.layer.input_shape[1:3] and module.kernel_size != (1, 1)


def list_slots(model: str, options: dict[str, Any], convention: Preprocess) -> list[Slot]:
  """Layers of a network with variables, in execution order, grouped by module.

  Raises:
    NoNames: the network has variables of layers other than convolutions, norms, dense layers and slopes.
  """
  found, variables = layers_and_variables(model, options, convention)
  layers = {layer.path: layer for layer in found}
  owned: dict[Place, dict[str, Place]] = {}
  shapes = flax.traverse_util.flatten_dict(variables)
  for place in shapes:
    if place[1:-1] not in layers:
      raise NoNames(f"variable {'/'.join(place)} of {model} belongs to no convolution, norm, dense layer or activation:"
                    " state dicts are not read into such networks")
    owned.setdefault(place[1:-1], {})[place[-1]] = place
  return [
    Slot(layers[path], owned[path], {leaf: _theirs(leaf, layers[path], shapes[place].shape) for leaf, place in owned[path].items()})
    for path in _by_module(list(layers)) if path in owned
  ]


def _theirs(leaf: str, layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
  if leaf != "kernel":
    return shape
  return (shape[3], shape[2], *shape[:2]) if layer.kind == "conv" else shape[::-1]


def _by_module(paths: list[Place]) -> list[Place]:
  """Paths in order, with the parts of a module grouped at its first part."""
  first: dict[Place, int] = {}
  for index, path in enumerate(paths):
    for depth in range(1, len(path) + 1):
      first.setdefault(path[:depth], index)
  return sorted(paths, key=lambda path: [first[path[:depth]] for depth in range(1, len(path) + 1)])


def accepts(layer: FileLayer, slot: Slot, embedding_size: int | None) -> bool:
  """Whether a file's layer can be loaded into ours.

  Args:
    layer: layer of the file.
    slot: our slot, made for images of some size.
    embedding_size: embedding size of the slot's network if any other is acceptable.
  """
  kinds = {"conv": ("conv", "matrix"), "dense": ("matrix", "conv"), "norm": ("norm",), "activation": ("slopes",)}
  if layer.kind not in kinds[slot.layer.kind]:
    return False
  for leaf, found in layer.shapes.items():
    expected = slot.shapes.get(leaf)
    if expected is None:
      # A bias before a norm is moved into it.
      if (slot.layer.kind, leaf) != ("conv", "bias"):
        return False
    elif not _same(found, expected, leaf, slot, embedding_size):
      return False
  return True


def _same(found: tuple[int, ...], expected: tuple[int, ...], leaf: str, slot: Slot, embedding_size: int | None) -> bool:
  if leaf == "alpha" and found == (1,):
    return True
  if leaf == "kernel" and slot.one_pixel:
    found, expected = (tuple(shape[:2]) if shape[2:] in ((), (1, 1)) else shape for shape in (found, expected))
  if len(found) != len(expected):
    return False
  pairs = list(zip(found, expected))
  if leaf == "kernel" and slot.whole_image:
    pairs = pairs[:2]
  elif leaf == "kernel" and slot.layer.kind == "dense" and not slot.one_pixel and found[1] % slot.layer.image_shape[-1] == 0:
    pairs = pairs[:1]
  return all(a == b or b == embedding_size for a, b in pairs)


def image_size(layer: FileLayer, slot: Slot, convention: Preprocess) -> tuple[int, int] | None:
  """Image height and width that a file's layer was made for; None if it does not depend on them.

  Args:
    layer: layer of the file.
    slot: slot that accepts it, made for images of `convention`.
    convention: its size gives the ratio of the image to the feature map, and the aspect.
  """
  height, width = slot.layer.image_shape[:2] if len(slot.layer.image_shape) == 3 else (1, 1)
  if slot.whole_image:
    found = layer.shapes["kernel"][2:]
  elif slot.layer.kind == "dense" and not slot.one_pixel:
    pixels = layer.shapes["kernel"][1] // slot.layer.image_shape[-1]
    rows = round(math.sqrt(pixels * height / width))
    # If the aspect ratio is not ours, the image is square.
    found = (height, width) if pixels == height * width else (rows, pixels // rows) if rows and pixels % rows == 0 else (1, pixels)
  else:
    return None
  return convention.size[0] // height * found[0], convention.size[1] // width * found[1]


__all__ = ["LEAVES", "Place", "Slot", "accepts", "image_size", "list_slots"]
