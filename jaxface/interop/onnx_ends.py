"""The ends of a graph: a normalisation of the pixels before the network, and of the embedding after it.

Arithmetic with constants on the graph's input (Sub, Add, Mul, Div, a BatchNormalization) is combined into one factor and one offset per
channel, which become part of the model's input convention. A division by the Euclidean norm at the end is removed: embeddings
are compared by their cosine, and `jaxface embed` normalises them.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxface.interop.onnx_file import Node, OnnxGraph
from jaxface.interop.weights import WrongWeights
from jaxface.models.preprocess import PREPROCESS, Preprocess

_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
_PASS = ("Identity", "Cast", "Dropout")
_GUARDS = ("Clip", "Max", "Add", "Expand", "Identity", "Unsqueeze", "Reshape")
# Name of the convention of a graph that normalises its input itself.
FROM_GRAPH = "graph"
# Bound on normalised pixels: ImageNet's reach 2.7.
_REACH = 4.0


@dataclass(frozen=True)
class Front:
  """x · scale + shift, for each channel of the graph's input."""

  scale_c: np.ndarray
  shift_c: np.ndarray
  nodes: tuple[str, ...]

  def __str__(self) -> str:
    scale, shift = (np.unique(array).round(5).tolist() for array in (self.scale_c, self.shift_c))
    return f"x · {scale} + {shift} ({', '.join(self.nodes)})"


def split_ends(graph: OnnxGraph) -> tuple[OnnxGraph, Front | None, list[str]]:
  """The graph without its ends, its input normalisation, and the names of nodes that normalise the result."""
  graph, front = _split_front(graph)
  behind = _length_one(graph)
  if behind:
    graph = replace(graph, nodes=tuple(node for node in graph.nodes if node.name not in behind))
  return graph, front, behind


def _split_front(graph: OnnxGraph) -> tuple[OnnxGraph, Front | None]:
  if len(graph.inputs) != 1:
    return graph, None
  (start, shape), = graph.inputs.items()
  channels = shape[1] if len(shape) == 4 and shape[1] else 3
  scale_c, shift_c, value, taken = np.ones(channels), np.zeros(channels), start, []
  while True:
    users = [node for node in graph.nodes if value in node.inputs]
    step = _step(users[0], value, graph, channels) if len(users) == 1 else None
    if step is None:
      break
    scale_c, shift_c, value = scale_c * step[0], shift_c * step[0] + step[1], users[0].output
    taken.append(users[0])
  if not any(node.op not in _PASS for node in taken):
    return graph, None
  if not (scale_c > 0).all() or not np.isfinite(shift_c).all():
    raise WrongWeights(f"{graph.path}: the nodes before the network invert the pixels: factors {scale_c.tolist()}")
  names = {node.name for node in taken}
  nodes = tuple(
    replace(node, inputs=tuple(start if i == value else i for i in node.inputs)) for node in graph.nodes if node.name not in names
  )
  return replace(graph, nodes=nodes), Front(scale_c, shift_c, tuple(node.name for node in taken if node.op not in _PASS))


def _step(node: Node, value: str, graph: OnnxGraph, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
  """Factor and offset of each channel that a node applies to `value`; None if it does something else."""
  one, zero = np.ones(channels), np.zeros(channels)
  if node.op in _PASS:
    return one, zero
  if node.op == "BatchNormalization" and all(i in graph.constants for i in node.inputs[1:5]):
    gamma, beta, mean, var = (graph.constants[i].astype(np.float64) for i in node.inputs[1:5])
    factor = gamma / np.sqrt(var + node.attributes.get("epsilon", 1e-5))
    return (factor, beta - mean * factor) if len(gamma) == channels else None
  if node.op not in _ARITHMETIC or len(node.inputs) != 2:
    return None
  first = node.inputs[0] == value
  array = graph.constants.get(node.inputs[1 if first else 0])
  if array is None or array.size not in (1, channels) or (array.size > 1 and array.shape[-3:] != (channels, 1, 1)):
    return None
  other = np.broadcast_to(array.astype(np.float64).reshape(-1), (channels,))
  if node.op == "Add":
    return one, other
  if node.op == "Mul":
    return other, zero
  if node.op == "Sub":
    return (one, -other) if first else (-one, other)
  return (1 / other, zero) if first and other.all() else None


def _length_one(graph: OnnxGraph) -> list[str]:
  """Names of the nodes at the end that divide rows by their Euclidean norm."""
  if not graph.nodes:
    return []
  maker = {node.output: node for node in graph.nodes}
  last = graph.nodes[-1]
  if last.op == "LpNormalization" and last.attributes.get("p", 2) == 2 and last.attributes.get("axis", -1) in (1, -1):
    return [last.name]
  if last.op != "Div" or len(last.inputs) != 2:
    return []
  value, names = last.inputs[0], [last.name]
  node = maker.get(last.inputs[1])
  while node is not None and node.op in _GUARDS:
    names.append(node.name)
    # The shape argument of an Expand is that of the embedding.
    for extra in node.inputs[1:]:
      if extra in maker and maker[extra].op == "Shape" and maker[extra].inputs == (value,):
        names.append(maker[extra].name)
      elif extra and extra not in graph.constants:
        return []
    node = maker.get(node.inputs[0])
  if node is not None and node.op == "ReduceL2" and node.inputs[0] == value:
    return [*names, node.name] if _rows(node, graph) else []
  if node is None or node.op not in ("Sqrt", "Pow") or (node.op == "Pow" and _number(node, graph) != 0.5):
    return []
  names.append(node.name)
  total = maker.get(node.inputs[0])
  while total is not None and total.op in ("Clip", "Max", "Add") and all(i in graph.constants for i in total.inputs[1:] if i):
    names.append(total.name)
    total = maker.get(total.inputs[0])
  if total is not None and total.op == "ReduceSumSquare" and total.inputs[0] == value:
    return [*names, total.name] if _rows(total, graph) else []
  square = maker.get(total.inputs[0]) if total is not None and total.op == "ReduceSum" else None
  if total is None or square is None or not _rows(total, graph):
    return []
  squared = square.inputs == (value, value) if square.op == "Mul" else square.op == "Pow" and square.inputs[0] == value and _number(square, graph) == 2
  return [*names, total.name, square.name] if squared else []


def _rows(node: Node, graph: OnnxGraph) -> bool:
  """Whether a reduction is along the embedding axis."""
  axes = node.attributes.get("axes")
  if axes is None and len(node.inputs) > 1 and node.inputs[1] in graph.constants:
    axes = graph.constants[node.inputs[1]].reshape(-1).tolist()
  return axes is not None and list(axes) in ([1], [-1])


def _number(node: Node, graph: OnnxGraph) -> float | None:
  array = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
  return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def with_front(convention: Preprocess, front: Front, known: bool, where: str) -> tuple[Preprocess, str]:
  """The input convention combined with a graph's own normalisation, and a message about it.

  Args:
    convention: the convention of the graph's input if `known`; else only its size, template, colour and fit are used, and the
      pixel range (0..255 or 0..1) is the one that the graph maps to a usual range.
    front: the normalisation.
    known: whether the convention was given.
    where: the file, for errors.
  Raises:
    WrongWeights: neither range fits.
  """
  base = convention
  if not known:
    for name, top in (("pixels in 0..255", 255.0), ("pixels in 0..1", 1.0)):
      reach = np.abs(np.concatenate([front.shift_c, front.shift_c + top * front.scale_c])).max()
      if reach <= _REACH:
        base, what = replace(convention, mean=(0.0,), std=(255.0 / top,)), name
        break
    else:
      raise WrongWeights(f"{where}: the graph's input normalisation, {front}, gives no usual range: set its input convention with --preprocess")
  else:
    what = f"the input of preprocess {convention.name!r}"
  mean_c, std_c = (np.broadcast_to(np.asarray(array, np.float64), front.scale_c.shape) for array in (base.mean, base.std))
  mean_c, std_c = mean_c - front.shift_c * std_c / front.scale_c, std_c / front.scale_c
  mean, std = (tuple(array.tolist()) if np.ptp(array) else (float(array[0]),) for array in (mean_c, std_c))
  same = next(
    (p for p in PREPROCESS.values() if p.channels == len(mean_c) and np.allclose(p.mean, mean_c, atol=1e-3)
     and np.allclose(p.std, std_c, rtol=1e-4)), None
  )
  if same is not None:  # equal except for the rounding of the graph's constants
    mean, std = same.mean, same.std
  folded = replace(base, name=same.name if same else FROM_GRAPH, mean=mean, std=std)
  return folded, f"the graph normalises {what} itself, {front}: now part of the input convention"


__all__ = ["FROM_GRAPH", "Front", "split_ends", "with_front"]
