"""Explicit collectives of a head, inside `jax.shard_map` or on a single device."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

Tree = Any


@dataclass(frozen=True)
class Devices:
  """All devices of a mesh, flattened; without axes, a single device.

  Attributes:
    axes: names of the mesh's axes.
    count: how many devices.
  """

  axes: tuple[str, ...] = ()
  count: int = 1

  @classmethod
  def of(cls, mesh: Mesh | None) -> "Devices":
    """Those of a mesh; None is one device."""
    return cls() if mesh is None else cls(tuple(mesh.axis_names), mesh.size)

  def index(self) -> Array | int:
    """Number of this device."""
    return lax.axis_index(self.axes) if self.axes else 0

  def sum(self, tree: Tree) -> Tree:
    """Sum over devices, on each."""
    return lax.psum(tree, self.axes) if self.axes else tree

  def max(self, tree: Tree) -> Tree:
    """Largest over devices, on each."""
    return lax.pmax(tree, self.axes) if self.axes else tree

  def gather(self, tree: Tree) -> Tree:
    """The parts of all devices, one after the other along the first axis, on each."""
    if not self.axes:
      return tree
    return jax.tree.map(lambda part: lax.all_gather(part, self.axes, tiled=True), tree)

  def sum_parts(self, whole: Array) -> Array:
    """Sum over devices, of which each keeps its part of the first axis."""
    return lax.psum_scatter(whole, self.axes, scatter_dimension=0, tiled=True) if self.axes else whole

  def part(self, whole: Array) -> Array:
    """This device's part of an array that all have."""
    if not self.axes:
      return whole
    size = len(whole) // self.count
    return lax.dynamic_slice_in_dim(whole, jnp.asarray(self.index()) * size, size)


__all__ = ["Devices"]
