"""Convolutions whose weights are shared only inside square regions of the output."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.conv import Padding
from jaxface.layers.local import Pair, each, framed, locally_connected, output_size


def locally_shared_conv(
  x_bhwc: Array,
  kernel: Array,
  block: int,
  *,
  strides: Pair = (1, 1),
  padding: Padding = "VALID",
  low_memory: bool | None = None,
) -> Array:
  """Convolution with another kernel for each region of block × block positions of the output.

  The positions of a region that stand in the same place are one locally connected layer, whose steps are block times as
  long; the places are further images of its batch. So no weight is repeated.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel: [R, S, kh, kw, C, O] float, for R × S regions. Where block does not divide the output, regions at its bottom and
      right are smaller.
    block: side of a region in positions.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
    low_memory: as for `locally_connected`.
  Returns:
    [B, H', W', O], of the type of `x_bhwc`.
  Raises:
    ValueError: kernels for another number of regions or channels.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.1.
  """
  kernel_size = kernel.shape[2:4]
  (out_h, out_w), pads = output_size(x_bhwc.shape[1:3], kernel_size, strides, padding)
  regions_h, regions_w = -(-out_h // block), -(-out_w // block)
  if kernel.shape[:2] != (regions_h, regions_w):
    raise ValueError(
      f"kernels {kernel.shape} for {out_h}x{out_w} positions in regions of {block}x{block}: needs"
      f" [{regions_h}, {regions_w}, kh, kw, {x_bhwc.shape[-1]}, O]"
    )
  # Smaller regions are made whole with positions that see zeros, and that nobody looks at.
  reach_h, reach_w = (
    (regions * block - 1) * s + k for regions, s, k in zip((regions_h, regions_w), strides, kernel_size)
  )
  x_bhwc = framed(x_bhwc, pads, (reach_h, reach_w))
  span_h, span_w = reach_h - (block - 1) * strides[0], reach_w - (block - 1) * strides[1]
  starts = [(i * strides[0], j * strides[1]) for i in range(block) for j in range(block)]
  places = jnp.concatenate([x_bhwc[:, i : i + span_h, j : j + span_w] for i, j in starts])
  steps = (block * strides[0], block * strides[1])
  y = locally_connected(places, kernel, strides=steps, low_memory=low_memory)
  y = y.reshape(block, block, -1, regions_h, regions_w, y.shape[-1]).transpose(2, 3, 0, 4, 1, 5)
  return y.reshape(-1, regions_h * block, regions_w * block, y.shape[-1])[:, :out_h, :out_w]


class LocallySharedConv(nn.Module):
  """`locally_shared_conv` with parameters `kernel` [R, S, kh, kw, C, features] and `bias` [R, S, features].

  Attributes:
    features: channels of the result.
    kernel_size: height and width of the windows in pixels.
    block: side of a region in positions.
    strides: steps in pixels.
    padding: as for `locally_shared_conv`.
    dtype: of the computation.
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
