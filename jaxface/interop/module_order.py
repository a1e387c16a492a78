"""Determines the execution order of a state dict's layers, by searching for orders of its modules in which all shapes fit.

A state dict lists modules in order of construction, not of execution. Its names form a tree, and a network runs each module of
the tree from beginning to end: the children of a module are tried in every order, numbered ones only in numeric order.
Children with the same kinds and shapes cannot be distinguished; they keep the file's order, and are listed in `Found.alike`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jaxface.interop.file_layers import FileLayer, natural
from jaxface.interop.weights import WrongWeights

MAX_STEPS = 200_000
Accepts = Callable[[FileLayer, int], bool]


@dataclass
class Node:
  """A module: its full name, and its parts; a layer has no children."""

  name: str
  children: "dict[str, Node]" = field(default_factory=dict)
  layer: FileLayer | None = None

  def layers(self) -> list[FileLayer]:
    """Its layers, in the file's order."""
    own = [] if self.layer is None else [self.layer]
    return [*own, *(layer for child in self.children.values() for layer in child.layers())]


@dataclass(frozen=True)
class Found:
  """Orders that fit.

  Attributes:
    orders: at most two, each a sequence of layers.
    alike: names of modules that are indistinguishable, and whether numbers in their names give their order.
  """

  orders: tuple[tuple[FileLayer, ...], ...]
  alike: tuple[tuple[tuple[str, ...], bool], ...]


def build_tree(layers: Sequence[FileLayer], in_order: bool) -> Node:
  """Module tree of the layers; `in_order`: they are in the order in which the modules were made."""
  root = Node("")
  for layer in layers:
    node = root
    parts = layer.name.split(".") if layer.name else []
    for depth, part in enumerate(parts, start=1):
      node = node.children.setdefault(part, Node(".".join(parts[:depth])))
    node.layer = layer
  _sort(root, in_order)
  return root


def _sort(node: Node, in_order: bool) -> None:
  if not in_order or _numbered(node):
    node.children = dict(sorted(node.children.items(), key=lambda item: natural(item[0])))
  for child in node.children.values():
    _sort(child, in_order)


def _numbered(node: Node) -> bool:
  return all(name.isdecimal() for name in node.children)


def find_orders(node: Node, accepts: Accepts, start: int = 0, leave_out: frozenset[str] = frozenset()) -> Found:
  """Finds orders of a module's layers that fit.

  Args:
    node: the module.
    accepts: (layer, position) -> whether the layer may run there.
    start: position of the first layer.
    leave_out: names of children of `node` to skip.
  """
  return _Search(accepts).find(node, start, leave_out)


class _Search:
  def __init__(self, accepts: Accepts):
    self.accepts, self.steps = accepts, 0
    self.known: dict[tuple[int, int], list[tuple[FileLayer, ...]]] = {}

  def find(self, node: Node, start: int, leave_out: frozenset[str]) -> Found:
    groups = _groups(node, leave_out)
    orders = self._arrange(node, groups, start)
    if self.steps > MAX_STEPS:
      raise WrongWeights(f"more than {MAX_STEPS:,} orders of the modules to try: name them with --names")
    alike = [_alike(group) for group in groups if len(group) > 1 and not _numbered(node)]
    for group in groups:
      for child in group:
        alike += _inner_alike(child)
    return Found(tuple(orders), tuple(alike))

  def fit(self, node: Node, start: int) -> list[tuple[FileLayer, ...]]:
    """At most two orders of the node's layers that fit from position `start`."""
    if (id(node), start) not in self.known:
      self.known[id(node), start] = self._arrange(node, _groups(node, frozenset()), start)
    return self.known[id(node), start]

  def _arrange(self, node: Node, groups: list[list[Node]], start: int) -> list[tuple[FileLayer, ...]]:
    dead: set[tuple[int, ...]] = set()

    def place(taken: tuple[int, ...], at: int) -> list[tuple[FileLayer, ...]]:
      if all(count == len(group) for count, group in zip(taken, groups)):
        return [()]
      if taken in dead:
        return []
      results: list[tuple[FileLayer, ...]] = []
      for index, group in enumerate(groups):
        self.steps += 1
        if taken[index] == len(group) or self.steps > MAX_STEPS or len(results) > 1:
          continue
        for first in self.fit(group[taken[index]], at):
          after = (*taken[:index], taken[index] + 1, *taken[index + 1 :])
          results += [first + rest for rest in place(after, at + len(first))]
      if not results:
        dead.add(taken)
      return results[:2]

    if node.layer is None:
      return place((0,) * len(groups), start)
    if not self.accepts(node.layer, start):
      return []
    return [(node.layer, *rest) for rest in place((0,) * len(groups), start + 1)]


def _groups(node: Node, leave_out: frozenset[str]) -> list[list[Node]]:
  """Children grouped by kinds and shapes, each group in order; one group if numbers give the order."""
  children = [child for name, child in node.children.items() if name not in leave_out]
  if _numbered(node):
    return [children] if children else []
  groups: dict[object, list[Node]] = {}
  for child in children:
    groups.setdefault(_look(child), []).append(child)
  return list(groups.values())


def _look(node: Node) -> object:
  """Equal for modules whose layers have the same kinds and shapes, in any order of construction."""
  own = () if node.layer is None else ((node.layer.kind, tuple(sorted(node.layer.shapes.items()))),)
  inner = [_look(child) for child in node.children.values()]
  return (own, tuple(inner if _numbered(node) else sorted(inner, key=repr)))


def _alike(group: list[Node]) -> tuple[tuple[str, ...], bool]:
  names = [node.name.rpartition(".")[2] for node in group]
  numbers = len({re.sub(r"\d+", "", name) for name in names}) == 1 and names == sorted(names, key=natural)
  return tuple(node.name for node in group), numbers


def _inner_alike(node: Node) -> list[tuple[tuple[str, ...], bool]]:
  groups = _groups(node, frozenset())
  found = [] if _numbered(node) else [_alike(group) for group in groups if len(group) > 1]
  return found + [pair for child in node.children.values() for pair in _inner_alike(child)]


__all__ = ["MAX_STEPS", "Found", "Node", "build_tree", "find_orders"]
