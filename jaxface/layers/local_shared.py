"""Convolutions whose weights are shared only within square regions of the output."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.convolution import Padding
from jaxface.layers.local import Pair, each, output_size
from jaxface.layers.local_native import local_layer, regions_of


def locally_shared_conv(
  x_bhwc: Array,
  kernel: Array,
  block: int,
  *,
  strides: Pair = (1, 1),
  padding: Padding = "VALID",
) -> Array:
  """Convolution with a different kernel for each region of block × block positions of the output.

  On a CPU with native code this is `jaxface.layers.local_native`. Elsewhere it is a batched matrix product over the regions, on
  unfolded windows with images innermost. No weight is repeated.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel: [R, S, kh, kw, C, O] float, for R × S regions. If block does not divide the output size, the regions at the bottom
      and right are smaller.
    block: side length of a region in positions.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
  Returns:
    [B, H', W', O], with the dtype of `x_bhwc`.
  Raises:
    ValueError: the kernel's regions or channels do not match.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.1.
  """
  (kh, kw), channels = kernel.shape[2:4], x_bhwc.shape[-1]
  (out_h, out_w), pads = output_size(x_bhwc.shape[1:3], (kh, kw), strides, padding)
  rows, columns = -(-out_h // block), -(-out_w // block)
  if kernel.shape[:5] != (rows, columns, kh, kw, channels):
    raise ValueError(
      f"kernels {kernel.shape} for {out_h}x{out_w} positions in regions of {block}x{block}: needs"
      f" [{rows}, {columns}, {kh}, {kw}, {channels}, O]"
    )
  return local_layer(x_bhwc, kernel, regions_of(x_bhwc, kernel, (out_h, out_w), strides, pads, block))


class LocallySharedConv(nn.Module):
  """`locally_shared_conv` with parameters `kernel` [R, S, kh, kw, C, features] and `bias` [R, S, features].

  Attributes:
    features: channels of the result.
    kernel_size: height and width of the windows in pixels.
    block: side length of a region in positions.
    strides: steps in pixels.
    padding: as for `locally_shared_conv`.
    dtype: dtype of the computation.
    kernel_init: initialiser of the kernel of one region, [kh, kw, C, features].
  """

  features: int
  kernel_size: Pair = (3, 3)
  block: int = 2
  strides: Pair = (1, 1)
  padding: Padding = "VALID"
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    """[B, H, W, C] to [B, H', W', features]."""
    (out_h, out_w), _ = output_size(x_bhwc.shape[1:3], self.kernel_size, self.strides, self.padding)
    regions = -(-out_h // self.block), -(-out_w // self.block)
    shape = (*regions, *self.kernel_size, x_bhwc.shape[-1], self.features)
    kernel = self.param("kernel", each(self.kernel_init, regions), shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (*regions, self.features), jnp.float32).astype(self.dtype)
    y_bhwc = locally_shared_conv(
      x_bhwc.astype(self.dtype), kernel.astype(self.dtype), self.block, strides=self.strides, padding=self.padding
    )
    bias_hwc = jnp.repeat(jnp.repeat(bias, self.block, 0), self.block, 1)[:out_h, :out_w]
    return y_bhwc + bias_hwc


__all__ = ["LocallySharedConv", "locally_shared_conv"]
