"""Units that pass on the largest of several linear answers: maxout, and max-feature-map, its form of two halves."""

from functools import reduce
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


def maxout(x: Array, pieces: int = 2) -> Array:
  """The largest of `pieces` neighbouring stretches of the last axis, entry by entry.

  Entries that tie share the gradient: two halve it.

  Args:
    x: [..., pieces · C] float.
    pieces: how many stretches of length C there are.
  Returns:
    [..., C].
  Raises:
    ValueError: the last axis does not divide into `pieces`.
  Source: Goodfellow et al., "Maxout Networks", 2013.
  """
  if pieces < 1 or x.shape[-1] % pieces:
    raise ValueError(f"maxout of {pieces} pieces takes a last axis that divides by {pieces}; got shape {x.shape}")
  return reduce(jnp.maximum, jnp.split(x, pieces, axis=-1))


def max_feature_map(x: Array) -> Array:
  """The larger of the two halves of the channels: [..., 2 · C] to [..., C].

  Raises:
    ValueError: an odd number of channels.
  Source: Wu et al., "A Light CNN for Deep Face Representation with Noisy Labels", 2018, eq. 3.
  """
  return maxout(x, 2)


class Maxout(nn.Module):
  """Fully connected layer of maxout units, with parameters `kernel` [D, pieces · features] and `bias` [pieces · features].

  Attributes:
    features: length of the result.
    pieces: linear answers of each unit.
    dtype: of the computation.
    kernel_init: initialiser of the kernel. By default the larger of two answers has the size of the inputs; half of
      the variance is not lost as it is in a rectifier.
  """

  features: int
  pieces: int = 2
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[..., D] to [..., features]."""
    shape = (x.shape[-1], self.pieces * self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
    bias = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32).astype(self.dtype)
    return maxout(x.astype(self.dtype) @ kernel + bias, self.pieces)


__all__ = ["Maxout", "max_feature_map", "maxout"]
