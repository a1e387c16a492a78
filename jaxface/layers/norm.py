"""Batch normalisation with statistics in float32, whatever the network computes in."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last.

  In a step that is jitted over a mesh the mean is the mean of the global batch.

  Attributes:
    dtype: of the result; statistics and arithmetic are float32.
    momentum: share of the running statistics that a training step keeps.
    epsilon: added to the variance.
    frozen_scale: the scale counts as a parameter but gets no gradient, so it stays one.
  """

  dtype: Any = jnp.float32
  momentum: float = 0.9
  epsilon: float = 1e-5
  frozen_scale: bool = False

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Normalise `x` [..., C] by its own statistics, or by the running ones if not `train`."""
    channels = x.shape[-1:]
    scale_c = self.param("scale", nn.initializers.ones, channels, jnp.float32)
    bias_c = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
    if self.frozen_scale:
      scale_c = lax.stop_gradient(scale_c)

    x32 = x.astype(jnp.float32)
    if train:
      axes = tuple(range(x.ndim - 1))
      mean_c = x32.mean(axes)
      # One pass over x, as E[x²] − E[x]²; rounding can make the difference negative.
      var_c = jnp.maximum((x32 * x32).mean(axes) - mean_c * mean_c, 0)
      if not self.is_initializing():
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean_c
        running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var_c
    else:
      mean_c, var_c = running_mean.value, running_var.value
    return ((x32 - mean_c) * (lax.rsqrt(var_c + self.epsilon) * scale_c) + bias_c).astype(self.dtype)


__all__ = ["BatchNorm"]
