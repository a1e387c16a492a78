"""Units that return the largest of several linear responses: maxout, and max-feature-map, its form with two halves."""

from functools import reduce
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


def maxout(x: Array, pieces: int = 2) -> Array:
  """The elementwise maximum of `pieces` contiguous parts of the last axis.

  Tied entries share the gradient equally.

  Args:
    x: [..., pieces · C] float.
    pieces: number of parts, each of length C.
  Returns:
    [..., C].
  Raises:
    ValueError: the last axis is not a multiple of `pieces`.
  Source: Goodfellow et al., "Maxout Networks", 2013.
  """
  if pieces < 1 or x.shape[-1] % pieces:
    raise ValueError(f"maxout of {pieces} pieces needs a last axis divisible by {pieces}; got shape {x.shape}")
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
    features: number of outputs.
    pieces: linear responses of each unit.
    dtype: dtype of the computation.
    kernel_init: initialiser of the kernel. By default the larger of two responses has the scale of the inputs, without
      the factor 2 that a rectifier needs.
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
