"""The residual network of ArcFace (LResNet-E-IR): each unit begins with a norm, one more ends the net."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.blocks import ConvNorm
from jaxface.layers.norm import BatchNorm
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, variant

PUBLISHED = {
  "iresnet100": Published("Deng et al., ArcFace, 2019, table 4", lfw=99.83, note="ArcFace with m = 0.5, trained on MS1MV2"),
}


class Unit(nn.Module):
  """BN-Conv-BN-PReLU-Conv-BN beside a shortcut; the second convolution has the stride."""

  features: int
  stride: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    y_bhwc = BatchNorm(dtype=self.dtype, name="norm")(x_bhwc, train)
    y_bhwc = ConvNorm(self.features, dtype=self.dtype, name="conv1")(y_bhwc, train)
    last = ConvNorm(self.features, stride=self.stride, activation=None, dtype=self.dtype, name="conv2")
    if self.stride == 1 and x_bhwc.shape[-1] == self.features:
      return last(y_bhwc, train, shortcut=lambda: x_bhwc)
    project = ConvNorm(
      self.features, kernel=1, stride=self.stride, activation=None, dtype=self.dtype, name="shortcut"
    )
    return last(y_bhwc, train, shortcut=lambda: project(x_bhwc, train))


class IResNet(nn.Module):
  """Stem 3×3, four stages that each halve the image, and BN-Dropout-Flatten-Dense-BN.

  Attributes:
    units: residual units per stage.
    width: factor on the channels 64 (stem) and 64, 128, 256, 512 (stages).
    embedding_size: length of the embedding.
    dropout: share of the features dropped before the dense layer.
    remat: recompute each unit in the backward pass.
    dtype: of the convolutions; norms and the dense layer compute in float32.
  Source: Deng et al., "ArcFace", 2019, section 3.1; the last norm's scale is frozen at one, as in its code.
  """

  units: tuple[int, ...]
  width: float = 1.0
  embedding_size: int = 512
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  convention: ClassVar[Preprocess] = PREPROCESS["unit"]

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    unit = nn.remat(Unit, static_argnums=(2,)) if self.remat else Unit
    channels = [max(1, round(self.width * c)) for c in (64, 128, 256, 512)]
    x_bhwc = ConvNorm(channels[0], dtype=self.dtype, name="stem")(image_bhwc.astype(self.dtype), train)
    for stage, (count, features) in enumerate(zip(self.units, channels), start=1):
      for index in range(count):
        stride = 2 if index == 0 else 1
        x_bhwc = unit(features, stride, dtype=self.dtype, name=f"stage{stage}_unit{index + 1}")(x_bhwc, train)
    x_bhwc = BatchNorm(name="head_norm")(x_bhwc, train)
    x_bhwc = nn.Dropout(self.dropout, deterministic=not train)(x_bhwc)
    x_bd = nn.Dense(self.embedding_size, name="head_dense")(x_bhwc.reshape(x_bhwc.shape[0], -1))
    return BatchNorm(frozen_scale=True, name="embedding_norm")(x_bd, train)


@register
def iresnet(
  units: tuple[int, ...] = (2, 2, 2, 2),
  width: float = 1.0,
  embedding_size: int = 512,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """An `IResNet` of any depth and width, for 112×112 images or others whose sides divide by 16."""
  if len(units) != 4:
    raise ValueError(f"units of iresnet are {units}: takes four numbers, one per stage, such as (2, 2, 2, 2)")
  return IResNet(tuple(units), width, embedding_size, dropout, remat, jnp.dtype(dtype))


@variant(iresnet, units=(2, 2, 2, 2))
def iresnet18() -> None:
  """`iresnet` with units (2, 2, 2, 2): 24,025,600 parameters."""


@variant(iresnet, units=(3, 4, 6, 3))
def iresnet34() -> None:
  """`iresnet` with units (3, 4, 6, 3): 34,139,328 parameters."""


@variant(iresnet, units=(3, 4, 14, 3))
def iresnet50() -> None:
  """`iresnet` with units (3, 4, 14, 3): 43,590,848 parameters."""


@variant(iresnet, units=(3, 13, 30, 3))
def iresnet100() -> None:
  """`iresnet` with units (3, 13, 30, 3): 65,156,160 parameters."""


@variant(iresnet, units=(6, 26, 60, 6))
def iresnet200() -> None:
  """`iresnet` with units (6, 26, 60, 6): 118,833,920 parameters."""
