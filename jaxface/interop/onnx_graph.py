"""A graph under construction: nodes, constants, and simplification passes."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_AFFINE = {"Add", "Sub", "Mul", "Div"}


@dataclass
class Node:
  """One operation with one result."""

  op: str
  inputs: list[str]
  output: str
  attributes: dict[str, Any] = field(default_factory=dict)


class Graph:
  """Nodes in topological order; constants by name, equal ones once."""

  def __init__(self):
    self.nodes: list[Node] = []
    self.constants: dict[str, np.ndarray] = {}
    self._names: dict[tuple, str] = {}  # of constants by content, of results by their operation and arguments

  def constant(self, array: np.ndarray) -> str:
    """Name of a constant."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in self._names:
      self._names[key] = f"constant_{len(self.constants)}"
      self.constants[self._names[key]] = array
    return self._names[key]

  def emit(self, op: str, inputs: list[str], *, name: str = "", **attributes: Any) -> str:
    """Append a node, unless an equal one exists; returns the name of its result, which is `name` if given."""
    key = (op, *inputs, repr(sorted(attributes.items())))
    if key not in self._names:
      self._names[key] = name or f"{op.lower()}_{len(self.nodes)}"
      self.nodes.append(Node(op, list(inputs), self._names[key], attributes))
    return self._names[key]

  def finish(self, output: str, name: str) -> None:
    """Give the result `output` its public name, merge affine chains, and remove unused nodes."""
    # A separate node, since the result may be a constant, the graph's input, or also used inside.
    self.nodes.append(Node("Identity", [output], name))
    self._merge_affine_chains()
    self._drop_identity(name)
    used = {name}
    for node in reversed(self.nodes):
      if node.output in used:
        used.update(node.inputs)
    self.nodes = [node for node in self.nodes if node.output in used]
    self.constants = {key: array for key, array in self.constants.items() if key in used}

  def _drop_identity(self, name: str) -> None:
    source = self.nodes[-1].inputs[0]
    for node in self.nodes[:-1]:
      if node.output == source:
        for other in self.nodes:
          other.inputs = [name if i == source else i for i in other.inputs]
        node.output = name
        self.nodes.pop()
        return

  def _merge_affine_chains(self) -> None:
    """Fold arithmetic with constants into the preceding convolution or product, else into two nodes."""
    uses = Counter(i for node in self.nodes for i in node.inputs)
    consumer = {i: node for node in self.nodes for i in node.inputs}
    producer = {node.output: node for node in self.nodes}
    gone: set[int] = set()
    merged: list[Node] = []
    for node in self.nodes:
      if id(node) in gone:
        continue
      value = next((i for i in node.inputs if self._step(node, i) is not None), None)
      if value is None:
        merged.append(node)
        continue
      chain, source = [node], producer.get(value)
      while (
        uses[chain[-1].output] == 1 and self._step(consumer[chain[-1].output], chain[-1].output) is not None
      ):
        chain.append(consumer[chain[-1].output])
      scale, shift, before = np.ones((), np.float64), np.zeros((), np.float64), value
      for link in chain:
        times, plus = self._step(link, before) or (1.0, 0.0)
        scale, shift, before = scale * times, shift * times + plus, link.output
      if source is not None and uses[value] == 1 and self._fold(source, scale, shift):
        source.output = before
      elif len(chain) > 2:
        scaled = f"{before}_scaled"
        merged.append(Node("Mul", [value, self.constant(scale.astype(np.float32))], scaled))
        merged.append(Node("Add", [scaled, self.constant(shift.astype(np.float32))], before))
      else:
        merged.append(node)
        continue
      gone.update(map(id, chain))
    self.nodes = merged

  def _step(self, node: Node, value: str) -> tuple[Any, Any] | None:
    """(scale, shift) that `node` applies to `value`, None if it does something else."""
    if node.op not in _AFFINE or len(node.inputs) != 2:
      return None
    first = node.inputs[0] == value
    other = self.constants.get(node.inputs[1 if first else 0])
    if other is None or other.dtype != np.float32:
      return None
    wide = other.astype(np.float64)
    if node.op == "Add":
      return 1.0, wide
    if node.op == "Mul":
      return wide, 0.0
    if node.op == "Sub":
      return (1.0, -wide) if first else (-1.0, wide)
    return (1.0 / wide, 0.0) if first else None

  def _fold(self, node: Node, scale: np.ndarray, shift: np.ndarray) -> bool:
    """Fold scale and shift into the weights of `node`, if possible."""
    if node.op not in ("Conv", "Gemm") or node.inputs[1] not in self.constants:
      return False
    weight = self.constants[node.inputs[1]].astype(np.float64)
    features = weight.shape[0 if node.op == "Conv" else 1]
    for array in (scale, shift):
      # Only the channel axis, the second of the result, may be longer than one.
      channels = array.shape[1:2] if array.ndim == (4 if node.op == "Conv" else 2) else ()
      if array.size != 1 and (channels != (features,) or array.size != features):
        return False
    scale_o, shift_o = (np.broadcast_to(array.reshape(-1), (features,)) for array in (scale, shift))
    bias_o = self.constants[node.inputs[2]].astype(np.float64) if len(node.inputs) > 2 else np.zeros(features)
    weight = weight * (scale_o.reshape(-1, 1, 1, 1) if node.op == "Conv" else scale_o)
    node.inputs = [
      node.inputs[0],
      self.constant(weight.astype(np.float32)),
      self.constant((bias_o * scale_o + shift_o).astype(np.float32)),
    ]
    return True


__all__ = ["Graph", "Node"]
