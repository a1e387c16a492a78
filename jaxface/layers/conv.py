"""The one convolution: every network calls it, and it picks the formulation that is fast on the backend."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

Padding = str | Sequence[tuple[int, int]]


def conv(
  x_bhwc: Array,
  kernel_hwio: Array,
  *,
  strides: tuple[int, int] = (1, 1),
  padding: Padding = "SAME",
  groups: int = 1,
  precision: Any = None,
) -> Array:
  """Two-dimensional convolution, NHWC by HWIO.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel_hwio: [kh, kw, C / groups, O] float.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
    groups: channel groups; C of them make it depthwise.
    precision: as for `jax.lax.conv_general_dilated`.
  Returns:
    [B, H', W', O], of the type of `x_bhwc`.
  """
  return lax.conv_general_dilated(
    x_bhwc, kernel_hwio, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups, precision=precision,
  )


class Conv(nn.Module):
  """`conv` with its parameters: `kernel` [kh, kw, C / groups, features] and, if asked, `bias` [features]."""

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  strides: tuple[int, int] = (1, 1)
  padding: Padding = "SAME"
  groups: int = 1
  use_bias: bool = False
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    shape = (*self.kernel_size, x_bhwc.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    y = conv(
      x_bhwc.astype(self.dtype), kernel.astype(self.dtype),
      strides=self.strides, padding=self.padding, groups=self.groups,
    )
    if self.use_bias:
      y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
    return y


__all__ = ["Conv", "Padding", "conv"]
