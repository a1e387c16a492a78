"""SphereFace's networks: residual units of two convolutions with PReLU, no batch norm, and a dense layer."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import Activation
from jaxface.layers.blocks import ConvNorm
from jaxface.layers.convolution import Conv
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import variant

CHANNELS = (64, 128, 256, 512)

_CODE = "Liu et al., SphereFace, 2017, released code"
PUBLISHED = {
  "sphereface20": Published(_CODE, lfw=99.30, note="the released model; 99.13 to 99.30 over five runs; CASIA-WebFace"),
  "sphereface64": Published("Liu et al., SphereFace, 2017, table 4", lfw=99.42, note="A-Softmax, m = 4; CASIA-WebFace"),
}

# Caffe's "xavier" and "gaussian" fillers: the first for layers without a shortcut, the second for the branches of residual
# units, which thus start close to the identity.
XAVIER = nn.initializers.lecun_uniform()
GAUSSIAN = nn.initializers.normal(0.01)


class Layer(nn.Module):
  """3×3 convolution and PReLU: with a bias, or with a batch norm between them."""

  features: int
  stride: int = 1
  norm: bool = False
  kernel_init: Any = XAVIER
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array, train: bool) -> Array:
    if self.norm:
      return ConvNorm(self.features, stride=self.stride, dtype=self.dtype, name="block")(x_bhwc, train)
    x_bhwc = Conv(
      self.features, strides=(self.stride, self.stride), padding=((1, 1), (1, 1)), use_bias=True, dtype=self.dtype,
      kernel_init=self.kernel_init, name="conv",
    )(x_bhwc)
    return Activation("prelu", self.features, name="act")(x_bhwc)


class SphereFace(nn.Module):
  """Four stages whose first layers halve the image, then fc5.

  Attributes:
    units: residual units per stage, two layers each.
    width: factor on the channels 64, 128, 256, 512.
    norm: batch norm after each convolution, instead of biases.
    embedding_size: length of the embedding.
    dropout: share of the features dropped before fc5.
    remat: recompute each stage in the backward pass.
    dtype: dtype of the convolutions; fc5 computes in float32.
  Source: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, table 2.
  """

  units: tuple[int, ...]
  width: float = 1.0
  norm: bool = False
  embedding_size: int = 512
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  convention: ClassVar[Preprocess] = PREPROCESS["sphereface"]

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    stage = nn.remat(SphereFace._stage, static_argnums=(2, 3)) if self.remat else SphereFace._stage
    x_bhwc = image_bhwc.astype(self.dtype)
    for number in range(1, len(CHANNELS) + 1):
      x_bhwc = stage(self, x_bhwc, number, train)
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1).astype(jnp.float32)
    x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd)
    return nn.Dense(self.embedding_size, kernel_init=XAVIER, name="fc5")(x_bd)

  def _stage(self, x_bhwc: Array, number: int, train: bool) -> Array:
    features = max(1, round(self.width * CHANNELS[number - 1]))

    def layer(index: int, stride: int = 1, kernel_init: Any = GAUSSIAN) -> Layer:
      return Layer(features, stride, self.norm, kernel_init, self.dtype, name=f"conv{number}_{index}")

    x_bhwc = layer(1, 2, XAVIER)(x_bhwc, train)
    for unit in range(self.units[number - 1]):
      y_bhwc = layer(2 * unit + 2)(x_bhwc, train)
      x_bhwc = x_bhwc + layer(2 * unit + 3)(y_bhwc, train)
    return x_bhwc


def _sphereface(
  units: tuple[int, ...], width: float = 1.0, norm: bool = False, embedding_size: int = 512, dtype: str = "float32",
  remat: bool = False, dropout: float = 0.0,
) -> nn.Module:
  return SphereFace(units, width, norm, embedding_size, dropout, remat, jnp.dtype(dtype))


@variant(_sphereface, units=(0, 0, 0, 0))
def sphereface4() -> None:
  """`sphereface20` without residual units: 12,562,496 parameters."""


@variant(_sphereface, units=(1, 2, 4, 1))
def sphereface20() -> None:
  """SphereFace with units (1, 2, 4, 1): 22,670,656 parameters.

  Input: 112×96 (height×width) BGR, (x − 127.5)/128, template sphereface96x112, the middle of arcface112 images.
  Published: 99.30 % on LFW (released model, A-Softmax with m = 4, CASIA-WebFace). Our choices: every layer has a learned
  bias (in the released code those of the residual units are zero); `norm` and `dropout` are extras, off by default.

  Args:
    width: factor on the channels.
    norm: batch norm after each convolution, instead of biases, as in most later code.
    embedding_size: length of the embedding.
    dtype: dtype of the convolutions.
    remat: recompute each stage in the backward pass.
    dropout: share of the features dropped before the dense layer.
  Source: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, table 2.
  """


@variant(_sphereface, units=(2, 4, 8, 2))
def sphereface36() -> None:
  """`sphereface20` with units (2, 4, 8, 2): 32,778,816 parameters."""


@variant(_sphereface, units=(3, 8, 16, 3))
def sphereface64() -> None:
  """`sphereface20` with units (3, 8, 16, 3): 48,200,512 parameters, 99.42 % on LFW."""


__all__ = ["PUBLISHED", "SphereFace", "sphereface4", "sphereface20", "sphereface36", "sphereface64"]
