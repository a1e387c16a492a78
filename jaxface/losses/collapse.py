"""Seeing a net collapse: the embeddings of all faces drift to one point, where losses of distances stand still."""

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.unit import unit_rows


def collapse(embedding_bd: Array, weight_b: Array) -> Array:
  """Squared length of the mean direction.

  About 1/B for embeddings in all directions, 1 where all point one way; the length of embeddings plays no part.

  Args:
    embedding_bd: [B, D] float.
    weight_b: [B] float ≥ 0, 0 for padding.
  Returns:
    A scalar in [0, 1], without a gradient; 0 where nothing has weight.
  """
  unit_bd = unit_rows(lax.stop_gradient(embedding_bd))[0]
  total = weight_b.sum()
  middle_d = (unit_bd * weight_b[:, None]).sum(0) / jnp.where(total > 0.0, total, 1.0)
  return jnp.square(middle_d).sum()


__all__ = ["collapse"]
