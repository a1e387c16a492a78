"""InsightFace's vision transformer for faces: 9×9 patches, no class token, an embedding of all tokens."""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import relu6
from jaxface.layers.convolution import Conv
from jaxface.layers.norm import BatchNorm
from jaxface.layers.settled import settled
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, unknown, variant

HEADS = ("all", "mean")
_ZOO = "InsightFace, arcface_torch, README, table 3 (WebFace42M, PFC-0.3)"
PUBLISHED = {
  "vit_t": Published(_ZOO, multiply_adds=1.5e9, note="no LFW figure; IJB-C TAR@FAR 1e-4 97.31 %, MFR-ALL 92.24 %"),
  "vit_s": Published(_ZOO, multiply_adds=5.7e9, note="no LFW figure; IJB-C TAR@FAR 1e-4 97.73 %, MFR-ALL 95.87 %"),
  "vit_b": Published(_ZOO, multiply_adds=11.4e9, note="no LFW figure; IJB-C TAR@FAR 1e-4 97.90 %, MFR-ALL 97.42 %"),
  "vit_l": Published(_ZOO, multiply_adds=25.3e9, note="no LFW figure; IJB-C TAR@FAR 1e-4 98.00 %, MFR-ALL 97.85 %"),
}

# Initialiser of all weight matrices, position embeddings and the mask token.
_INIT = nn.initializers.normal(0.02)
_LayerNorm = partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)


class Attention(nn.Module):
  """Multi-head self-attention; scores and softmax in at least float32; queries, keys and values without bias."""

  heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_btd: Array) -> Array:
    """[B, T, D] to [B, T, D]; `heads` must divide D."""
    batch, tokens, channels = x_btd.shape
    size = channels // self.heads
    qkv = nn.Dense(3 * channels, use_bias=False, kernel_init=_INIT, dtype=self.dtype, name="qkv")(x_btd)
    query, key, value = (part.reshape(batch, tokens, self.heads, size) for part in jnp.split(qkv, 3, axis=-1))
    wide = jnp.promote_types(self.dtype, jnp.float32)
    score_bhts = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=wide)
    weight_bhts = jax.nn.softmax(score_bhts * size**-0.5).astype(self.dtype)
    taken = jnp.einsum("bhts,bshk->bthk", weight_bhts, value).reshape(batch, tokens, channels)
    return nn.Dense(channels, kernel_init=_INIT, dtype=self.dtype, name="project")(taken)


class Block(nn.Module):
  """Norm and attention with a shortcut, then norm and two dense layers with another.

  Attributes:
    heads: number of attention heads.
    skipped: share of the images that take only the shortcut in training.
    dtype: dtype of the computation.
  """

  heads: int
  skipped: float
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_btd: Array, train: bool) -> Array:
    channels = x_btd.shape[-1]
    # One sample per image.
    skip = partial(nn.Dropout, self.skipped, broadcast_dims=(1, 2), deterministic=not train)
    dense = partial(nn.Dense, kernel_init=_INIT, dtype=self.dtype)
    y_btd = Attention(self.heads, self.dtype, name="attention")(_LayerNorm(dtype=self.dtype, name="norm1")(x_btd))
    x_btd = settled(x_btd + skip()(y_btd))
    y_btd = relu6(dense(4 * channels, name="dense1")(_LayerNorm(dtype=self.dtype, name="norm2")(x_btd)))
    return settled(x_btd + skip()(dense(channels, name="dense2")(y_btd)))


class VisionTransformer(nn.Module):
  """See `vit`."""

  channels: int = 256
  depth: int = 12
  heads: int = 8
  patch: int = 9
  head: str = "all"
  masked: float = 0.1
  stochastic_depth: float = 0.1
  embedding_size: int = 512
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  convention: ClassVar[Preprocess] = PREPROCESS["unit"]

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    block, side = nn.remat(Block, static_argnums=(2,)) if self.remat else Block, (self.patch, self.patch)
    x_bhwc = Conv(
      self.channels, side, side, "VALID", use_bias=True, dtype=self.dtype, name="patches",
      # PyTorch's default for a convolution.
      kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
    )(image_bhwc.astype(self.dtype))
    batch, rows, columns, channels = x_bhwc.shape
    tokens = rows * columns
    x_btd = x_bhwc.reshape(batch, tokens, channels)
    x_btd = x_btd + self.param("position", _INIT, (tokens, channels), jnp.float32).astype(self.dtype)
    kept = None
    if train and self.masked:
      order = jnp.argsort(jax.random.uniform(self.make_rng("dropout"), (batch, tokens)))
      kept = order[:, : int(tokens * (1 - self.masked))]
      x_btd = jnp.take_along_axis(x_btd, kept[..., None], axis=1)
    for index in range(self.depth):
      skipped = self.stochastic_depth * index / max(1, self.depth - 1)
      x_btd = block(self.heads, skipped, self.dtype, name=f"block{index + 1}")(x_btd, train)
    x_btd = _LayerNorm(name="norm")(x_btd.astype(jnp.float32))
    x_bd = x_btd.mean(1) if self.head == "mean" else self._all(x_btd, kept, tokens)
    x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd)
    x_bd = nn.Dense(channels, use_bias=False, kernel_init=_INIT, name="head_dense")(x_bd)
    x_bd = BatchNorm(epsilon=2e-5, name="head_norm")(x_bd, train)
    x_bd = nn.Dense(self.embedding_size, use_bias=False, kernel_init=_INIT, name="embedding")(x_bd)
    return BatchNorm(epsilon=2e-5, name="embedding_norm")(x_bd, train)

  def _all(self, x_btd: Array, kept: Array | None, tokens: int) -> Array:
    """The tokens of each image concatenated, with a learned token in place of masked ones."""
    batch, _, channels = x_btd.shape
    if self.masked:
      stand_in = self.param("mask_token", _INIT, (1, channels), jnp.float32)
      if kept is not None:
        whole_btd = jnp.broadcast_to(stand_in, (batch, tokens, channels))
        x_btd = whole_btd.at[jnp.arange(batch)[:, None], kept].set(x_btd)
    return x_btd.reshape(batch, tokens * channels)


@register
def vit(
  channels: int = 256,
  depth: int = 12,
  heads: int = 8,
  patch: int = 9,
  width: float = 1.0,
  head: str = "all",
  masked: float = 0.1,
  stochastic_depth: float = 0.1,
  embedding_size: int = 512,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """A vision transformer without a class token, for 112×112 RGB images in −1..1, template "arcface112".

  Patches of 9×9 make 12×12 tokens of the first 108 rows and columns; the last four are ignored, as in InsightFace.
  Published figures are for IJB-C and MFR (see `PUBLISHED`), none for LFW. Our choices: the head "mean", and `masked` is used as
  given, where the original masks a tenth of the tokens for any non-zero ratio.

  Args:
    channels: channels of a token.
    depth: number of blocks.
    heads: number of attention heads; must divide the channels.
    patch: side length of a patch in pixels.
    width: factor on the channels, rounded to a multiple of the heads.
    head: "all" passes all tokens to the first dense layer of the head, "mean" their mean.
    masked: share of the tokens that are masked in training; the blocks process only the others.
    stochastic_depth: share of the images that skip the last block in training; smaller for earlier blocks.
    embedding_size: length of the embedding.
    dtype: dtype of the blocks; scores and their softmax, sums of norms and the head are float32.
    remat: recompute each block in the backward pass, as the original does for B and L.
    dropout: share of the features dropped before the head.
  Source: InsightFace, recognition/arcface_torch, backbone "vit"; An et al., "Killing Two Birds with One Stone: Efficient
    and Robust Training of Face Recognition CNNs by Partial FC", 2022, for its training.
  """
  if head not in HEADS:
    raise ValueError(unknown("head of vit", head, list(HEADS)))
  for name, share in (("masked", masked), ("stochastic_depth", stochastic_depth)):
    if not 0 <= share < 1:
      raise ValueError(f"{name} of vit is {share}: takes a share in [0, 1)")
  if channels % heads:
    raise ValueError(f"vit has {channels} channels and {heads} heads: the heads must divide the channels")
  channels = heads * max(1, round(width * channels / heads))
  return VisionTransformer(
    channels, depth, heads, patch, head, masked, stochastic_depth, embedding_size, dropout, remat, jnp.dtype(dtype)
  )


@variant(vit, channels=256, depth=12, heads=8, patch=9)
def vit_t() -> None:
  """`vit` of 256 channels and 12 blocks: 19,137,792 parameters."""


@variant(vit, channels=512, depth=12, heads=8, patch=9)
def vit_s() -> None:
  """`vit` of 512 channels and 12 blocks: 76,023,296 parameters."""


@variant(vit, channels=512, depth=24, heads=8, patch=9)
def vit_b() -> None:
  """`vit` of 512 channels and 24 blocks: 113,833,472 parameters."""


@variant(vit, channels=768, depth=24, heads=8, patch=9, defaults={"masked": 0.05, "stochastic_depth": 0.05})
def vit_l() -> None:
  """`vit` of 768 channels and 24 blocks, with the original's smaller shares of both: 255,684,352 parameters."""


__all__ = ["HEADS", "PUBLISHED", "Attention", "Block", "VisionTransformer", "vit", "vit_b", "vit_l", "vit_s", "vit_t"]
