"""DeepID: a small network for one patch of the face; its last layer takes the third pool and the fourth convolution."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.convolution import Conv
from jaxface.layers.local import LocallyConnected
from jaxface.layers.local_shared import LocallySharedConv
from jaxface.layers.pooling import max_pool
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import register, unknown

PUBLISHED = {
  "deepid": Published(
    "Sun et al., Deep Learning Face Representation from Predicting 10,000 Classes, 2014, section 4",
    lfw=97.45, note="100 patches, two features each, PCA to 150, Joint Bayesian, CelebFaces+; no figure for one network",
  )
}

HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def patch_convention(height: int, width: int, colour: str = "rgb") -> Preprocess:
  """Input convention of a patch network: pixels scaled to -1..1, patches of another size resized."""
  return replace(PREPROCESS["unit"], size=(height, width), colour=colour, fit="resize")


INPUTS = {
  "39x31x3": patch_convention(39, 31), "39x31x1": patch_convention(39, 31, "grey"),
  "31x31x3": patch_convention(31, 31), "31x31x1": patch_convention(31, 31, "grey"),
}


class DeepIDNet(nn.Module):
  """Base of DeepID and DeepID2: three stages of convolution, ReLU and pooling, a locally shared convolution, and a last layer
  on the outputs of both.

  Attributes:
    convention: the input convention.
    width: factor on the channels 20, 40, 60, 80.
    embedding_size: length of the embedding.
    dropout: share of the features dropped before the last layer.
    remat: recompute each stage in the backward pass.
    dtype: dtype of the computation, except for the last layer, which is float32.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, figure 2 and §3.1.
  """

  convention: Preprocess
  width: float = 1.0
  embedding_size: int = 160
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed patches: [B, H, W, C] float in the network's input convention to [B, embedding_size] float32, none negative."""
    stage = nn.remat(DeepIDNet._stage, static_argnums=(2,)) if self.remat else DeepIDNet._stage
    pool3_bhwc = image_bhwc.astype(self.dtype)
    for number in (1, 2, 3):
      pool3_bhwc = max_pool(stage(self, pool3_bhwc, number), (2, 2), (2, 2))
    conv4_bhwc = stage(self, pool3_bhwc, 4)
    # W1 · pool3 + W2 · conv4 is one matrix times the concatenation.
    both_bd = jnp.concatenate([x.reshape(x.shape[0], -1) for x in (pool3_bhwc, conv4_bhwc)], -1).astype(jnp.float32)
    both_bd = nn.Dropout(self.dropout, deterministic=not train)(both_bd)
    return nn.relu(nn.Dense(self.embedding_size, kernel_init=HE, name="deepid")(both_bd))

  def _stage(self, x_bhwc: Array, number: int) -> Array:
    features = max(1, round(self.width * 20 * number))
    name = f"conv{number}"
    layer: nn.Module
    if number == 4:
      layer = LocallyConnected(features, (2, 2), dtype=self.dtype, name=name)
    elif number == 3:
      layer = LocallySharedConv(features, (3, 3), block=2, dtype=self.dtype, name=name)
    else:
      side = 4 if number == 1 else 3
      layer = Conv(
        features, (side, side), padding="VALID", use_bias=True, kernel_init=HE, dtype=self.dtype, name=name
      )
    return nn.relu(layer(x_bhwc))


@register
def deepid(
  input: str = "39x31x3", width: float = 1.0, embedding_size: int = 160, dtype: str = "float32", remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """A network of DeepID for patches of one shape: 260,100 parameters for 39×31×3 pixels.

  Input: a patch of 39×31 (height×width) or 31×31 pixels, RGB or grey, scaled to -1..1, cut from a face aligned to
  arcface112; a face or patch of another size is scaled. Published, by 60 such networks with 19,200 features and Joint
  Bayesian: 97.45 % on LFW with 100 patches. Our choices, which the paper does not specify: the range of the pixels, He
  initialisation.

  Args:
    input: height, width and channels: "39x31x3", "39x31x1", "31x31x3" or "31x31x1".
    width: factor on the channels.
    embedding_size: length of the embedding.
    dtype: dtype of the computation, except for the last layer.
    remat: recompute each stage in the backward pass.
    dropout: share of the features dropped before the last layer.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, figure 2.
  """
  if input not in INPUTS:
    raise ValueError(unknown("input of deepid", input, list(INPUTS)))
  return DeepIDNet(INPUTS[input], width, embedding_size, dropout, remat, jnp.dtype(dtype))


__all__ = ["INPUTS", "PUBLISHED", "DeepIDNet", "deepid", "patch_convention"]
