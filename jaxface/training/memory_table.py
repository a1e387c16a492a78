"""A table of what a run holds on its devices: bytes in total and on each device, how it is sharded, and what the compiled step
needs in addition."""

import math
from collections import Counter
from typing import Any

import jax
from jax.sharding import NamedSharding

from jaxface.training.mesh import class_axis, of_network, path_names

Tree = Any
# In the order of the table.
NETWORK, NETWORK_OPTIMIZER, AVERAGE, STATISTICS = "network", "network, optimizer", "network, running average", "batch statistics"
CENTERS, CENTERS_OPTIMIZER, OTHER, BATCH = "class centres", "class centres, optimizer", "other", "batch"
GROUPS = (NETWORK, NETWORK_OPTIMIZER, AVERAGE, STATISTICS, CENTERS, CENTERS_OPTIMIZER, OTHER, BATCH)


def memory_table(state: Tree, batch: Tree, compiled: Any = None) -> list[str]:
  """Lines of the table.

  Args:
    state: a `TrainState` of arrays, or of shapes with shardings.
    batch: a batch, likewise.
    compiled: the compiled step; None, or one that tells nothing, leaves its line out.
  """
  rows = _leaves(state, batch)
  cells = [("memory", "in all", "per device", "layout")]
  cells += [(group, *_sizes(leaves), _layouts(leaves)) for group, leaves in rows.items() if leaves]
  every = [leaf for leaves in rows.values() for leaf in leaves]
  cells.append(("together", *_sizes(every), ""))
  name, whole, part = (max(len(row[column]) for row in cells) for column in range(3))
  lines = [f"{a:{name}}  {b:>{whole}}  {c:>{part}}  {d}".rstrip() for a, b, c, d in cells]
  return lines + _step(compiled)


def group_bytes(state: Tree, batch: Tree) -> dict[str, int]:
  """Bytes on each device of the groups of `GROUPS` that are not empty.

  Args:
    state: as in `memory_table`.
    batch: likewise.
  """
  return {group: sum(map(device_bytes, leaves)) for group, leaves in _leaves(state, batch).items() if leaves}


def _leaves(state: Tree, batch: Tree) -> dict[str, list[Any]]:
  rows: dict[str, list[Any]] = {group: [] for group in GROUPS}
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    rows[_group(path, leaf)].append(leaf)
  rows[BATCH] = jax.tree.leaves(batch)
  return rows


def device_bytes(leaf: Any) -> int:
  """Bytes of an array on each device."""
  return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _group(path: tuple, leaf: Any) -> str:
  names = path_names(path)
  kept = names[0] in ("optimizer", "class_counts")
  if class_axis(path, leaf) is not None:
    return CENTERS_OPTIMIZER if kept else CENTERS
  if "batch_stats" in names[:2]:
    return STATISTICS
  if not of_network(path):
    return OTHER
  return {"params": NETWORK, "ema": AVERAGE}.get(names[0], NETWORK_OPTIMIZER)


def _sizes(leaves: list[Any]) -> tuple[str, str]:
  return size_text(sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)), size_text(sum(map(device_bytes, leaves)))


def size_text(count: float) -> str:
  """A number of bytes in decimal units, such as "1.2 GB"."""
  power = 0
  while count >= 1000 and power < 4:
    count, power = count / 1000, power + 1
  return f"{count:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}" if power else f"{count:.0f} B"


def _layouts(leaves: list[Any]) -> str:
  counts = Counter(map(_layout, leaves))
  if len(counts) == 1:
    return next(iter(counts))
  return ", ".join(f"{count} {layout}" for layout, count in counts.most_common())


def _layout(leaf: Any) -> str:
  sharding = leaf.sharding
  if len(sharding.device_set) == 1:
    return "one device"
  if sharding.is_fully_replicated:
    return "replicated"
  if not isinstance(sharding, NamedSharding):
    return "sharded"
  given = [(names,) if isinstance(names, str) else names or () for names in sharding.spec]
  return " and ".join(
    f"over {' × '.join(name for name in names if sharding.mesh.shape[name] > 1)}" for names in given if names
  )


def _step(compiled: Any) -> list[str]:
  memory = None if compiled is None else compiled.memory_analysis()
  if memory is None:
    return []
  arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
  results = memory.output_size_in_bytes - memory.alias_size_in_bytes
  total = arguments + temporary + results
  return [
    f"a step needs {size_text(total)} per device: {size_text(arguments)} for state and batch, {size_text(temporary)} for temporaries"
    f" and {size_text(results)} for results that are not in place"
  ]


__all__ = ["GROUPS", "device_bytes", "group_bytes", "memory_table", "size_text"]
