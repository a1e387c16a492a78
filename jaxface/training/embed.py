"""How the network is computed in a training step: statistics of batch norms, what the backward pass recomputes, and how the
gradients of the devices are summed."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.layers.convolution import CONVOLUTION
from jaxface.layers.norm_scope import NormScope, norms_over
from jaxface.training.fsdp import fsdp_axis, gather
from jaxface.training.parts import Network

Tree = Any
# (params, batch_stats, image [B, H, W, C], key) -> embedding [B, D], batch_stats
Apply = Callable[[Tree, Tree, Array, Array], tuple[Array, Tree]]


def embed(network: Network, mesh: Mesh | None, params: Tree, batch_stats: Tree, image_bhwc: Array, key: Array) -> tuple[Array, Tree]:
  """The network in training mode.

  Args:
    network: the network and how it is computed.
    mesh: devices of the step, over all of which the batch is sharded; None for one.
    params, batch_stats: its variables.
    image_bhwc: [B, H, W, C] float, in its input convention.
    key: for dropout.
  Returns:
    Embeddings [B, D], and the new batch_stats.
  """
  if mesh is not None and mesh.size > 1:
    if network.gradient_dtype != "float32":
      return _by_device(network, mesh, params, batch_stats, image_bhwc, key)
    if network.fsdp:
      params = gather(mesh, params)
  return _whole(network, NormScope(network.norm_groups))(params, batch_stats, image_bhwc, key)


def _whole(network: Network, scope: NormScope) -> Apply:
  def apply(params: Tree, batch_stats: Tree, image_bhwc: Array, key: Array) -> tuple[Array, Tree]:
    with norms_over(scope):
      embedding_bd, moved = network.module.apply(
        {"params": params, "batch_stats": batch_stats}, image_bhwc, train=True, mutable=["batch_stats"], rngs={"dropout": key}
      )
    return embedding_bd, moved.get("batch_stats", {})

  if network.remat != "products":
    return apply  # residual blocks are recomputed by the network itself
  save = jax.checkpoint_policies
  policy = save.save_from_both_policies(
    save.save_only_these_names(CONVOLUTION), save.dots_with_no_batch_dims_saveable
  )
  return jax.checkpoint(apply, policy=policy)


def _by_device(network: Network, mesh: Mesh, params: Tree, batch_stats: Tree, image_bhwc: Array, key: Array) -> tuple[Array, Tree]:
  """Every device computes its own rows with its own copy of the parameters, so that their gradients can be summed afterwards."""
  axes = mesh.axis_names
  scope = device_scope(network.norm_groups, mesh)
  dtype = jnp.dtype(network.gradient_dtype)
  leaves, tree = jax.tree.flatten(params)
  # None for a parameter that is not sharded.
  sharded = [fsdp_axis(mesh, leaf.shape) if network.fsdp else None for leaf in leaves]

  def local(leaves: list[Array], batch_stats: Tree, image_bhwc: Array, key: Array) -> tuple[Array, Tree]:
    own = [leaf[0] if axis is None else _gather_parts(axes, axis, dtype, leaf) for leaf, axis in zip(leaves, sharded)]
    key = jax.random.fold_in(key, lax.axis_index(axes))
    embedding_bd, batch_stats = _whole(network, scope)(jax.tree.unflatten(tree, own), batch_stats, image_bhwc, key)
    if scope.axes and scope.blocks is None:
      return embedding_bd, batch_stats
    return embedding_bd, jax.tree.map(lambda leaf: lax.pmean(leaf, axes), batch_stats)

  given = [_copies(mesh, dtype, leaf) if axis is None else leaf for leaf, axis in zip(leaves, sharded)]
  specs = [P(axes) if axis is None else P(*[None] * axis, axes) for axis in sharded]
  split = jax.shard_map(
    local, mesh=mesh, in_specs=(specs, P(), P(axes), P()), out_specs=(P(axes), P()), check_vma=False
  )
  return split(given, batch_stats, image_bhwc, key)


def device_scope(groups: int, mesh: Mesh) -> NormScope:
  """The scope of batch norms inside `jax.shard_map` over the whole mesh, for `groups` groups of the global batch.

  Raises:
    ValueError: groups would begin or end within a device.
  """
  devices = mesh.size
  if groups % devices == 0:
    return NormScope(groups // devices)
  if devices % groups:
    raise ValueError(
      f"model.norm_groups is {groups} on {devices} devices: needs a multiple or a divisor of them with mesh.gradient_dtype"
    )
  size = devices // groups
  blocks = tuple(tuple(range(first, first + size)) for first in range(0, devices, size))
  return NormScope(1, mesh.axis_names, None if groups == 1 else blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _copies(mesh: Mesh, dtype: Any, leaf: Array) -> Array:
  """A copy on every device, [devices, ...]; the gradient is summed over the devices in `dtype`."""
  place = NamedSharding(mesh, P(mesh.axis_names))
  return lax.with_sharding_constraint(jnp.broadcast_to(leaf, (mesh.size, *leaf.shape)), place)


def _sum_copies(mesh: Mesh, dtype: Any, saved: None, gradient: Array) -> tuple[Array]:
  # Not `jnp.sum`, which adds numbers of 16 bits in float32 and would send those.
  return (lax.reduce(gradient.astype(dtype), jnp.zeros((), dtype), lax.add, (0,)).astype(gradient.dtype),)


_copies.defvjp(lambda mesh, dtype, leaf: (_copies(mesh, dtype, leaf), None), _sum_copies)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _gather_parts(axes: tuple[str, ...], axis: int, dtype: Any, part: Array) -> Array:
  """The whole array from the parts of all devices along `axis`; each device gets the gradient of its part, summed in `dtype`."""
  return lax.all_gather(part, axes, axis=axis, tiled=True)


def _scatter_parts(axes: tuple[str, ...], axis: int, dtype: Any, saved: None, gradient: Array) -> tuple[Array]:
  return (lax.psum_scatter(gradient.astype(dtype), axes, scatter_dimension=axis, tiled=True).astype(gradient.dtype),)


_gather_parts.defvjp(lambda axes, axis, dtype, part: (_gather_parts(axes, axis, dtype, part), None), _scatter_parts)


__all__ = ["device_scope", "embed"]
