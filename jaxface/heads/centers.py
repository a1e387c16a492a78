"""Class centres: how they start."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.joint import Geometry

INIT_DEVIATION = 0.01


def init_centers(key: Array, num_classes: int, embedding_size: int, geometry: Geometry) -> dict[str, Array]:
  """Class centres drawn from a normal distribution of deviation 0.01, biases at zero.

  Args:
    key: random key.
    num_classes: C, identities.
    embedding_size: D.
    geometry: of the margin.
  Returns:
    center_cd [C·K, D] float32, the K sub-centres of a class in consecutive rows; bias_c [C] float32 where the
    geometry has a bias.
  Raises:
    ValueError: fewer than one class or feature.
  """
  if num_classes < 1 or embedding_size < 1:
    raise ValueError(
      f"class centres need at least one identity and one feature, got num_classes = {num_classes} and"
      f" embedding_size = {embedding_size}"
    )
  shape = (num_classes * geometry.subcenters, embedding_size)
  params = {"center_cd": INIT_DEVIATION * jax.random.normal(key, shape, jnp.float32)}
  if geometry.bias:
    params["bias_c"] = jnp.zeros((num_classes,), jnp.float32)
  return params


__all__ = ["INIT_DEVIATION", "init_centers"]
