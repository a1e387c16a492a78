"""An estimate of a step's memory and work from its trace alone: no compiler, no devices.

A compiler computes elementwise operations where their results are used. So the estimate stores the results of products, sums, gathers and
loops, and of elementwise operations that combine several large arrays and are used more than once, each from its first to its last use in
the order of the trace.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxface.layers.formulation import formulation
from jaxface.planning.abstract_step import AbstractStep
from jaxface.planning.graph import CHANGES, CHEAP, REDUCTIONS, SLICES, Array, Graph, Sent, graph_of
from jaxface.training.memory_table import device_bytes

# An array counts as large beside another one from this share of its size.
_LARGE = 0.25
# Lanes and sublanes of a TPU's tiles: both last axes are padded to multiples of them.
_LANES, _SUBLANES = 128, 8
# A TPU's memory on the chip.
_NEAR = 128 * 2**20
# Of a TPU's memory: gaps between arrays as a factor of their bytes, and bytes of the program for each product in it. Both are of two
# compiled steps, of iresnet18 (1.05 and 0.87 MB) and iresnet50 (1.13 and 1.15 MB).
_GAPS, _PROGRAM = 1.08, 1.0e6
# Operations after which an array is no longer kept on the chip.
_SOON = 3


class Task(NamedTuple):
  """An operation that reads from memory and writes to it.

  Attributes:
    name: of the primitive.
    flops: of its products.
    nbytes: read and written.
    times: how often.
  """

  name: str
  flops: float
  nbytes: float
  times: int


class Estimate(NamedTuple):
  """An estimate of a step, for each device.

  Attributes:
    arguments: bytes of state and batch.
    temporaries: bytes beside them.
    program: bytes of the program itself.
    tasks: operations.
    sent: what devices exchange.
  """

  arguments: int
  temporaries: int
  program: int
  tasks: tuple[Task, ...]
  sent: tuple[Sent, ...]

  @property
  def memory(self) -> int:
    """Bytes that a device needs."""
    return self.arguments + self.temporaries + self.program

  @property
  def flops(self) -> float:
    """Operations of products."""
    return sum(one.times * one.flops for one in self.tasks)

  @property
  def nbytes(self) -> float:
    """Bytes to and from memory."""
    return sum(one.times * one.nbytes for one in self.tasks)


def traced(step_of: Any) -> tuple[AbstractStep, Any]:
  """A step from `step_of()` and its jaxpr, in operations that every platform has."""
  with formulation("xla"):
    step = step_of()
    return step, step.jitted().trace(step.state, step.batch).jaxpr


def estimate(step: AbstractStep, jaxpr: Any, *, tpu: bool = False) -> Estimate:
  """The estimate of a traced step.

  Args:
    step: the step.
    jaxpr: from `traced`.
    tpu: whether arrays are padded to a TPU's tiles, small ones stay on the chip, and the program itself is in memory.
  """
  leaves = jax.tree.leaves((step.state, step.batch))
  graph = graph_of(jaxpr, leaves, step.mesh.size)
  tasks = tasks_of(graph, _NEAR if tpu else 0.0)
  peak, products = peak_temporaries(graph, tpu), sum(one.flops > 0 for one in tasks)
  return Estimate(
    sum(map(device_bytes, leaves)), round(peak * _GAPS) if tpu else peak, round(products * _PROGRAM) if tpu else 0, tuple(tasks),
    tuple(graph.sent),
  )


def peak_temporaries(graph: Graph, tiled: bool = False) -> int:
  """The most bytes of temporaries at a time.

  Args:
    graph: operations. Its inputs are no temporaries, nor are results that replace one.
    tiled: whether arrays are padded to the tiles of a TPU.
  """
  stored, sources = _stored(graph)
  birth: dict[int, int] = {}
  death: dict[int, int] = {}
  extra: dict[int, int] = {}
  # Arrays in the memory of an input, which is replaced in the end.
  given = set(graph.given)
  for place, operation in enumerate(graph.operations):
    if not any(n in stored for n in operation.outputs):
      continue
    death.update({s: place for n in operation.inputs for s in sources[n]})
    for n in operation.outputs:
      birth[n] = death[n] = place
    for new, old in operation.in_place.items():
      before = sources[old]
      if len(before) == 1 and graph.arrays[before[0]].shape == graph.arrays[new].shape:
        if before[0] in given:
          given.add(new)
        else:
          death[before[0]] = place - 1
    if operation.body is not None:
      extra[place] = peak_temporaries(operation.body, tiled)
  end = len(graph.operations)
  free = Counter((graph.arrays[n].shape, str(graph.arrays[n].dtype)) for n in graph.given)
  for n in graph.results:
    kind = (graph.arrays[n].shape, str(graph.arrays[n].dtype))
    death.update({s: end for s in sources[n]})
    if n in birth and n not in given and free[kind] > 0:
      free[kind] -= 1
      del birth[n]
  change = np.zeros(end + 2)
  for n in birth.keys() - given:
    size = padded(graph.arrays[n], tiled)
    change[birth[n]] += size
    change[death[n] + 1] -= size
  used = np.cumsum(change)
  for place, more in extra.items():
    used[place] += more
  return int(used.max(initial=0))


def tasks_of(graph: Graph, near: float = 0.0, times: int = 1) -> list[Task]:
  """Operations that use memory.

  Args:
    graph: operations.
    near: bytes of a memory on the chip: an array of at most half of it is not written to memory if it is read soon, and not later.
    times: how often the graph runs.
  """
  stored, sources = _stored(graph, narrow=True)
  acting = [one for one in graph.operations if any(n in stored for n in one.outputs)]
  reads = [sorted({s for n in one.inputs for s in sources[n]}) for one in acting]
  views = _views(graph, stored)
  born = {n: place for place, one in enumerate(acting) for n in one.outputs}
  last = {s: place for place, own in enumerate(reads) for s in own}
  last.update({s: len(acting) for n in graph.results for s in sources[n]})

  def on_chip(n: int, place: int) -> bool:
    return n in born and graph.arrays[n].nbytes <= near / 2 and place - born[n] <= _SOON

  tasks: list[Task] = []
  for place, (one, own) in enumerate(zip(acting, reads)):
    if one.body is not None:
      tasks += tasks_of(one.body, near, times * one.times)
      continue
    written = sum(graph.arrays[n].nbytes for n in one.outputs if not on_chip(n, last.get(n, place)))
    seen = {view for n in one.inputs for view in views[n]}
    read = sum(_read(graph, n, seen) for n in own if not on_chip(n, place))
    if one.name in REDUCTIONS:
      read = 0  # in the pass that makes what they sum
    elif one.name == "gather":
      read = written
    elif one.name in CHANGES:
      read = written = sum(graph.arrays[n].nbytes for n in one.inputs[1:])
    tasks.append(Task(one.name, one.flops, read + written, times))
  return tasks


def _stored(graph: Graph, *, narrow: bool = False) -> tuple[set[int], list[tuple[int, ...]]]:
  """Arrays that are stored, and for each array the stored ones from which it is computed.

  Args:
    graph: operations.
    narrow: an array that is only made wider, such as from bfloat16 to float32, is stored as it was before.
  """
  uses: Counter[int] = Counter(n for operation in graph.operations for n in set(operation.inputs))
  uses.update(graph.results)
  stored = set(graph.given)
  sources: list[tuple[int, ...]] = [(n,) if n in stored else () for n in range(len(graph.arrays))]

  def combines(n: int, reads: tuple[int, ...]) -> bool:
    least = _LARGE * graph.arrays[n].nbytes
    return graph.arrays[n].nbytes > 0 and sum(graph.arrays[s].nbytes >= least for s in reads) > 1

  for operation in graph.operations:
    reads = tuple(dict.fromkeys(s for n in operation.inputs for s in sources[n]))
    if narrow and operation.name == "convert_element_type":
      (source,), (n,) = operation.inputs, operation.outputs
      if graph.arrays[n].nbytes > graph.arrays[source].nbytes:
        if source not in stored and uses[n] > 1 and combines(source, reads):
          stored.add(source)
          sources[source] = (source,)
        sources[n] = sources[source]
        continue
    for n in operation.outputs:
      if operation.name not in CHEAP or (uses[n] > 1 and combines(n, reads)):
        stored.add(n)
        sources[n] = (n,)
      else:
        sources[n] = reads
  return stored, sources


def _views(graph: Graph, stored: set[int]) -> list[frozenset[tuple[int, int]]]:
  """What each array reads: a stored array, and the slice of it that is read, or the stored array again where all of it is."""
  views: list[frozenset[tuple[int, int]]] = [frozenset([(n, n)] if n in stored else []) for n in range(len(graph.arrays))]
  for operation in graph.operations:
    seen = frozenset().union(*(views[n] for n in operation.inputs))
    for n in operation.outputs:
      if n in stored:
        continue
      size = graph.arrays[n].nbytes
      sliced = operation.name in SLICES
      views[n] = frozenset((source, n if sliced and size < graph.arrays[part].nbytes else part) for source, part in seen)
  return views


def _read(graph: Graph, n: int, seen: set[tuple[int, int]]) -> int:
  """Bytes that are read of a stored array: those of its slices."""
  return min(graph.arrays[n].nbytes, sum(graph.arrays[part].nbytes for source, part in seen if source == n))


def padded(array: Array, tiled: bool) -> int:
  """Bytes of an array in memory.

  A TPU's compiler chooses which two axes are in tiles: of images batch and channels, of any other array those with the least padding.
  """
  if not tiled or len(array.shape) < 2 or 0 in array.shape:
    return array.nbytes
  rank = len(array.shape)
  pairs = [(0, rank - 1)] if rank == 4 else list(itertools.combinations(range(rank), 2))
  sizes = [
    math.prod(array.shape) // (array.shape[a] * array.shape[b]) * min(_tiles(array.shape[a], array.shape[b]), _tiles(array.shape[b], array.shape[a]))
    for a, b in pairs
  ]
  return min(sizes) * (array.nbytes // math.prod(array.shape))


def _tiles(rows: int, columns: int) -> int:
  return _up(rows, _SUBLANES) * _up(columns, _LANES)


def _up(length: int, multiple: int) -> int:
  return -(-length // multiple) * multiple


def exchanged(sent: Sequence[Sent]) -> dict[str, int]:
  """Bytes of the arrays that devices exchange in a step, by kind of collective."""
  total: Counter[str] = Counter()
  for one in sent:
    total[one.kind] += one.array.nbytes * one.times
  return dict(total)


__all__ = ["Estimate", "Task", "estimate", "exchanged", "padded", "peak_temporaries", "tasks_of", "traced"]
