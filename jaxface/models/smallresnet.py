"""A small residual network that trains on a laptop: a patch stem, then plain residual units."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.blocks import ConvNorm
from jaxface.layers.norm import BatchNorm
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import Preprocess, get_preprocess
from jaxface.models.registry import register


def patches(image_bhwc: Array, side: int) -> Array:
  """The pixels of each side×side patch as channels: [B, H, W, C] to [B, H/side, W/side, side²·C]."""
  b, h, w, c = image_bhwc.shape
  if h % side or w % side:
    raise ValueError(f"image of {h}x{w} pixels is not divisible into patches of {side}x{side}")
  x = image_bhwc.reshape(b, h // side, side, w // side, side, c)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // side, w // side, side * side * c)


class Unit(nn.Module):
  """Conv-BN-ReLU-Conv-BN with a shortcut, then ReLU; with a stride the shortcut is averaged over 2×2 pixels."""

  features: int
  stride: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    y_bhwc = ConvNorm(self.features, stride=self.stride, activation="relu", dtype=self.dtype, name="conv1")(x_bhwc, train)
    y_bhwc = ConvNorm(self.features, activation=None, dtype=self.dtype, name="conv2")(y_bhwc, train)
    if self.stride == 2:
      b, h, w, c = x_bhwc.shape
      x_bhwc = x_bhwc.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
    if x_bhwc.shape[-1] != self.features:
      x_bhwc = ConvNorm(self.features, kernel=1, activation=None, dtype=self.dtype, name="shortcut")(x_bhwc, train)
    return nn.relu(x_bhwc + y_bhwc)


class SmallResNet(nn.Module):
  """See `smallresnet`."""

  patch: int
  widths: tuple[int, ...]
  units: tuple[int, ...]
  embedding_size: int
  dropout: float
  remat: bool
  dtype: Any

  convention: ClassVar[Preprocess] = get_preprocess("unit", size=96)

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    unit = nn.remat(Unit, static_argnums=(2,)) if self.remat else Unit
    x_bhwc = patches(image_bhwc.astype(self.dtype), self.patch)
    x_bhwc = ConvNorm(self.widths[0], kernel=1, activation="relu", dtype=self.dtype, name="stem")(x_bhwc, train)
    for stage, (features, count) in enumerate(zip(self.widths, self.units), start=1):
      for index in range(count):
        stride = 2 if stage > 1 and index == 0 else 1
        x_bhwc = unit(features, stride, self.dtype, name=f"stage{stage}_unit{index + 1}")(x_bhwc, train)
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1).astype(jnp.float32)
    x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd)
    x_bd = nn.Dense(self.embedding_size, use_bias=False, name="head_dense")(x_bd)
    return BatchNorm(name="embedding_norm")(x_bd, train)


@register
def smallresnet(
  patch: int = 4,
  widths: tuple[int, ...] = (48, 96, 192),
  units: tuple[int, ...] = (1, 2, 1),
  embedding_size: int = 256,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """A network of our own for two cores: 2.6 million parameters at 96×96 pixels.

  On a CPU few channels at a high resolution take much more time than their multiplications suggest, in any formulation. The
  stem therefore turns 4×4 pixels into channels.

  Args:
    patch: side length of the patches in pixels; the image's sides must be divisible by patch · 2^(stages − 1).
    widths: channels of each stage; every stage but the first halves the resolution.
    units: residual units of each stage.
    embedding_size: length of the embedding.
    dtype: dtype of the convolutions.
    remat: recompute each unit in the backward pass.
    dropout: share of the features dropped before the dense layer.
  """
  if len(widths) != len(units) or not widths:
    raise ValueError(f"smallresnet has widths {widths} and units {units}: takes one of each per stage")
  return SmallResNet(patch, tuple(widths), tuple(units), embedding_size, dropout, remat, jnp.dtype(dtype))


__all__ = ["SmallResNet", "patches", "smallresnet"]
