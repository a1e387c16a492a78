"""Light CNN: convolutions with max-feature-map instead of a rectifier."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.convolution import Conv
from jaxface.layers.max_features import Maxout, max_feature_map
from jaxface.layers.pooling import max_pool, mean_pool
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import variant

_PAPER = "Wu et al., A Light CNN for Deep Face Representation with Noisy Labels, 2018, and its released models"
_NOTE = "100 % - EER of the released model, MS-Celeb-1M"
PUBLISHED = {
  "lightcnn9": Published(_PAPER, parameters=5_556e3, lfw=98.70, note=f"{_NOTE}; one layer is counted before its maximum"),
  "lightcnn29": Published(_PAPER, lfw=99.40, note=_NOTE),
  "lightcnn29v2": Published(_PAPER, lfw=99.43, note=f"{_NOTE} and CASIA-WebFace"),
}

# Caffe's "xavier", by the fan-in only. The larger of two such numbers has the same mean square as each, so every
# max-feature-map preserves the signal's scale.
XAVIER = nn.initializers.lecun_uniform()


class ConvMFM(nn.Module):
  """Convolution with a bias to 2 · features channels, reduced to `features` by max-feature-map."""

  features: int
  kernel: int = 3
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    x_bhwc = Conv(
      2 * self.features, (self.kernel, self.kernel), use_bias=True, dtype=self.dtype, kernel_init=XAVIER, name="conv"
    )(x_bhwc)
    return max_feature_map(x_bhwc)


class Group(nn.Module):
  """1×1 convolution that keeps the number of channels ("network in network"), then 3×3; each with max-feature-map."""

  features: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    x_bhwc = ConvMFM(x_bhwc.shape[-1], kernel=1, dtype=self.dtype, name="conv_a")(x_bhwc)
    return ConvMFM(self.features, dtype=self.dtype, name="conv")(x_bhwc)


class Block(nn.Module):
  """Residual block of two 3×3 convolutions with max-feature-map."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    channels = x_bhwc.shape[-1]
    y_bhwc = ConvMFM(channels, dtype=self.dtype, name="conv1")(x_bhwc)
    return x_bhwc + ConvMFM(channels, dtype=self.dtype, name="conv2")(y_bhwc)


class LightCNN(nn.Module):
  """5×5 convolution, then four groups, each after its residual blocks; pooled after the first layer and groups 1, 2 and 4.

  Attributes:
    blocks: residual blocks before each group.
    second: the second version: the pools add maximum and mean, and the dense layer is linear.
    width: factor on the channels 48, 96, 192, 128, 128.
    embedding_size: length of the embedding.
    dropout: share of the embedding dropped in training, before the classifier.
    remat: recompute each stage in the backward pass.
    dtype: dtype of the convolutions; the dense layer computes in float32.
  Source: Wu et al., "A Light CNN for Deep Face Representation with Noisy Labels", 2018, tables 2 and 3.
  """

  blocks: tuple[int, ...]
  second: bool = False
  width: float = 1.0
  embedding_size: int = 256
  dropout: float = 0.5
  remat: bool = False
  dtype: Any = jnp.float32

  convention: ClassVar[Preprocess] = PREPROCESS["lightcnn"]

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 1] float in the network's input convention to [B, embedding_size] float32."""
    stage = nn.remat(LightCNN._stage, static_argnums=(2, 3)) if self.remat else LightCNN._stage
    first, *channels = [max(1, round(self.width * c)) for c in (48, 96, 192, 128, 128)]
    x_bhwc = ConvMFM(first, kernel=5, dtype=self.dtype, name="conv1")(image_bhwc.astype(self.dtype))
    x_bhwc = self._pool(x_bhwc)
    for number, features in enumerate(channels, start=1):
      x_bhwc = stage(self, x_bhwc, number, features)
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1).astype(jnp.float32)
    if self.second:
      x_bd = nn.Dense(self.embedding_size, kernel_init=XAVIER, name="fc")(x_bd)
    else:
      x_bd = Maxout(self.embedding_size, kernel_init=XAVIER, name="fc")(x_bd)
    return nn.Dropout(self.dropout, deterministic=not train)(x_bd)

  def _stage(self, x_bhwc: Array, number: int, features: int) -> Array:
    for index in range(1, self.blocks[number - 1] + 1):
      x_bhwc = Block(self.dtype, name=f"block{number}_{index}")(x_bhwc)
    x_bhwc = Group(features, self.dtype, name=f"group{number}")(x_bhwc)
    return x_bhwc if number == 3 else self._pool(x_bhwc)

  def _pool(self, x_bhwc: Array) -> Array:
    window = (2, 2)
    if self.second:
      return max_pool(x_bhwc, window, window) + mean_pool(x_bhwc, window, window)
    return max_pool(x_bhwc, window, window, "CEIL")


def _lightcnn(
  blocks: tuple[int, ...], second: bool = False, width: float = 1.0, embedding_size: int = 256, dtype: str = "float32",
  remat: bool = False, dropout: float = 0.5,
) -> nn.Module:
  return LightCNN(blocks, second, width, embedding_size, dropout, remat, jnp.dtype(dtype))


@variant(_lightcnn, blocks=(0, 0, 0, 0), second=False)
def lightcnn9() -> None:
  """Light CNN with nine convolutions: 5,480,864 parameters.

  Input: 128×128 grey, scaled to 0..1, template lightcnn128; faces of another size are scaled. Published: 98.70 % on LFW
  (released model). The embedding is the last max-feature-map; dropout is applied before the classifier. Our choices:
  Caffe's Xavier initialisation throughout, the dropout rate of the released code.

  Args:
    width: factor on the channels.
    embedding_size: length of the embedding.
    dtype: dtype of the convolutions.
    remat: recompute each stage in the backward pass.
    dropout: share of the embedding dropped in training.
  Source: Wu et al., "A Light CNN for Deep Face Representation with Noisy Labels", 2018, table 2.
  """


@variant(_lightcnn, blocks=(1, 2, 3, 4), second=False)
def lightcnn29() -> None:
  """`lightcnn9` with residual blocks (1, 2, 3, 4): 12,573,280 parameters, 99.40 % on LFW (released model)."""


@variant(_lightcnn, blocks=(1, 2, 3, 4), second=True)
def lightcnn29v2() -> None:
  """`lightcnn29` whose pools add maximum and mean and whose last layer is linear: 10,475,872 parameters.

  Described only by the released code: 99.43 % on LFW.
  """


__all__ = ["PUBLISHED", "LightCNN", "lightcnn9", "lightcnn29", "lightcnn29v2"]
