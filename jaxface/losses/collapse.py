"""Detects collapse: the embeddings of all faces converge to one point, where distance losses have no gradient."""

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.unit import unit_rows


def collapse(embedding_bd: Array, weight_b: Array) -> Array:
  """Squared length of the mean direction.

  About 1/B for embeddings in random directions, 1 if all directions are equal; independent of the embeddings' lengths.

  Args:
    embedding_bd: [B, D] float.
    weight_b: [B] float ≥ 0, 0 for padding.
  Returns:
    A scalar in [0, 1], without a gradient; 0 if all weights are 0.
  """
  unit_bd = unit_rows(lax.stop_gradient(embedding_bd))[0]
  total = weight_b.sum()
  middle_d = (unit_bd * weight_b[:, None]).sum(0) / jnp.where(total > 0.0, total, 1.0)
  return jnp.square(middle_d).sum()


__all__ = ["collapse"]
