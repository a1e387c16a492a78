"""The residual network of ArcFace (LResNet-E-IR), with a batch norm at the start of each unit and at the end."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import Activation
from jaxface.layers.blocks import ConvNorm
from jaxface.layers.convolution import Conv
from jaxface.layers.norm import BatchNorm
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, unknown, variant

PUBLISHED = {
  "iresnet100": Published("Deng et al., ArcFace, 2019, table 4", lfw=99.83, note="ArcFace with m = 0.5, trained on MS1MV2"),
}


SHORTCUTS = ("conv", "pool")


class Squeeze(nn.Module):
  """Squeeze and excitation: each channel is multiplied by a gate, computed by two layers from the channel means.

  Attributes:
    ratio: reduction of channels between the two layers, which have no biases.
  Source: Hu et al., "Squeeze-and-Excitation Networks", 2018, section 3.
  """

  ratio: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    channels = x_bhwc.shape[-1]
    gate_b11c = x_bhwc.astype(jnp.float32).mean((1, 2), keepdims=True)
    gate_b11c = Conv(max(1, channels // self.ratio), (1, 1), name="reduce")(gate_b11c)
    gate_b11c = nn.sigmoid(Conv(channels, (1, 1), name="expand")(nn.relu(gate_b11c)))
    return x_bhwc * gate_b11c.astype(x_bhwc.dtype)


class Unit(nn.Module):
  """BN-Conv-BN-PReLU-Conv-BN with a shortcut; the second convolution has the stride. Options as in `IResNet`."""

  features: int
  stride: int
  dtype: Any = jnp.float32
  shortcut: str = "conv"
  inner_norm: bool = True
  squeeze: int = 0

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    same = x_bhwc.shape[-1] == self.features
    y_bhwc = BatchNorm(dtype=self.dtype, name="norm")(x_bhwc, train)
    if self.inner_norm:
      y_bhwc = ConvNorm(self.features, dtype=self.dtype, name="conv1")(y_bhwc, train)
    else:
      conv = Conv(self.features, padding=((1, 1), (1, 1)), dtype=self.dtype, name="conv1")
      y_bhwc = Activation("prelu", self.features, name="act")(conv(y_bhwc))
    last = ConvNorm(self.features, stride=self.stride, activation=None, dtype=self.dtype, name="conv2")
    project = ConvNorm(
      self.features, kernel=1, stride=self.stride, activation=None, dtype=self.dtype, name="shortcut"
    )

    def beside() -> Array:
      if same and self.stride == 1:
        return x_bhwc
      # A max pool over one pixel with a stride: selects every second pixel.
      return x_bhwc[:, :: self.stride, :: self.stride] if same and self.shortcut == "pool" else project(x_bhwc, train)

    if not self.squeeze:
      return last(y_bhwc, train, shortcut=beside)
    y_bhwc = Squeeze(self.squeeze, self.dtype, name="squeeze")(last(y_bhwc, train))
    return beside() + y_bhwc


class IResNet(nn.Module):
  """Stem 3×3, four stages that each halve the image, and BN-Dropout-Flatten-Dense-BN.

  Attributes:
    units: residual units per stage.
    width: factor on the channels 64 (stem) and 64, 128, 256, 512 (stages).
    embedding_size: length of the embedding.
    dropout: share of the features dropped before the dense layer.
    remat: recompute each unit in the backward pass.
    dtype: dtype of the convolutions; norms and the dense layer compute in float32.
    shortcut: shortcut of a unit that has a stride but keeps its channels: "conv", a projection as in other units, or "pool",
      every second pixel unchanged.
    inner_norm: whether a norm follows a unit's first convolution.
    squeeze: ratio of the squeeze-and-excitation at the end of each unit; 0 for none.
  Source: Deng et al., "ArcFace", 2019, section 3.1; the last norm's scale is frozen at one, as in its code.
  """

  units: tuple[int, ...]
  width: float = 1.0
  embedding_size: int = 512
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32
  shortcut: str = "conv"
  inner_norm: bool = True
  squeeze: int = 0

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
        x_bhwc = unit(
          features, stride, self.dtype, self.shortcut, self.inner_norm, self.squeeze, name=f"stage{stage}_unit{index + 1}"
        )(x_bhwc, train)
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
  shortcut: str = "conv",
  inner_norm: bool = True,
  squeeze: int = 0,
) -> nn.Module:
  """An `IResNet` of any depth and width, for 112×112 images or others with sides divisible by 16.

  AdaFace's IR networks have `shortcut="pool"`, face.evoLVe's also `inner_norm=False`, and its IR-SE networks in
  addition `squeeze=16`.
  """
  if shortcut not in SHORTCUTS:
    raise ValueError(unknown("shortcut of iresnet", shortcut, list(SHORTCUTS)))
  if squeeze < 0:
    raise ValueError(f"squeeze of iresnet is {squeeze}: takes a ratio such as 16, or 0 for none")
  if len(units) != 4:
    raise ValueError(f"units of iresnet are {units}: takes four numbers, one per stage, such as (2, 2, 2, 2)")
  return IResNet(tuple(units), width, embedding_size, dropout, remat, jnp.dtype(dtype), shortcut, inner_norm, squeeze)


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
