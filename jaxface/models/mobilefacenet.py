"""MobileFaceNet: inverted residuals, and a global depthwise convolution instead of pooling."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import check_activation
from jaxface.layers.blocks import ConvNorm
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, unknown, variant

# Expanded channels, channels, stride of the first unit: table 1 of the paper.
STAGES = ((128, 64, 2), (256, 128, 2), (256, 128, 1), (512, 128, 2), (256, 128, 1))
VARIANTS = ("paper", "separable")
PUBLISHED = {
  "mobilefacenet": Published(
    "Chen et al., MobileFaceNets, 2018, abstract and table 2", 0.99e6, lfw=99.55, note="ArcFace on the refined MS1M"
  ),
  "mobilefacenet512": Published(
    "InsightFace, arcface_torch, README, table 1", multiply_adds=0.45e9,
    note="no LFW figure; Glint360K: IJB-C TAR@FAR 1e-4 95.04 %, MFR-ALL 70.18 %",
  ),
}


class Bottleneck(nn.Module):
  """1×1 expansion, 3×3 depthwise, linear 1×1; with a shortcut if the shapes match."""

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
  """See `mobilefacenet` and `mobilefacenet512`.

  Attributes:
    stem_units: bottlenecks after the stem; 0 for a depthwise convolution instead.
    scale: factor on the channels between bottlenecks, but not on those inside them.
  """

  units: tuple[int, ...] = (5, 1, 6, 1, 2)
  stem_units: int = 0
  scale: int = 1
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
    # The separable stem has ReLU instead of ReLU6: the published weights have 32 clipped and 2 plain rectifiers.
    stem_act = "relu" if separable and act == "relu6" else act

    def channels(number: int) -> int:
      return max(1, round(self.width * number))

    bottleneck = nn.remat(Bottleneck, static_argnums=(2,)) if self.remat else Bottleneck
    narrow, wide = channels(64), channels(64 * self.scale)
    x_bhwc = ConvNorm(wide, stride=2, activation=act, dtype=dtype, name="stem")(image_bhwc.astype(dtype), train)
    for index in range(self.stem_units):
      x_bhwc = bottleneck(2 * narrow, wide, 1, act, dtype, name=f"stem_unit{index + 1}")(x_bhwc, train)
    if not self.stem_units:
      x_bhwc = ConvNorm(wide, groups=narrow, activation=stem_act, dtype=dtype, name="stem_depthwise")(x_bhwc, train)
    if separable:
      x_bhwc = ConvNorm(wide, kernel=1, activation=stem_act, dtype=dtype, name="stem_pointwise")(x_bhwc, train)
    for stage, (count, (expanded, features, stride)) in enumerate(zip(self.units, STAGES), start=1):
      for index in range(count):
        x_bhwc = bottleneck(
          channels(expanded),
          channels(features * self.scale),
          stride if index == 0 else 1,
          act,
          dtype,
          name=f"stage{stage}_unit{index + 1}",
        )(x_bhwc, train)
    x_bhwc = ConvNorm(channels(512), kernel=1, activation=act, dtype=dtype, name="head")(x_bhwc, train)
    # "Global" is 7×7 at 112×112 pixels. From here on the arrays are small and stay in float32.
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
      depthwise one, both with ReLU where the others have ReLU6, and a bias in the last layer (999,936
      parameters).
    embedding_size: length of the embedding.
    dtype: dtype of the computation up to the global convolution; from there on float32.
    remat: recompute each bottleneck in the backward pass.
    dropout: share of the features dropped before the last layer.
  Source: Chen et al., "MobileFaceNets", 2018, table 1.
  """
  if variant not in VARIANTS:
    raise ValueError(unknown("variant of mobilefacenet", variant, list(VARIANTS)))
  if len(units) != len(STAGES):
    raise ValueError(f"units of mobilefacenet are {units}: takes five numbers, one per stage")
  return MobileFaceNet(
    tuple(units), 0, 1, width, check_activation(activation), variant, embedding_size, dropout, remat, jnp.dtype(dtype)
  )


def _insightface(
  units: tuple[int, ...], stem_units: int, scale: int, width: float = 1.0, embedding_size: int = 512,
  dtype: str = "float32", remat: bool = False, dropout: float = 0.0,
) -> nn.Module:
  return MobileFaceNet(
    units, stem_units, scale, width, embedding_size=embedding_size, dropout=dropout, remat=remat, dtype=jnp.dtype(dtype)
  )


@variant(_insightface, units=(5, 1, 6, 1, 2), stem_units=0, scale=2)
def mobilefacenet512() -> None:
  """InsightFace's `mbf`, the MobileFaceNet of its training code and of its small published models: 2,059,520 parameters.

  For 112×112 RGB images in −1..1, template "arcface112". It is the paper's table with twice the channels between
  bottlenecks, the same number inside them, and 64 groups of two channels where the paper's stem is depthwise. The last
  layer is a matrix and a norm, here as everywhere in this file a 1×1 convolution. Our choice: depthwise filters are
  initialised with the fan of their own window.

  Source: InsightFace, recognition/arcface_torch, backbone "mobilefacenet": blocks (1, 4, 6, 2), scale 2.
  """


@variant(_insightface, units=(9, 1, 12, 1, 4), stem_units=2, scale=4)
def mobilefacenet512_large() -> None:
  """InsightFace's `mbf_large`: about twice as deep, four times the channels between bottlenecks, two of them in the stem.

  Source: InsightFace, recognition/arcface_torch, backbone "mobilefacenet": blocks (2, 8, 12, 4), scale 4.
  """


__all__ = ["PUBLISHED", "STAGES", "VARIANTS", "Bottleneck", "MobileFaceNet", "mobilefacenet", "mobilefacenet512",
           "mobilefacenet512_large"]
