"""The convolution that every network calls. It picks the fastest formulation for the platform."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from jaxface.layers.conv_pure import pure_conv, takes
from jaxface.layers.formulation import by_platform, current_formulation
from jaxface.layers.onednn import Window, onednn_conv

Padding = str | Sequence[tuple[int, int]]
# Name of the result of a convolution, for a policy of `jax.checkpoint`.
CONVOLUTION = "convolution"

_BF16_PRODUCTS = ("bfloat16", "BF16_BF16_F32")


def _bf16_products(precision: Any) -> bool | None:
  """Whether float32 numbers may be multiplied as bfloat16; None for a precision that only `lax` can interpret."""
  if precision is None or precision in ("float32", "highest", lax.Precision.HIGHEST):
    return False
  return True if precision in _BF16_PRODUCTS else None


def conv(
  x_bhwc: Array,
  kernel_hwio: Array,
  *,
  strides: tuple[int, int] = (1, 1),
  padding: Padding = "SAME",
  dilation: tuple[int, int] = (1, 1),
  groups: int = 1,
  precision: Any = None,
) -> Array:
  """Two-dimensional convolution, NHWC by HWIO.

  On a CPU oneDNN and the pure formulations support reverse-mode gradients of any order. Forward mode (`jax.jvp`) raises a
  TypeError for those with a custom gradient rule.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel_hwio: [kh, kw, C / groups, O] float.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
    dilation: step between taps of the kernel, in pixels.
    groups: channel groups; C groups make it depthwise.
    precision: as for `jax.lax.conv_general_dilated`; None follows `jax.default_matmul_precision`. "bfloat16" lets
      oneDNN multiply float32 numbers as bfloat16, with sums in float32; the pure formulations ignore it.
  Returns:
    [B, H', W', O], with the dtype of `x_bhwc`.
  """
  way = current_formulation()
  if precision is None:
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
  bf16_math = _bf16_products(precision)
  window = make_window(x_bhwc, kernel_hwio, strides, padding, dilation, groups, bool(bf16_math), precision)
  if x_bhwc.shape[-1] == groups * kernel_hwio.shape[2] and bf16_math is not None:
    if way == "onednn" and window.supports(x_bhwc.dtype) and x_bhwc.dtype == kernel_hwio.dtype:
      return onednn_conv(x_bhwc, kernel_hwio, window)
    floats = jnp.issubdtype(x_bhwc.dtype, jnp.floating)
    if way != "xla" and window.dilation == (1, 1) and floats and takes(window.image, window.kernel, window.pads, groups):
      return by_platform(x_bhwc, kernel_hwio, cpu=_pure, other=Window.plain, of=(window,))
  return window.plain(x_bhwc, kernel_hwio)


def _pure(window: Window, x_bhwc: Array, kernel_hwio: Array) -> Array:
  return pure_conv(x_bhwc, kernel_hwio, window.strides, window.pads, window.groups)


def make_window(
  x_bhwc: Array, kernel_hwio: Array, strides: tuple[int, int] = (1, 1), padding: Padding = "SAME",
  dilation: tuple[int, int] = (1, 1), groups: int = 1, bf16_math: bool = False, precision: Any = None,
) -> Window:
  """The geometry of `conv` with these arguments, with the padding in pixels."""
  strides, dilation = (strides[0], strides[1]), (dilation[0], dilation[1])
  given: Sequence[tuple[int, int]]
  if isinstance(padding, str):
    reach = [(taps - 1) * step + 1 for taps, step in zip(kernel_hwio.shape[:2], dilation)]
    given = lax.padtype_to_pads(x_bhwc.shape[1:3], reach, strides, padding)
  else:
    given = padding
  top_bottom, left_right = ((int(low), int(high)) for low, high in given)
  pads = top_bottom, left_right
  return Window(x_bhwc.shape[1:], kernel_hwio.shape, strides, pads, dilation, groups, bf16_math, precision)


class Conv(nn.Module):
  """`conv` with parameters `kernel` [kh, kw, C / groups, features] and, optionally, `bias` [features]."""

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  strides: tuple[int, int] = (1, 1)
  padding: Padding = "SAME"
  groups: int = 1
  use_bias: bool = False
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
  bias_init: Any = nn.initializers.zeros

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    shape = (*self.kernel_size, x_bhwc.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    y = conv(
      x_bhwc.astype(self.dtype), kernel.astype(self.dtype),
      strides=self.strides, padding=self.padding, groups=self.groups,
    )
    y = checkpoint_name(y, CONVOLUTION)
    if self.use_bias:
      y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype)
    return y


__all__ = ["CONVOLUTION", "Conv", "Padding", "conv", "make_window"]
