"""Fully sharded data parallelism of the network: each device stores a part of each large parameter, of what the optimizer keeps
for it and of its running average. A step gathers the parameters and leaves each device the gradient of its part."""

import functools
import math
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

Tree = Any
# Arrays with fewer numbers are replicated: they need little memory, and one collective each.
LEAST = 2**14


def fsdp_axis(mesh: Mesh, shape: tuple[int, ...]) -> int | None:
  """The longest axis that the devices divide, the first of several; None without one, or below `LEAST` numbers."""
  axes = [axis for axis, length in enumerate(shape) if length % mesh.size == 0]
  if math.prod(shape) < LEAST or not axes:
    return None
  return max(axes, key=lambda axis: (shape[axis], -axis))


def fsdp_spec(mesh: Mesh, shape: tuple[int, ...]) -> P:
  """Over all devices along `fsdp_axis`, or replicated."""
  axis = fsdp_axis(mesh, shape)
  return P() if axis is None else P(*[None] * axis, mesh.axis_names)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gather(mesh: Mesh, params: Tree) -> Tree:
  """Parameters whole on every device; the gradient is sharded as the parameters are stored."""
  return lax.with_sharding_constraint(params, NamedSharding(mesh, P()))


def _shard(mesh: Mesh, saved: None, gradient: Tree) -> tuple[Tree]:
  return (
    jax.tree.map(lambda leaf: lax.with_sharding_constraint(leaf, NamedSharding(mesh, fsdp_spec(mesh, leaf.shape))), gradient),
  )


gather.defvjp(lambda mesh, params: (gather(mesh, params), None), _shard)


def whole(tree: Tree) -> Tree:
  """Arrays whole on every device, for evaluation; those that are stay as they are. All hosts must call it."""
  if all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(tree)):
    return tree
  places = jax.tree.map(lambda leaf: NamedSharding(leaf.sharding.mesh, P()), tree)
  return jax.jit(lambda tree: tree, out_shardings=places)(tree)


__all__ = ["LEAST", "fsdp_axis", "fsdp_spec", "gather", "whole"]
