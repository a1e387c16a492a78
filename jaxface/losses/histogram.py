"""The histogram loss: how often a different pair is more similar than a same pair, from two soft histograms."""

import chex
import jax.numpy as jnp
from jax import Array


def _nodes(cosine: Array, nodes: int) -> tuple[Array, Array]:
  """Index of the node at or below a cosine (at most the last but one), and the weight of the next node."""
  place = (jnp.clip(cosine, -1.0, 1.0) + 1.0) * (0.5 * (nodes - 1))
  lower = jnp.minimum(jnp.floor(place).astype(jnp.int32), nodes - 2)
  return lower, place - lower


def soft_histogram(cosine: Array, weight: Array, *, nodes: int) -> Array:
  """Soft histogram of cosines at equally spaced nodes of [−1, 1]; a cosine is interpolated between its two neighbours.

  Args:
    cosine: any shape, in [−1, 1].
    weight: same shape, ≥ 0.
    nodes: number of nodes, both ends included.
  Returns:
    [nodes] with sum 1, or all 0 if all weights are 0.
  """
  chex.assert_equal_shape([cosine, weight])
  lower, share = _nodes(cosine, nodes)
  zeros = jnp.zeros(nodes, share.dtype)
  counts = zeros.at[lower].add(weight * (1.0 - share)).at[lower + 1].add(weight * share)
  total = weight.sum()
  return counts / jnp.where(total > 0.0, total, 1.0)


def histogram(cosine_bb: Array, same_bb: Array, different_bb: Array, *, nodes: int = 151) -> Array:
  """For every different pair, the estimated share of same pairs that are at most as similar.

  The weighted mean over the different pairs is the histogram loss Σ_r h⁻_r·φ⁺_r: h⁻ the histogram of the different pairs,
  φ⁺ the cumulative one of the same pairs. It needs batches with enough pairs of both kinds to fill a histogram.

  Args:
    cosine_bb: [B, B] in [−1, 1].
    same_bb: [B, B] weights of the same pairs.
    different_bb: [B, B] weights of the different pairs.
    nodes: number of nodes of the histograms, both ends included; the paper uses 101 to 201.
  Returns:
    [B, B] in [0, 1], 0 for entries that are no different pair.
  Raises:
    AssertionError: shapes differ.
  Source: Ustinova and Lempitsky, "Learning Deep Embeddings with Histogram Loss", 2016.
  """
  chex.assert_equal_shape([cosine_bb, same_bb, different_bb])
  below = jnp.cumsum(soft_histogram(cosine_bb, same_bb, nodes=nodes))
  lower_bb, share_bb = _nodes(cosine_bb, nodes)
  cost_bb = below[lower_bb] * (1.0 - share_bb) + below[lower_bb + 1] * share_bb
  return jnp.where(different_bb > 0.0, cost_bb, 0.0)


__all__ = ["histogram", "soft_histogram"]
