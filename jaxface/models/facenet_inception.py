"""Inception blocks of FaceNet: parallel convolutions of three sizes and a max or L2 pool."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.blocks import ConvNorm
from jaxface.layers.convolution import Conv
from jaxface.layers.pooling import l2_pool, max_pool


class Row(NamedTuple):
  """A row of the paper's table of NN2: channels of each branch, 0 if there is none.

  Attributes:
    name: name of the block.
    one: channels of the 1×1 convolution.
    reduce3: channels of the 1×1 convolution before the 3×3 one.
    three: channels of the 3×3 convolution.
    reduce5: channels of the 1×1 convolution before the 5×5 one.
    five: channels of the 5×5 convolution.
    pool: "max" or "l2", over 3×3 pixels.
    project: channels of the 1×1 convolution after the pool; 0 for no projection.
    stride: stride of the 3×3 and 5×5 convolutions and of the pool.
  """

  name: str
  one: int
  reduce3: int
  three: int
  reduce5: int
  five: int
  pool: str
  project: int
  stride: int = 1


NN2_ROWS = (
  Row("3a", 64, 96, 128, 16, 32, "max", 32),
  Row("3b", 64, 96, 128, 32, 64, "l2", 64),
  Row("3c", 0, 128, 256, 32, 64, "max", 0, stride=2),
  Row("4a", 256, 96, 192, 32, 64, "l2", 128),
  Row("4b", 224, 112, 224, 32, 64, "l2", 128),
  Row("4c", 192, 128, 256, 32, 64, "l2", 128),
  Row("4d", 160, 144, 288, 32, 64, "l2", 128),
  Row("4e", 0, 160, 256, 64, 128, "max", 0, stride=2),
  Row("5a", 384, 192, 384, 48, 128, "l2", 128),
  Row("5b", 384, 192, 384, 48, 128, "max", 128),
)
# The paper: "it does not use 5x5 convolutions in the higher layers". Removing them from exactly these three rows gives the
# 6.6 M parameters and 285 M FLOPS of the paper; one row more or less gives neither.
NN4_ROWS = tuple(row._replace(reduce5=0, five=0) if row.name in ("4e", "5a", "5b") else row for row in NN2_ROWS)


def scaled(channels: int, width: float) -> int:
  """`width` times as many channels, rounded to a multiple of four for vectorisation."""
  return channels if width == 1 else 4 * max(1, round(width * channels / 4))


def conv_relu(
  x_bhwc: Array, train: bool, name: str, features: int, kernel: int = 1, stride: int = 1, *, norm: bool, dtype: Any,
  gain: float = 1.0,
) -> Array:
  """Convolution and ReLU; call it in the compact method of a module, where it creates the submodule `name`.

  Args:
    x_bhwc: [B, H, W, C].
    train: whether this is a training step.
    name: name of the convolution.
    features: channels of the result.
    kernel: side length in pixels; zero padding of half of it on each side.
    stride: step in pixels.
    norm: whether to use a batch norm instead of a bias.
    dtype: dtype of the computation.
    gain: scale of the previous layer's output, which the initial weights compensate.
  """
  if norm:
    return ConvNorm(features, kernel, stride, activation="relu", dtype=dtype, name=name)(x_bhwc, train)
  half = kernel // 2
  convolve = Conv(
    features, (kernel, kernel), (stride, stride), ((half, half), (half, half)), use_bias=True, dtype=dtype,
    kernel_init=nn.initializers.variance_scaling(2 / gain**2, "fan_in", "normal"), name=name,
  )
  return nn.relu(convolve(x_bhwc))


class Inception(nn.Module):
  """The parallel branches of a `Row`, concatenated along the channels.

  Attributes:
    row: channels and stride.
    width: factor on the channels.
    norm: whether there is a batch norm after each convolution.
    dtype: dtype of the computation.
  """

  row: Row
  width: float = 1.0
  norm: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    """[B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C']."""
    row = self.row

    def conv(x: Array, name: str, channels: int, kernel: int = 1, stride: int = 1, gain: float = 1.0) -> Array:
      features = scaled(channels, self.width)
      return conv_relu(x, train, name, features, kernel, stride, norm=self.norm, dtype=self.dtype, gain=gain)

    branches = [conv(x_bhwc, "1x1", row.one)] if row.one else []
    for kernel, reduced, channels in ((3, row.reduce3, row.three), (5, row.reduce5, row.five)):
      if channels:
        y_bhwc = conv(x_bhwc, f"{kernel}x{kernel}_reduce", reduced)
        branches.append(conv(y_bhwc, f"{kernel}x{kernel}", channels, kernel, row.stride))
    pool = {"max": max_pool, "l2": l2_pool}[row.pool]
    y_bhwc = pool(x_bhwc, (3, 3), (row.stride, row.stride), "SAME")
    # The L2 norm of nine equal numbers is three times one of them.
    gain = 3.0 if row.pool == "l2" else 1.0
    branches.append(conv(y_bhwc, "pool_proj", row.project, gain=gain) if row.project else y_bhwc)
    return jnp.concatenate(branches, axis=-1)


__all__ = ["NN2_ROWS", "NN4_ROWS", "Inception", "Row", "conv_relu", "scaled"]
