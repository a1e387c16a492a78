"""DeepID2: the layers of DeepID for larger patches, trained by identification and verification together."""

import flax.linen as nn
import jax.numpy as jnp

from jaxface.models.contract import Published
from jaxface.models.deepid import DeepIDNet, patch_convention
from jaxface.models.registry import register

CONVENTION = patch_convention(55, 47)

PUBLISHED = {
  "deepid2": Published(
    "Sun et al., Deep Learning Face Representation by Joint Identification-Verification, 2014, section 4",
    lfw=99.15, note="seven groups of 25 patches, PCA to 180, Joint Bayesian, fused; CelebFaces+",
  )
}


@register
def deepid2(
  width: float = 1.0, embedding_size: int = 160, dtype: str = "float32", remat: bool = False, dropout: float = 0.0
) -> nn.Module:
  """A network of DeepID2: 1,018,540 parameters, whose last layer takes the 1,200 numbers of pool3 and the 960 of conv4.

  Input: a patch of 55×47 (height×width) pixels, RGB, scaled to -1..1, cut from a face aligned to arcface112; a face or
  patch of another size is scaled. Published, by 175 such networks in seven groups with Joint Bayesian: 99.15 % on LFW. Its
  objective combines identification and a verification signal (`experiments/deepid2.py`). Our choices: the range of the
  pixels, He initialisation.

  Args:
    width: factor on the channels.
    embedding_size: length of the embedding.
    dtype: dtype of the computation, except for the last layer.
    remat: recompute each stage in the backward pass.
    dropout: share of the features dropped before the last layer.
  Source: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014, figure 1.
  """
  return DeepIDNet(CONVENTION, width, embedding_size, dropout, remat, jnp.dtype(dtype))


__all__ = ["CONVENTION", "PUBLISHED", "deepid2"]
