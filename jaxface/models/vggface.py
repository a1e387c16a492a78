"""VGG-Face: 3×3 convolutions and two wide dense layers, in three depths; the deeper ones extend the first."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.convolution import Conv
from jaxface.layers.pooling import max_pool
from jaxface.models.contract import Published, takes_image
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import variant

CHANNELS = (64, 128, 256, 512, 512)

_PAPER = "Parkhi et al., Deep Face Recognition, 2015, table 4"
_NOTE = "100 % - EER; softmax on 2,622 identities, full set, test images aligned"
PUBLISHED = {
  "vggface_a": Published(_PAPER, lfw=96.70, note=_NOTE),
  "vggface_b": Published(_PAPER, lfw=97.27, note=f"{_NOTE}; 99.13 with the projection learned by triplets"),
  "vggface_d": Published(_PAPER, lfw=96.73, note=_NOTE),
}


class VGGFace(nn.Module):
  """Five stages of 3×3 convolutions with ReLU, each ended by max pooling, then fc6 and fc7.

  The embedding is the input of the classifier fc8: the 4096 non-negative numbers after relu7 of the paper's table, with dropout
  in training.

  Attributes:
    convs: convolutions per stage.
    width: factor on the channels and on fc6.
    embedding_size: length of fc7.
    dropout: share of fc6 and of fc7 that is dropped.
    remat: recompute each stage in the backward pass.
    dtype: dtype of the computation; the embedding is float32.
  Source: Parkhi et al., "Deep Face Recognition", 2015, table 3 (configuration D) and §4.3.
  """

  convs: tuple[int, ...]
  width: float = 1.0
  embedding_size: int = 4096
  dropout: float = 0.5
  remat: bool = False
  dtype: Any = jnp.float32

  convention: ClassVar[Preprocess] = PREPROCESS["vggface"]
  grows_from: ClassVar[tuple[str, ...]] = ("vggface_a",)

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    stage = nn.remat(VGGFace._stage, static_argnums=(2,)) if self.remat else VGGFace._stage
    x = image_bhwc.astype(self.dtype)
    for number in range(1, len(CHANNELS) + 1):
      x = stage(self, x, number)
    x = x.reshape(x.shape[0], -1)
    for name, features in (("fc6", round(self.width * 4096)), ("fc7", self.embedding_size)):
      x = nn.relu(nn.Dense(features, dtype=self.dtype, kernel_init=self._kernel_init(), name=name)(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return x.astype(jnp.float32)

  def _stage(self, x_bhwc: Array, number: int) -> Array:
    features = max(1, round(self.width * CHANNELS[number - 1]))
    for index in range(1, self.convs[number - 1] + 1):
      conv = Conv(
        features, use_bias=True, dtype=self.dtype, kernel_init=self._kernel_init(), name=f"conv{number}_{index}"
      )
      x_bhwc = nn.relu(conv(x_bhwc))
    # 224 pixels can be halved five times; the ceiling is for other sizes.
    return max_pool(x_bhwc, (2, 2), (2, 2), "CEIL")

  def _kernel_init(self) -> Any:
    # With the paper's deviation activations shrink from layer to layer, the more the fewer channels are summed, until biases
    # dominate: a narrow net, which is our extension, uses He initialisation.
    return nn.initializers.normal(0.01) if self.width >= 1 else nn.initializers.he_normal()


def _vggface(
  convs: tuple[int, ...], width: float = 1.0, embedding_size: int = 4096, dtype: str = "float32", remat: bool = False,
  dropout: float = 0.5,
) -> nn.Module:
  return VGGFace(convs, width, embedding_size, dropout, remat, jnp.dtype(dtype))


@variant(_vggface, convs=(1, 1, 2, 2, 2))
def vggface_a() -> None:
  """VGG-Face with eight convolutions: 139,508,670 parameters with the classifier of 2,622 identities.

  Input: 224×224 RGB in 0..255 minus the mean of each channel, without a divisor; larger or smaller faces are scaled.
  Convolutions are initialised from N(0, 0.01), biases with zero. Published: 96.70 % on LFW (100 % − EER, softmax alone). The network
  ends with fc7; the classifier belongs to the head, the projection to 1,024 dimensions is `projected`. Our choices: the
  template is arcface112 (the paper aligns its test images by its own similarity transform), and a narrow net (width below 1)
  uses He initialisation.

  Args:
    width: factor on the channels and on fc6.
    embedding_size: length of fc7.
    dtype: dtype of the computation.
    remat: recompute each stage in the backward pass.
    dropout: share of fc6 and of fc7 that is dropped.
  Source: Parkhi et al., "Deep Face Recognition", 2015, §4.3.
  """


@variant(_vggface, convs=(2, 2, 2, 2, 2))
def vggface_b() -> None:
  """`vggface_a` with conv1_2 and conv2_2: 139,693,182 parameters with the classifier, 97.27 % on LFW.

  As in the paper, it can be initialised from a trained `vggface_a` with `model.init_from`: the new layers are random, and the
  learning rate should be lower than A's.
  """


@variant(_vggface, convs=(2, 2, 3, 3, 3))
def vggface_d() -> None:
  """`vggface_b` with conv3_3, conv4_3 and conv5_3: 145,002,878 parameters with the classifier, 96.73 % on LFW.

  The network in the paper's table, whose weights the authors released. It can be initialised from a trained `vggface_a` like
  `vggface_b`.
  """


__all__ = ["PUBLISHED", "VGGFace", "vggface_a", "vggface_b", "vggface_d"]
