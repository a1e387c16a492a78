"""MobileFaceNet: inverted residuals, and a global depthwise convolution instead of pooling."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import check_activation
from jaxface.layers.blocks import ConvNorm
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, unknown

# Expansion, channels, stride of the first: table 1 of the paper.
STAGES = ((2, 64, 2), (4, 128, 2), (2, 128, 1), (4, 128, 2), (2, 128, 1))
VARIANTS = ("paper", "separable")


class Bottleneck(nn.Module):
  """1×1 expansion, 3×3 depthwise, linear 1×1; the input is added where shapes allow."""

  expanded: int
  features: int
  stride: int
  activation: str
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    act, dtype = self.activation, self.dtype
    y_bhwc = ConvNorm(self.expanded, kernel=1, activation=act, dtype=dtype, name="expand")(x_bhwc, train)
    y_bhwc = ConvNorm(
      self.expanded, stride=self.stride, depthwise=True, activation=act, dtype=dtype, name="depthwise"
    )(y_bhwc, train)
    project = ConvNorm(self.features, kernel=1, activation=None, dtype=dtype, name="project")
    if x_bhwc.shape == (*y_bhwc.shape[:3], self.features):
      return project(y_bhwc, train, shortcut=lambda: x_bhwc)
    return project(y_bhwc, train)


class MobileFaceNet(nn.Module):
  """See `mobilefacenet`."""

  units: tuple[int, ...] = (5, 1, 6, 1, 2)
  width: float = 1.0
  activation: str = "prelu"
  variant: str = "paper"
  embedding_size: int = 128
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  convention: ClassVar[Preprocess] = PREPROCESS["unit"]

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    act, dtype = self.activation, self.dtype
    separable = self.variant == "separable"
    # In the separable stem ReLU6 is a ReLU: 32 clipped and 2 plain rectifiers in the published weights.
    stem_act = "relu" if separable and act == "relu6" else act

    def channels(number: int) -> int:
      return max(1, round(self.width * number))

    x_bhwc = ConvNorm(channels(64), stride=2, activation=act, dtype=dtype, name="stem")(
      image_bhwc.astype(dtype), train
    )
    x_bhwc = ConvNorm(channels(64), depthwise=True, activation=stem_act, dtype=dtype, name="stem_depthwise")(
      x_bhwc, train
    )
    if separable:
      x_bhwc = ConvNorm(channels(64), kernel=1, activation=stem_act, dtype=dtype, name="stem_pointwise")(
        x_bhwc, train
      )
    bottleneck = nn.remat(Bottleneck, static_argnums=(2,)) if self.remat else Bottleneck
    for stage, (count, (expansion, features, stride)) in enumerate(zip(self.units, STAGES), start=1):
      for index in range(count):
        x_bhwc = bottleneck(
          expansion * x_bhwc.shape[-1],
          channels(features),
          stride if index == 0 else 1,
          act,
          dtype,
          name=f"stage{stage}_unit{index + 1}",
        )(x_bhwc, train)
    x_bhwc = ConvNorm(channels(512), kernel=1, activation=act, dtype=dtype, name="head")(x_bhwc, train)
    # "Global" is 7×7 at 112×112 pixels. From here on the numbers are few and stay in float32.
    _, height, width, _ = x_bhwc.shape
    x_b11c = ConvNorm(
      channels(512), kernel=(height, width), padding=0, depthwise=True, activation=None, name="head_global"
    )(x_bhwc, train)
    x_b11c = nn.Dropout(self.dropout, deterministic=not train)(x_b11c)
    x_b11d = ConvNorm(self.embedding_size, kernel=1, use_bias=separable, activation=None, name="embedding")(
      x_b11c, train
    )
    return x_b11d.reshape(x_b11d.shape[0], self.embedding_size)


@register
def mobilefacenet(
  units: tuple[int, ...] = (5, 1, 6, 1, 2),
  width: float = 1.0,
  activation: str = "prelu",
  variant: str = "paper",
  embedding_size: int = 128,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """MobileFaceNet for 112×112 images, about one million parameters.

  Args:
    units: bottlenecks in each of the five stages.
    width: factor on all channels.
    activation: "prelu" as in the paper, "relu" or "relu6".
    variant: "paper", or "separable" as in the published MS1M weights: a 1×1 convolution after the first
      depthwise one, both with a plain ReLU where the rest clips at six, and a bias in the last layer (999,936
      parameters).
    embedding_size: length of the embedding.
    dtype: of the computation up to the global convolution, which like the rest is float32.
    remat: recompute each bottleneck in the backward pass.
    dropout: share of the features dropped before the last layer.
  Source: Chen et al., "MobileFaceNets", 2018, table 1.
  """
  if variant not in VARIANTS:
    raise ValueError(unknown("variant of mobilefacenet", variant, list(VARIANTS)))
  if len(units) != len(STAGES):
    raise ValueError(f"units of mobilefacenet are {units}: takes five numbers, one per stage")
  return MobileFaceNet(
    tuple(units),
    width,
    check_activation(activation),
    variant,
    embedding_size,
    dropout,
    remat,
    jnp.dtype(dtype),
  )
