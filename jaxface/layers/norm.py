"""Batch normalisation with statistics in float32, whatever the network's dtype."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.activation import activate
from jaxface.layers.formulation import current_formulation
from jaxface.layers.norm_native import affine, train_norm
from jaxface.layers.norm_scope import WHOLE, NormScope, current_norm_scope


def channel_sum(x: Array) -> Array:
  """Sum [C] of `x` [B, ..., C] over all but the last axis; two stages are several times faster on a CPU."""
  return x.reshape(x.shape[0], -1, x.shape[-1]).sum(1).sum(0)


def _group_sum(x: Array, groups: int) -> Array:
  """Sum of each group of rows of `x` [B, ..., C], [G, 1, ..., C] so that it broadcasts against `_split` of it."""
  sum_gc = x.reshape(x.shape[0], -1, x.shape[-1]).sum(1).reshape(groups, -1, x.shape[-1]).sum(1)
  return sum_gc.reshape(groups, *[1] * (x.ndim - 1), x.shape[-1])


def _split(x: Array, groups: int) -> Array:
  """[B, ..., C] as [G, B / G, ..., C]."""
  return x.reshape(groups, -1, *x.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def batch_normalise(x: Array, scale_c: Array, bias_c: Array, epsilon: float, scope: NormScope = WHOLE) -> tuple[Array, Array, Array]:
  """Normalise by the statistics of the batch.

  Args:
    x: [B, ..., C] float32.
    scale_c: [C] float32.
    bias_c: [C] float32.
    epsilon: added to the variance.
    scope: which rows have common statistics.
  Returns:
    The normalised array, and mean [C] and (biased) variance [C] of a group, averaged over the groups, which carry no gradient.
  Source: Ioffe and Szegedy, "Batch Normalization", 2015; the gradient of its page 4, reduced to two sums: the gradient that JAX
    derives reads the array six times.
  """
  return _forward(x, scale_c, bias_c, epsilon, scope)[0]


def _forward(x: Array, scale_c: Array, bias_c: Array, epsilon: float, scope: NormScope) -> tuple:
  groups, count = scope.groups, x.size // x.shape[-1] // scope.groups
  mean_g = scope.mean(_group_sum(x, groups) / count)
  # One pass over x, as E[x²] − E[x]²; rounding can make the difference negative.
  var_g = jnp.maximum(scope.mean(_group_sum(x * x, groups) / count) - mean_g * mean_g, 0)
  inverse_g = lax.rsqrt(var_g + epsilon)
  y = ((_split(x, groups) - mean_g) * (inverse_g * scale_c) + bias_c).reshape(x.shape)
  mean_c, var_c = (each.reshape(groups, -1).mean(0) for each in (mean_g, var_g))
  return (y, mean_c, var_c), (x, mean_g, inverse_g, scale_c)


def _backward(scope: NormScope, saved: tuple, cotangents: tuple) -> tuple:
  x, mean_g, inverse_g, scale_c = saved
  dy, groups = cotangents[0], scope.groups
  count = x.size // x.shape[-1] // groups
  centred = _split(x, groups) - mean_g
  dbias_g = _group_sum(dy, groups)
  dscale_g = _group_sum(dy * centred.reshape(x.shape), groups) * inverse_g
  # Through the statistics every row depends on all rows of the scope; the caller sums the gradients of the parameters.
  mean_dy_g, mean_moment_g = scope.mean(dbias_g / count), scope.mean(dscale_g / count)
  slope_g = scale_c * inverse_g
  dx = slope_g * _split(dy, groups) - centred * (slope_g * inverse_g * mean_moment_g) - slope_g * mean_dy_g
  dscale_c, dbias_c = (each.reshape(groups, -1).sum(0) for each in (dscale_g, dbias_g))
  return dx.reshape(x.shape), dscale_c, dbias_c, None


batch_normalise.defvjp(_forward, _backward)


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last.

  In a step jitted over a mesh, the statistics are those of the global batch, or inside `norms_over` those of each group: then the
  running statistics follow the means over the groups of their means and variances.

  Attributes:
    dtype: dtype of the result; statistics and arithmetic are float32.
    momentum: decay of the running statistics per training step.
    epsilon: added to the variance.
    frozen_scale: the scale is a parameter without a gradient, so it stays one.
  """

  dtype: Any = jnp.float32
  momentum: float = 0.9
  epsilon: float = 1e-5
  frozen_scale: bool = False

  @nn.compact
  def __call__(
    self, x: Array, train: bool, activation: str | None = None, alpha_c: Array | None = None, shortcut: Array | None = None
  ) -> Array:
    """Normalise `x` by its own statistics, or by the running statistics if not `train`; then activate, then add.

    Args:
      x: [..., C] float.
      train: whether this is a training step, which updates the running statistics.
      activation: a name of `jaxface.layers.activation.ACTIVATIONS`, or None.
      alpha_c: [C] slopes of "prelu".
      shortcut: an array of the shape of `x`, added after the activation; or None.
    Returns:
      [..., C] with dtype `dtype`.
    """
    channels = x.shape[-1:]
    scale_c = self.param("scale", nn.initializers.ones, channels, jnp.float32)
    bias_c = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
    if self.frozen_scale:
      scale_c = lax.stop_gradient(scale_c)
    in_one_pass = (
      current_formulation() == "onednn" and x.ndim == 4 and x.size > 0 and x.dtype in (jnp.float32, jnp.bfloat16)
      and all(array is None or array.dtype == self.dtype for array in (x, shortcut))
    )

    mean_c, var_c = running_mean.value, running_var.value
    x32 = x if in_one_pass else x.astype(jnp.float32)
    scope = current_norm_scope(x) if train else WHOLE
    if train and in_one_pass:
      y, mean_c, var_c = train_norm(activation, self.epsilon, x, scale_c, bias_c, alpha_c, shortcut, scope)
    elif train:
      y, mean_c, var_c = batch_normalise(x32, scale_c, bias_c, self.epsilon, scope)
    else:
      slope_c = lax.rsqrt(var_c + self.epsilon) * scale_c
      if in_one_pass:
        y = affine(activation, x, slope_c, bias_c - mean_c * slope_c, alpha_c, shortcut)
      else:
        y = (x32 - mean_c) * slope_c + bias_c
    if train and not self.is_initializing():
      running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean_c
      running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var_c
    if in_one_pass:
      return y
    y = activate(activation, y.astype(self.dtype), alpha_c)
    return y if shortcut is None else shortcut + y


__all__ = ["BatchNorm", "batch_normalise", "channel_sum"]
