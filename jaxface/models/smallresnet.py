"""A small residual network for training on a CPU: a patch stem, so that no layer has many pixels and few channels."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import Activation, check_activation
from jaxface.layers.blocks import ConvNorm
from jaxface.layers.norm import BatchNorm
from jaxface.models.registry import register


def _halved(x_bhwc: Array) -> Array:
  """Mean of each 2×2 pixels."""
  batch, height, width, channels = x_bhwc.shape
  return x_bhwc.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


class Unit(nn.Module):
  """Conv(s)-BN-act-Conv-BN beside a shortcut that is averaged, not skipped over, where it halves; then act."""

  features: int
  stride: int
  activation: str
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    y_bhwc = ConvNorm(
      self.features, stride=self.stride, activation=self.activation, dtype=self.dtype, name="conv1"
    )(x_bhwc, train)
    y_bhwc = ConvNorm(self.features, activation=None, dtype=self.dtype, name="conv2")(y_bhwc, train)
    if self.stride == 2:
      x_bhwc = _halved(x_bhwc)
    if x_bhwc.shape[-1] != self.features:
      x_bhwc = ConvNorm(self.features, kernel=1, activation=None, dtype=self.dtype, name="shortcut")(x_bhwc, train)
    return Activation(self.activation, name="act")(x_bhwc + y_bhwc)


class SmallResNet(nn.Module):
  """See `smallresnet`."""

  patch: int
  widths: tuple[int, ...]
  units: tuple[int, ...]
  activation: str
  embedding_size: int
  dropout: float
  remat: bool
  dtype: Any

  @nn.compact
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    step = self.patch * 2 ** (len(self.widths) - 1)
    if any(side % step for side in image_bhwc.shape[1:3]):
      raise ValueError(f"smallresnet got images {image_bhwc.shape}: height and width must divide by {step}")
    act, dtype = self.activation, self.dtype
    unit = nn.remat(Unit, static_argnums=(2,)) if self.remat else Unit
    x_bhwc = ConvNorm(
      self.widths[0], kernel=self.patch, stride=self.patch, padding=0, activation=act, dtype=dtype, name="stem"
    )(image_bhwc.astype(dtype), train)
    for stage, (count, features) in enumerate(zip(self.units, self.widths), start=1):
      for index in range(count):
        stride = 2 if stage > 1 and index == 0 else 1
        x_bhwc = unit(features, stride, act, dtype, name=f"stage{stage}_unit{index + 1}")(x_bhwc, train)
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1).astype(jnp.float32)
    x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd)
    x_bd = nn.Dense(self.embedding_size, use_bias=False, name="head_dense")(x_bd)
    return BatchNorm(name="embedding_norm")(x_bd, train)


@register
def smallresnet(
  patch: int = 4,
  widths: tuple[int, ...] = (48, 96, 192),
  units: tuple[int, ...] = (1, 2, 1),
  activation: str = "relu",
  embedding_size: int = 256,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """A patch stem, stages of residual units that halve the image from the second on, and Flatten-Dense-BN.

  With its defaults and 96×96 images: 2.6 million parameters and 90 million multiplications per image.

  Args:
    patch: side of the non-overlapping patches that the stem maps to one pixel.
    widths: channels of each stage; the first also those of the stem.
    units: residual units of each stage.
    activation: "relu", or "prelu", whose slopes cost about a millisecond per layer and batch on a CPU.
    embedding_size: length of the embedding.
    dtype: of the convolutions.
    remat: recompute each unit in the backward pass.
    dropout: share of the features dropped before the dense layer.
  Source: own; units as in He et al., "Deep Residual Learning", 2016, with the averaged shortcut of He et al.,
    "Bag of Tricks for Image Classification", 2019 (ResNet-D).
  """
  if len(units) != len(widths) or not widths:
    raise ValueError(f"smallresnet has widths {widths} and units {units}: takes as many of one as of the other")
  check_activation(activation)
  return SmallResNet(
    patch, tuple(widths), tuple(units), activation, embedding_size, dropout, remat, jnp.dtype(dtype)
  )
