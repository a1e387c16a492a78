"""Compares the copies of a run's values that several processes hold, by checksums that each device computes of its own.

Nothing else would notice that they have parted: every device updates its own copy of parameters and statistics, and a saved state
contains one of them.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from jaxface.checkpoint import leaf_name
from jaxface.training.host_facts import HostsDiffer
from jaxface.training.hosts import gather, host_name

Tree = Any
# Leaves that a message names.
_NAMED = 8


def checksum(leaf: Array) -> Array:
  """Checksum of the bits of an array: the sum of its words, each times an odd number that depends on its place, modulo 2³².

  A single changed bit always changes it, any other change except with a probability of about 2⁻³².

  Args:
    leaf: any shape and dtype, a key of `jax.random` too. Words are elements of up to 32 bits, or halves of 64 bits.
  Returns:
    [] uint32.
  """
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  if leaf.dtype != jnp.bool:
    leaf = jax.lax.bitcast_convert_type(leaf, {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[leaf.dtype.itemsize])
  word = leaf.astype(jnp.uint32)
  place = jnp.zeros(word.shape, jnp.uint32)
  for axis, size in enumerate(word.shape):  # no reshape, which would copy on a TPU
    place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, word.shape, axis)
  return jnp.sum(word * (2 * place + 1), dtype=jnp.uint32)


def process_of(device: jax.Device) -> int:
  """Number of the process that a device belongs to."""
  return device.process_index


class Replicas:
  """The copies of a tree of arrays on several processes.

  Args:
    shapes: shapes with `NamedSharding`s of one mesh, see `jaxface.checkpoint.shapes_with_shardings`. Parts of arrays that only
      one process holds are left out.
  """

  def __init__(self, shapes: Tree):
    self._names: list[str] = []
    # For each leaf the part of it that a device holds, and the processes that hold a part.
    self._parts: list[dict[jax.Device, str]] = []
    self._holders: dict[str, set[int]] = defaultdict(set)
    self._chosen: list[int] = []
    specs = []
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(shapes)):
      name = leaf_name(path)
      parts = {
        device: name + _shown(box, leaf.shape) for device, box in leaf.sharding.devices_indices_map(leaf.shape).items()
      }
      for device, part in parts.items():
        self._holders[part].add(process_of(device))
      if any(len(self._holders[part]) > 1 for part in parts.values()):
        self._chosen.append(number)
        self._names.append(name)
        self._parts.append(parts)
        specs.append(leaf.sharding.spec)
        mesh = leaf.sharding.mesh
    if self._chosen:
      everywhere = P(mesh.axis_names)
      self._checksums = jax.jit(jax.shard_map(
        lambda leaves: jnp.stack([checksum(leaf) for leaf in leaves])[None], mesh=mesh, in_specs=(specs,), out_specs=everywhere,
        check_vma=False,
      ))

  def own(self, tree: Tree) -> dict[str, str]:
    """Checksum in hex of each part that this process and another one hold, by name; several if its own devices differ."""
    if not self._chosen:
      return {}
    leaves = jax.tree.leaves(tree)
    found: dict[str, set[str]] = defaultdict(set)
    for shard in self._checksums([leaves[number] for number in self._chosen]).addressable_shards:
      for parts, value in zip(self._parts, jax.device_get(shard.data)[0]):
        if len(self._holders[part := parts[shard.device]]) > 1:
          found[part].add(f"{value:08x}")
    return {part: " and ".join(sorted(values)) for part, values in found.items()}

  def check(self, tree: Tree, what: str, advice: str) -> None:
    """Raise on every process if copies differ; a collective call.

    Args:
      tree: arrays of these shapes and shardings.
      what: description of the point, for messages.
      advice: what to do, for the message.
    Raises:
      HostsDiffer: names arrays that differ, their checksums and their processes.
      HostsApart: see `gather`.
    """
    own = self.own(tree)
    torn = any(" and " in value for value in own.values())
    hosts = jax.process_count()
    everywhere = {part: value for part, value in own.items() if len(self._holders[part]) == hosts}
    digest = hashlib.sha256(json.dumps(everywhere, sort_keys=True).encode()).hexdigest()
    some = {part: value for part, value in own.items() if part not in everywhere}
    said = [json.loads(text) for text in gather(what, json.dumps([digest, torn, some]))]
    if len({each for each, _, _ in said}) == 1 and not any(torn for _, torn, _ in said) and not different([each for *_, each in said]):
      return
    lines = different([json.loads(text) for text in gather(f"{what}: which values differ", json.dumps(own))])
    more = [f"  and {len(lines) - _NAMED:,} more"] if len(lines) > _NAMED else []
    raise HostsDiffer(
      f"the processes of the run have different values ({what}); checksums:\n" + "\n".join([*lines[:_NAMED], *more]) + f"\n{advice}"
    )


def _shown(box: tuple[slice, ...], shape: tuple[int, ...]) -> str:
  """A part of an array as text, "[0:4, :]"; "" for the whole."""
  bounds = [part.indices(size)[:2] for part, size in zip(box, shape)]
  if all(bound == (0, size) for bound, size in zip(bounds, shape)):
    return ""
  shown = (":" if bound == (0, size) else f"{bound[0]}:{bound[1]}" for bound, size in zip(bounds, shape))
  return f"[{', '.join(shown)}]"


def different(found: list[Mapping[str, str]]) -> list[str]:
  """A line for each part whose checksums differ between its holders, or within one of them.

  Args:
    found: checksums by part of each process, by its number.
  """
  lines = []
  for part in dict.fromkeys(part for each in found for part in each):
    whose: dict[str, list[int]] = {}
    for index, each in enumerate(found):
      if part in each:
        whose.setdefault(each[part], []).append(index)
    if len(whose) > 1 or " and " in next(iter(whose)):
      shown = (f"{value} on {', '.join(map(host_name, indices))}" for value, indices in whose.items())
      lines.append(f"  {part}: {'; '.join(shown)}")
  return lines


__all__ = ["Replicas", "checksum", "different", "process_of"]
