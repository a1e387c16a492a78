"""Initial class centres."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxface.heads.devices import Devices
from jaxface.losses.joint import Geometry

INIT_DEVIATION = 0.01
# Classes drawn at once: the random bits of all of them would take more memory than the centres.
_BLOCK = 4_096


def init_centers(
  key: Array, num_classes: int, embedding_size: int, geometry: Geometry, *, rows: int | None = None, mesh: Mesh | None = None,
  dtype: Any = jnp.float32,
) -> dict[str, Array]:
  """Class centres from a normal distribution of standard deviation 0.01, biases at zero.

  The centre of class c comes from the key folded with c: it depends neither on how many classes there are nor on the devices, each
  of which makes its own, some at a time.

  Args:
    key: random key.
    num_classes: C, identities.
    embedding_size: D.
    geometry: of the margin.
    rows: R, classes to have room for (`padded_classes`), those from C on zero; None for C.
    mesh: over all of whose devices the rows are spread; None where the caller says.
    dtype: of the centres.
  Returns:
    center_cd [R·K, D], the K sub-centres of a class in consecutive rows; bias_c [R] float32 where the geometry has a bias.
  Raises:
    ValueError: fewer than one class or feature.
  """
  if num_classes < 1 or embedding_size < 1:
    raise ValueError(
      f"class centres need at least one identity and one feature, got num_classes = {num_classes} and"
      f" embedding_size = {embedding_size}"
    )
  rows = num_classes if rows is None else rows
  devices, k = Devices.of(mesh), geometry.subcenters

  def one(key: Array, number: Array) -> Array:
    drawn = INIT_DEVIATION * jax.random.normal(jax.random.fold_in(key, number), (k, embedding_size), jnp.float32)
    return jnp.where(number < num_classes, drawn, 0.0)

  def local(key: Array) -> Array:
    count = rows // devices.count
    width = min(_BLOCK, count)
    first = devices.index() * count

    def fill(number: Array | int, center_cd: Array) -> Array:
      start = jnp.minimum(number * width, count - width)  # the last block is whole, too: it makes some a second time
      drawn_ckd = jax.vmap(one, (None, 0))(key, first + start + jnp.arange(width))
      return lax.dynamic_update_slice_in_dim(center_cd, drawn_ckd.reshape(-1, embedding_size).astype(dtype), start * k, axis=0)

    return lax.fori_loop(0, -(-count // width), fill, jnp.zeros((count * k, embedding_size), dtype))

  part = P(devices.axes)
  make = local if mesh is None else jax.shard_map(local, mesh=mesh, in_specs=P(), out_specs=part, check_vma=False)
  params = {"center_cd": make(key)}
  if geometry.bias:
    params["bias_c"] = jnp.zeros((rows,), jnp.float32)
  return params


__all__ = ["INIT_DEVIATION", "init_centers"]
