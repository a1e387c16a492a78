"""Losses of Siamese networks: a regression of the cosine, and DeepFace's logistic regression of a weighted distance."""

import jax
import jax.numpy as jnp
from jax import Array


def siamese_regression(cosine: Array, same: Array, *, different_target: float = 0.0) -> Array:
  """(cos − target)², where the target is 1 for same pairs.

  With the target 0 for different pairs this is sentence-transformers' CosineSimilarityLoss on labels 0 and 1.

  Args:
    cosine: any shape, in [−1, 1].
    same: bool, same shape, true for pairs of one identity.
    different_target: target cosine of different pairs: 0 for orthogonal, −1 for opposite.
  Returns:
    An array of the shape of `cosine`, ≥ 0.
  """
  return jnp.square(cosine - jnp.where(same, 1.0, different_target))


def siamese_logistic(distance: Array, same: Array, *, bias: float | Array) -> Array:
  """Cross-entropy of "same", whose probability is σ(bias − distance).

  DeepFace learns the weights of the distance together with the features: `l1` or `chi2` with `weight_d`.

  Args:
    distance: any shape.
    same: bool, same shape.
    bias: decision threshold of the distance, a learned scalar.
  Returns:
    An array of the shape of `distance`, > 0.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §4.1, 4.2.
  """
  return jax.nn.softplus(jnp.where(same, distance - bias, bias - distance))


__all__ = ["siamese_logistic", "siamese_regression"]
