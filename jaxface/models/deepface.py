"""DeepFace: two convolutions, then three locally connected layers."""

import math
from dataclasses import replace
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.convolution import Conv
from jaxface.layers.local import LocallyConnected
from jaxface.layers.pooling import max_pool
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess, to_grey
from jaxface.models.registry import register, unknown

CONVENTION = replace(PREPROCESS["zero_one"], size=(152, 152), fit="resize")

PUBLISHED = {
  "deepface": Published(
    "Taigman et al., DeepFace: Closing the Gap to Human-Level Performance in Face Verification, 2014, sections 3 and 5",
    parameters=120e6, lfw=97.00,
    note="one network, faces frontalised in 3-D, χ² similarity, 4.4 M images; 95.92 by inner product, 97.35 by an ensemble;"
    " \"more than\" 120 M parameters with the classifier",
  )
}

INITS = ("paper", "he")
INPUTS = ("rgb", "gradient")


class DeepFace(nn.Module):
  """C1, M2, C3, the locally connected L4, L5, L6, and F7; the classifier F8 belongs to the head.

  Attributes:
    bias: biases of L4, L5, L6: "position" for one per position and channel, "channel" for one per channel.
    low_memory: for L4, L5, L6, as in `jaxface.layers.local.locally_connected`.
    init_like: "paper": all weights from N(0, 0.01), biases 0.5. "he": He's rule with the inputs of one position, biases 0.
    width: factor on the channels.
    embedding_size: length of F7.
    dropout: share of F7 that is dropped.
    remat: recompute each stage in the backward pass.
    dtype: dtype of the computation; the embedding is float32.
    input: "rgb": the image. "gradient": its three planes of `grey_gradient`.
  Source: Taigman et al., "DeepFace", 2014, figure 2, §3.2 and §5.3.
  """

  bias: str = "position"
  low_memory: bool | None = None
  init_like: str = "paper"
  width: float = 1.0
  embedding_size: int = 4096
  dropout: float = 0.5
  remat: bool = False
  dtype: Any = jnp.float32
  input: str = "rgb"

  convention: ClassVar[Preprocess] = CONVENTION

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32, none negative."""
    shared, local = DeepFace._shared, DeepFace._local
    if self.remat:
      shared, local = nn.remat(shared), nn.remat(local)
    if self.input == "gradient":
      image_bhwc = grey_gradient(image_bhwc)
    x = local(self, shared(self, image_bhwc.astype(self.dtype)))
    x = nn.Dense(self.embedding_size, dtype=self.dtype, **self._initial(), name="F7")(x.reshape(x.shape[0], -1))
    return nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x)).astype(jnp.float32)

  def _shared(self, x_bhwc: Array) -> Array:
    options: dict[str, Any] = {"padding": "VALID", "use_bias": True, "dtype": self.dtype, **self._initial()}
    x_bhwc = nn.relu(Conv(self._channels(32), (11, 11), **options, name="C1")(x_bhwc))
    # With 142 pixels the last window exceeds the border by one.
    x_bhwc = max_pool(x_bhwc, (3, 3), (2, 2), "CEIL")
    return nn.relu(Conv(self._channels(16), (9, 9), **options, name="C3")(x_bhwc))

  def _local(self, x_bhwc: Array) -> Array:
    for name, side, stride in (("L4", 9, 1), ("L5", 7, 2), ("L6", 5, 1)):
      layer = LocallyConnected(
        self._channels(16), (side, side), (stride, stride), bias=self.bias, low_memory=self.low_memory,
        dtype=self.dtype, **self._initial(), name=name,
      )
      x_bhwc = nn.relu(layer(x_bhwc))
    return x_bhwc

  def _channels(self, number: int) -> int:
    return max(1, round(self.width * number))

  def _initial(self) -> dict[str, Any]:
    if self.init_like == "he":
      return {"kernel_init": nn.initializers.variance_scaling(2.0, "fan_in", "normal")}
    # The paper's deviation; a narrow net sums fewer terms and needs a larger one to preserve the scale.
    gaussian = nn.initializers.normal(0.01 / math.sqrt(self.width))
    return {"kernel_init": gaussian, "bias_init": nn.initializers.constant(0.5)}


def grey_gradient(image_bhwc: Array) -> Array:
  """Grey level, magnitude and orientation of its gradient: the input of the second network of DeepFace's ensemble.

  The paper gives no formula. Here the gradient is of central differences, one-sided at the border, in grey levels a pixel; the orientation is its
  angle divided by π, 0 where the gradient is 0. Derivatives with respect to the image are those of the grey level alone.

  Args:
    image_bhwc: [B, H, W, 3] float, RGB in 0..1.
  Returns:
    [B, H, W, 3], dtype of the image: grey in 0..1, magnitude in 0..√2, orientation in -1..1.
  Source: Taigman et al., "DeepFace", 2014, §5.3.
  """
  grey_bhw = to_grey(image_bhwc)[..., 0]
  down_bhw, right_bhw = jnp.gradient(lax.stop_gradient(grey_bhw), axis=(1, 2))
  return jnp.stack([grey_bhw, jnp.hypot(down_bhw, right_bhw), jnp.arctan2(down_bhw, right_bhw) / math.pi], axis=-1).astype(image_bhwc.dtype)


@register
def deepface(
  bias: str = "position", low_memory: bool | None = None, init: str = "paper", width: float = 1.0,
  embedding_size: int = 4096, dtype: str = "float32", remat: bool = False, dropout: float = 0.5, input: str = "rgb",
) -> nn.Module:
  """DeepFace: 118,923,774 parameters with a classifier of 4,030 identities, of which L4 has 62,774,800.

  Input: 152×152 RGB scaled to 0..1, frontalised in 3-D in the paper, here aligned in the plane to arcface112; another size
  is scaled. The embedding is F7, which the paper divides by its largest values over the training set and scales to
  length one: `jaxface.evaluation.pairs.normalisation` does this, fitted on embeddings. Published: 97.00 % on LFW by one network and
  χ², 95.92 % by inner product. Our choices: C3 sees all 32 channels (the paper prints 16×9×9×16, a misprint or two groups),
  the range of the pixels, and a larger deviation in a narrow net.

  Args:
    bias: of the locally connected layers: "position" for one per position and channel, "channel" for one per channel
      (118,858,366 parameters).
    low_memory: for the locally connected layers: True for less memory, False for one large step, None decides by size.
    init: "paper": weights from N(0, 0.01), biases 0.5, with which training starts slowly. "he": He's rule with the inputs
      of one position, biases 0.
    width: factor on the channels.
    embedding_size: length of F7.
    dtype: dtype of the computation.
    remat: recompute each stage in the backward pass.
    dropout: share of F7 that is dropped.
    input: "rgb", or "gradient" for grey level, magnitude and orientation of its gradient, as the second network of the paper's ensemble.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §3.2.
  """
  for option, value, valid in (("bias", bias, ("position", "channel")), ("init", init, INITS), ("input", input, INPUTS)):
    if value not in valid:
      raise ValueError(unknown(f"{option} of deepface", value, list(valid)))
  return DeepFace(bias, low_memory, init, width, embedding_size, dropout, remat, jnp.dtype(dtype), input)


__all__ = ["CONVENTION", "PUBLISHED", "DeepFace", "deepface", "grey_gradient"]
