"""Pairs the tensors of a state dict with the variables of a network: by a table of names, given names, or order and shape.

Files with unknown names are paired by order and shape. The network's layers in execution order are compared with the file's
layers in every order that the tree of its names allows (`jaxface.interop.module_order`), until all kinds and shapes match.
Notes report what shapes cannot determine: indistinguishable modules, skipped layers, biases moved into a norm. If several
orders fit, and the file's own is not among them, an error is raised.
"""

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from jaxface.interop.file_layers import FileLayer
from jaxface.interop.module_order import Found, Node, build_tree, find_orders
from jaxface.interop.slots import LEAVES, Slot, accepts, image_size
from jaxface.interop.weights import WrongWeights
from jaxface.models.preprocess import Preprocess

# Stands for an unknown embedding size; no network has embeddings of this length.
ANY_EMBEDDING = 7919


@dataclass
class Pairing:
  """The pairing of two networks' layers.

  Attributes:
    by: "names", "order and shape", or "order and shape, and given names".
    layers: our layers, each with the file's.
    left_out: layers of the file without a match.
    notes: remarks on ambiguities, and on filled or moved values.
    embedding_size: size inferred from the file's shapes; 0 if unknown.
    size: height and width of the images, likewise; None if unknown.
    unknown: keys next to the network's that belong to no layer.
  """

  by: str
  layers: list[tuple[Slot, FileLayer]]
  left_out: list[FileLayer] = field(default_factory=list)
  notes: list[str] = field(default_factory=list)
  embedding_size: int = 0
  size: tuple[int, int] | None = None
  unknown: list[str] = field(default_factory=list)

  def with_embedding(self, size: int) -> "Pairing":
    """The same with the given embedding size."""

    def known(slot: Slot) -> Slot:
      shapes = {leaf: tuple(size if n == ANY_EMBEDDING else n for n in shape) for leaf, shape in slot.shapes.items()}
      return replace(slot, shapes=shapes)

    return replace(self, layers=[(known(slot), layer) for slot, layer in self.layers])

  def table(self) -> list[str]:
    """One line for each layer: the file's name, kind and shape, and our path."""
    width = max((len(layer.name) for _, layer in self.layers), default=0)
    lines = [
      f"{layer.name:{width}}  {layer.kind:6} {layer.shape!s:20} {slot.layer.name}"
      for slot, layer in self.layers
    ]
    return [*lines, *(f"{layer.name:{width}}  {layer.kind:6} skipped" for layer in self.left_out)]

  def short_notes(self) -> list[str]:
    """The notes, with those that differ only in numbers merged."""
    groups: dict[str, list[str]] = {}
    for note in self.notes:
      groups.setdefault(re.sub(r"\d+", "#", note), []).append(note)
    return [notes[0] + (f" (and {len(notes) - 1} similar)" if len(notes) > 1 else "") for notes in groups.values()]

  def to_json(self) -> dict[str, Any]:
    """The short form, for a model's `meta`."""
    return {
      "by": self.by, "layers": len(self.layers), "left_out": [layer.name for layer in self.left_out[:20]],
      "notes": self.short_notes()[:20],
    }


def layer_names(names: Mapping[str, str], state: Container[str]) -> dict[str, str]:
  """Converts given names of tensors and paths of variables to those of their layers; names of layers and modules are unchanged.

  Raises:
    WrongWeights: two tensors of one layer of the file belong to different layers of ours.
  """
  given: dict[str, str] = {}
  for name, path in names.items():
    if name in state:
      name = name.rpartition(".")[0]
    place = path.strip("/").removeprefix("params/").removeprefix("batch_stats/")
    start, _, last = place.rpartition("/")
    place = start if last in LEAVES else place
    if given.setdefault(name, place) != place:
      raise WrongWeights(f"--names: tensors of {name!r} map to {given[name]!r} and to {place!r}: a layer must map to one layer")
  return given


def pair_by_names(
  state: Mapping[str, np.ndarray], layers: list[FileLayer], slots: list[Slot], names: Mapping[tuple[str, ...], str], prefix: str,
  convention: Preprocess,
) -> Pairing:
  """Pair by a table of names.

  Args:
    state: arrays of the file.
    layers: layers of the file.
    slots: slots of the network, made for images of `convention`.
    names: maps the path of each of our layers to its name in the file.
    prefix: prefix of all names.
    convention: see `Slot`.
  Raises:
    WrongWeights: the file has other layers under the prefix, or layers that compute elsewhere.
  """
  pairing = Pairing("names", [])
  for slot in slots:
    name = prefix + names[slot.layer.path]
    keys = {leaf: f"{name}.{LEAVES[leaf]}" for leaf in slot.shapes}
    shapes = {leaf: tuple(state[key].shape) for leaf, key in keys.items() if key in state}
    pairing.layers.append((slot, FileLayer(name, slot.layer.kind, keys, shapes)))
  known = {key for _, layer in pairing.layers for key in layer.keys.values()}
  more = [key for layer in layers for key in layer.keys.values() if key not in known and key.startswith(prefix)]
  if more:
    pairing.unknown = more
  pairing.left_out = [layer for layer in layers if not layer.name.startswith(prefix)] if prefix else []
  _refuse_computing(pairing.left_out)
  _finish(pairing, convention)
  return pairing


def pair_by_order(
  layers: list[FileLayer], slots: list[Slot], convention: Preprocess, *, in_order: bool,
  given: Mapping[str, str] | None = None,
) -> Pairing | None:
  """Pair by order and shape; None if no order of the file's layers fits.

  Args:
    layers: layers of the file.
    slots: slots of the network, made for images of `convention`; with `ANY_EMBEDDING` if its size is unknown.
    convention: see `Slot`.
    in_order: whether the file preserves the order in which its modules were made.
    given: maps names of layers or modules in the file to paths of the network; "" skips them.
  Raises:
    WrongWeights: several orders fit, or a given name or path does not.
  """
  pairing = Pairing("order and shape" + (", and given names" if given else ""), [])
  slots = list(slots)
  rest = list(layers)

  def fit(node: Node, places: list[Slot], leave_out: frozenset[str] = frozenset()) -> Found:
    def ok(layer: FileLayer, position: int) -> bool:
      return position < len(places) and accepts(layer, places[position], ANY_EMBEDDING)

    return find_orders(node, ok, leave_out=leave_out)

  for name, path in (given or {}).items():
    mine = [layer for layer in rest if layer.name == name or layer.name.startswith(f"{name}.")]
    places = [slot for slot in slots if slot.layer.name == path or slot.layer.name.startswith(f"{path}/")]
    if not mine:
      raise WrongWeights(f"--names: no layer or module {name!r} in the file, or it is given twice")
    if path and not places:
      raise WrongWeights(f"--names: no layer or module {path!r} in the network, or it is given twice")
    rest = [layer for layer in rest if layer not in mine]
    if not path:
      pairing.left_out += mine
      continue
    if len(mine) != len(places):
      raise WrongWeights(f"--names: {name!r} has {len(mine)} layers ({_short(mine)}), {path!r} has {len(places)}")
    found = fit(build_tree(mine, in_order), places)
    if not found.orders:
      raise WrongWeights(f"--names: {name!r} ({_short(mine)}) does not match {path!r} ({_shapes(places)})")
    pairing.layers += zip(places, _choose(found, mine, in_order, pairing.notes))
    slots = [slot for slot in slots if slot not in places]

  if slots and not _pair_rest(rest, slots, fit, pairing, in_order):
    return None
  if not slots:
    pairing.left_out += rest
  _finish(pairing, convention)
  return pairing


def _pair_rest(rest: list[FileLayer], slots: list[Slot], fit: Callable[..., Found], pairing: Pairing, in_order: bool) -> bool:
  """Pair all `slots` with some of the layers: those of one module, except for matrices next to it, which are classifiers."""
  known = [layer for layer in rest if layer.kind != "other"]
  node = build_tree(known, in_order)
  while True:
    inside = node.layers()
    if len(inside) < len(slots):
      return False
    matrices = [name for name, child in node.children.items() if all(layer.kind == "matrix" for layer in child.layers())]
    fits: list[tuple[Found, frozenset[str]]] = []
    for count in range(min(2, len(matrices)) + 1):
      for names in combinations(reversed(matrices), count):
        if len(inside) - sum(len(node.children[name].layers()) for name in names) == len(slots):
          found = fit(node, slots, frozenset(names))
          fits += [(found, frozenset(names))] if found.orders else []
    if len(fits) > 1:
      raise WrongWeights(
        "either of these may be the classifier to skip: " + " or ".join(", ".join(sorted(names)) for _, names in fits)
        + ": choose with --names"
      )
    if fits:
      found, left_names = fits[0]
      mine = [layer for name, child in node.children.items() if name not in left_names for layer in child.layers()]
      mine = ([node.layer] if node.layer else []) + mine
      order = _choose(found, mine, in_order, pairing.notes)
      pairing.layers += zip(slots, order)
      left = [layer for layer in rest if layer not in mine]
      _refuse_computing(left, within=f"{node.name}." if node.name else "")
      pairing.left_out += left
      return True
    inner_node = max(node.children.values(), key=lambda child: len(child.layers()), default=None)
    if inner_node is None:
      return False
    node = inner_node


def _refuse_computing(left: list[FileLayer], within: str | None = None) -> None:
  """Rejects skipping anything but a classifier: layers that compute features, or layers inside the network."""
  more = [
    layer for layer in left
    if layer.kind in ("conv", "norm", "slopes") or (layer.kind == "other" and within is not None and layer.name.startswith(within))
  ]
  if more:
    raise WrongWeights(
      f"all layers of the network are matched, but the file contains more: {_short(more)}: skip them with --names, or"
      " choose a part of the file with --key"
    )


def _choose(found: Found, mine: list[FileLayer], in_order: bool, notes: list[str]) -> tuple[FileLayer, ...]:
  """Chooses an order; the file's order decides between several."""
  first = found.orders[0]
  if len(found.orders) > 1:
    a, b = next((a, b) for a, b in zip(*found.orders) if a is not b)
    if not in_order or mine.index(a) > mine.index(b):
      raise WrongWeights(
        f"two orders of the file's layers fit: {a.name!r} or {b.name!r} may run first. Give their layers in the network with"
        " --names" + ("" if in_order else "; a .pt or .pth file preserves the order of its modules, this one does not")
      )
    notes.append(f"{a.name} and {b.name} could run in either order: using the file's")
  for names, numbered in found.alike:
    if numbered:
      continue
    if not in_order:
      raise WrongWeights(
        f"{' and '.join(names)} are indistinguishable, and this file does not preserve the order of its modules: give their layers in"
        " the network with --names"
      )
    notes.append(f"{' and '.join(names)} are indistinguishable: using the file's order")
  return first


def _finish(pairing: Pairing, convention: Preprocess) -> None:
  """Infers sizes of embedding and image from the pairs."""
  for slot, layer in pairing.layers:
    for leaf, shape in slot.shapes.items():
      if shape[:1] == (ANY_EMBEDDING,) and leaf in layer.shapes:
        pairing.embedding_size = layer.shapes[leaf][0]
    pairing.size = image_size(layer, slot, convention) or pairing.size


def _short(layers: list[FileLayer]) -> str:
  more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
  return ", ".join(map(str, layers[:3])) + more


def _shapes(slots: list[Slot]) -> str:
  more = f" and {len(slots) - 3} more" if len(slots) > 3 else ""
  return ", ".join(f"{slot.layer.name} {next(iter(slot.shapes.values()))}" for slot in slots[:3]) + more


__all__ = ["ANY_EMBEDDING", "Pairing", "layer_names", "pair_by_names", "pair_by_order"]
