"""FaceNet's networks, with unit embeddings: Zeiler and Fergus' layers (NN1) or Inception (the others)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.max_features import Maxout
from jaxface.layers.pooling import max_pool
from jaxface.layers.response_norm import local_response_norm
from jaxface.losses.unit import unit_rows
from jaxface.models.contract import Published, takes_image
from jaxface.models.facenet_inception import NN2_ROWS, NN4_ROWS, Inception, Row, conv_relu, scaled
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, variant

_PAPER = "Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering, 2015, section 3.3, tables 1-3"
_LFW = "The paper does not say which network has its 99.63 % on LFW"
PUBLISHED = {
  "facenet_nn1": Published(_PAPER, 140e6, 1.6e9, note=f"VAL 87.9 % at FAR 1e-3. {_LFW}"),
  "facenet_nn2": Published(_PAPER, 7.5e6, 1.6e9, note=f"VAL 89.4 % at FAR 1e-3. {_LFW}"),
  "facenet_nn3": Published(_PAPER, note="VAL 88.3 % at FAR 1e-3"),
  "facenet_nn4": Published(_PAPER, 6.6e6, 285e6, note="VAL 82.0 % at FAR 1e-3"),
  "facenet_nns1": Published(_PAPER, 26e6, 220e6, note="VAL 82.4 % at FAR 1e-3; layers unpublished, ours"),
  "facenet_nns2": Published(_PAPER, 4.3e6, 20e6, note="VAL 51.9 % at FAR 1e-3; layers unpublished, ours"),
}

# Layers after the stem: name, channels, kernel size and stride of each convolution, with a pool after each stage.
NN1_STAGES = (
  (("conv3a", 192, 1, 1), ("conv3", 384, 3, 1)),
  (
    ("conv4a", 384, 1, 1), ("conv4", 256, 3, 1), ("conv5a", 256, 1, 1), ("conv5", 256, 3, 1), ("conv6a", 256, 1, 1),
    ("conv6", 256, 3, 1),
  ),
)
# Width of Inception with NN2's rows, and maxout units after it, that match the published sizes.
NNS1_WIDTH, NNS1_MAXOUT = 0.43, 768
NNS2_WIDTH, NNS2_MAXOUT = 0.15, 672


class FaceNet(nn.Module):
  """Base of the networks: the first layers, and the unit embedding.

  Attributes:
    convention: the input convention.
    width: factor on the channels.
    embedding_size: length of the embedding.
    norm: whether there is a batch norm after each convolution.
    dropout: share of the features dropped before the last layer.
    remat: recompute each stage or block in the backward pass.
    dtype: dtype of the computation; the last layer and the embedding are float32.
  """

  convention: Preprocess
  width: float
  embedding_size: int
  norm: bool
  dropout: float
  remat: bool
  dtype: Any

  def _remat(self, function: Any, *static: int) -> Any:
    return nn.remat(function, static_argnums=static) if self.remat else function

  def _convs(self, x_bhwc: Array, train: bool, layers: Sequence[tuple[str, int, int, int]]) -> Array:
    """Convolutions with ReLU, each given as name, channels, kernel size, stride."""
    for name, channels, kernel, stride in layers:
      features = scaled(channels, self.width)
      x_bhwc = conv_relu(x_bhwc, train, name, features, kernel, stride, norm=self.norm, dtype=self.dtype)
    return x_bhwc

  def _stem(self, image_bhwc: Array, train: bool, reduce: str, conv: str) -> Array:
    """The first layers, to an eighth of the height and width."""
    x_bhwc = self._convs(image_bhwc.astype(self.dtype), train, [("conv1", 64, 7, 2)])
    x_bhwc = local_response_norm(_halve(x_bhwc))
    return _halve(local_response_norm(self._convs(x_bhwc, train, [(reduce, 64, 1, 1), (conv, 192, 3, 1)])))

  def _embed(self, x_bd: Array, train: bool, name: str) -> Array:
    x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd.astype(jnp.float32))
    return unit_rows(nn.Dense(self.embedding_size, name=name)(x_bd))[0]


def _halve(x_bhwc: Array) -> Array:
  return max_pool(x_bhwc, (3, 3), (2, 2), "SAME")


class FaceNetZF(FaceNet):
  """NN1: the layers of Zeiler and Fergus, a 1×1 convolution before each later one, and two layers of maxout units."""

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32 of length one."""
    x_bhwc = self._remat(FaceNetZF._stem, 2, 3, 4)(self, image_bhwc, train, "conv2a", "conv2")
    for stage in NN1_STAGES:
      x_bhwc = _halve(self._remat(FaceNetZF._convs, 2, 3)(self, x_bhwc, train, stage))
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1)
    for name in ("fc1", "fc2"):
      x_bd = Maxout(scaled(4096, self.width), dtype=self.dtype, name=name)(x_bd)
    return self._embed(x_bd, train, "fc7128")


class FaceNetInception(FaceNet):
  """Inception blocks, then the mean over the image or a layer of maxout units.

  Attributes:
    rows: the blocks.
    maxout: units of the layer that replaces the mean; 0 keeps the mean.
  """

  rows: tuple[Row, ...]
  maxout: int = 0

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32 of length one."""
    x_bhwc = self._remat(FaceNetInception._stem, 2, 3, 4)(self, image_bhwc, train, "2_3x3_reduce", "2_3x3")
    for row in self.rows:
      x_bhwc = self._remat(Inception, 2)(row, self.width, self.norm, self.dtype, name=row.name)(x_bhwc, train)
    if self.maxout:
      x_bd = Maxout(self.maxout, dtype=self.dtype, name="fc1")(x_bhwc.reshape(x_bhwc.shape[0], -1))
    else:
      x_bd = x_bhwc.astype(jnp.float32).mean((1, 2))
    return self._embed(x_bd, train, "fc")


def _convention(height: int, width: int) -> Preprocess:
  return replace(PREPROCESS["unit"], size=(height, width), fit="resize")


@register
def facenet_nn1(
  width: float = 1.0, embedding_size: int = 128, dtype: str = "float32", remat: bool = False, dropout: float = 0.0,
  norm: bool = False,
) -> nn.Module:
  """FaceNet's NN1, Zeiler and Fergus' layers with 1×1 convolutions between: 140,025,664 parameters, 1.6 G multiply-adds.

  Input: 220×220 RGB, template arcface112, larger or smaller faces are scaled. Published: 87.9 % validation rate at a false
  accept rate of 1e-3 on the paper's own set of personal photos; the paper does not say which network has 99.63 % on LFW.
  Our choices: scaling to -1..1 and the template (the paper crops tightly, without alignment); the constants of response
  normalisation, which are AlexNet's (over 5 channels, k 2, alpha 1e-4, beta 0.75); He initialisation; zero padding of half a
  kernel on both sides.

  Args:
    width: factor on the channels and on the maxout units.
    embedding_size: length of the embedding.
    dtype: dtype of the computation; the last layer is float32.
    remat: recompute each stage or block in the backward pass.
    dropout: share of the features dropped before the last layer; the paper has none.
    norm: batch norm after each convolution, instead of its bias. The paper has none; it makes training more reliable.
  Source: Schroff et al., "FaceNet", 2015, table 1.
  """
  return FaceNetZF(_convention(220, 220), width, embedding_size, norm, dropout, remat, jnp.dtype(dtype))


def _inception(
  rows: tuple[Row, ...], size: tuple[int, int], share: float = 1.0, maxout: int = 0, width: float = 1.0,
  embedding_size: int = 128, dtype: str = "float32", remat: bool = False, dropout: float = 0.0, norm: bool = False,
) -> nn.Module:
  """Blocks of `rows` with `share` of their channels, then `maxout` units (0: the mean over the image)."""
  units, channels = scaled(maxout, width) if maxout else 0, width * share
  return FaceNetInception(_convention(*size), channels, embedding_size, norm, dropout, remat, jnp.dtype(dtype), rows, units)


@variant(_inception, rows=NN2_ROWS, size=(224, 224), share=1.0, maxout=0)
def facenet_nn2() -> None:
  """FaceNet's NN2, Inception with some L2 pools: 7,456,304 parameters, 1.6 G multiply-adds.

  Input: 224×224. Published: 89.4 % validation rate at a false accept rate of 1e-3. Otherwise as `facenet_nn1`. A further
  choice of ours: an L2 pool is the root of a sum of squares, not of a mean, and the projection after it starts a third as large.
  Source: Schroff et al., "FaceNet", 2015, table 2.
  """


@variant(_inception, rows=NN2_ROWS, size=(160, 160), share=1.0, maxout=0)
def facenet_nn3() -> None:
  """`facenet_nn2` on 160×160 pixels: 816 M multiply-adds. Published: 88.3 % validation rate at 1e-3."""


@variant(_inception, rows=NN4_ROWS, size=(96, 96), share=1.0, maxout=0)
def facenet_nn4() -> None:
  """`facenet_nn2` on 96×96 pixels, without 5×5 convolutions in the higher blocks: 6,607,888 parameters.

  285 M multiply-adds. Published: 82.0 % validation rate at 1e-3. The paper does not say which blocks: without those of 4e, 5a
  and 5b both counts match the paper's.
  """


@variant(_inception, rows=NN2_ROWS, size=(165, 165), share=NNS1_WIDTH, maxout=NNS1_MAXOUT)
def facenet_nns1() -> None:
  """FaceNet's "mini Inception" for 165×165 pixels: 25,790,824 parameters, 220 M multiply-adds.

  Published: 26 M parameters, 220 M FLOPs, 82.4 % validation rate at 1e-3, and no table of layers. Ours: NN2's blocks with
  0.43 of the channels, in multiples of four, then 768 maxout units instead of the mean, so that most parameters
  are used only once.
  """


@variant(_inception, rows=NN2_ROWS, size=(140, 116), share=NNS2_WIDTH, maxout=NNS2_MAXOUT)
def facenet_nns2() -> None:
  """FaceNet's "tiny Inception" for 140×116 pixels: 4,336,700 parameters, 20 M multiply-adds.

  Published: 4.3 M parameters, 20 M FLOPs, 51.9 % validation rate at 1e-3, and no table of layers. Ours: as `facenet_nns1`,
  with 0.15 of NN2's channels and 672 maxout units.
  """


__all__ = [
  "PUBLISHED", "FaceNetInception", "FaceNetZF", "facenet_nn1", "facenet_nn2", "facenet_nn3", "facenet_nn4", "facenet_nns1",
  "facenet_nns2",
]
