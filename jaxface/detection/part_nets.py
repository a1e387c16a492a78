"""The part networks of Faceness: five small networks, each of which says where in an image its part of a face is.

Reductions against the paper, whose five networks are AlexNets fine-tuned on attributes of whole faces (such as "black hair", "mouth open"),
and whose maps are means of features of their last convolutions: here each network sees patches of 16 pixels, learns from labelled points
whether a patch shows its part, and is applied as a convolution, so that its output is the map.

Source: Yang, Luo, Loy, Tang, "From Facial Parts Responses to Face Detection: A Deep Learning Approach", 2015, section 3.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.mtcnn_nets import normalise
from jaxface.detection.param_shapes import check_shapes
from jaxface.detection.strips import by_strips
from jaxface.layers.convolution import Conv
from jaxface.layers.pooling import max_pool

PARTS = ("hair", "eyes", "nose", "mouth", "beard")
# Side of a patch, and distance of neighbouring patches, in pixels.
PATCH, STRIDE = 16, 4
CHANNELS = (8, 16, 32)
# Rows of the maps in a strip, which bounds memory.
STRIP = 32


class PartNet(nn.Module):
  """Whether patches show one part: [B, H, W, 3] to logits [B, (H − 16) // 4 + 1, (W − 16) // 4 + 1].

  Attributes:
    channels: of the three convolutions before the logits.
  """

  channels: tuple[int, ...] = CHANNELS

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    """Applies the network to float images (RGB − 127.5) / 128 of at least one patch."""
    for number, (features, side) in enumerate(zip((*self.channels, 1), (3, 4, 2, 1), strict=True), 1):
      kernel = nn.initializers.he_normal()
      x_bhwc = Conv(features, (side, side), padding="VALID", use_bias=True, kernel_init=kernel, name=f"conv{number}")(x_bhwc)
      x_bhwc = nn.relu(x_bhwc) if number < 4 else x_bhwc
      if number < 3:
        x_bhwc = max_pool(x_bhwc, (2, 2), (2, 2))
    return x_bhwc[..., 0]


class PartNets(nn.Module):
  """The networks of all `PARTS`, which share nothing: [B, H, W, 3] to logits [B, rows, columns, 5].

  Attributes:
    channels: see `PartNet`.
  """

  channels: tuple[int, ...] = CHANNELS

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    """Applies each network to the same images."""
    return jnp.stack([PartNet(self.channels, name=part)(x_bhwc) for part in PARTS], -1)


class PatchNets(nn.Module):
  """The networks on single patches, for training: [B, 16, 16, 3] to [B, 5]."""

  nets: PartNets

  @nn.compact
  def __call__(self, image_bhwc: Array, train: bool = False) -> Array:
    """Logits of patches in the input convention."""
    return self.nets(image_bhwc).reshape(len(image_bhwc), len(PARTS))


def nets_of(params: dict[str, Any]) -> PartNets:
  """The networks to which parameters belong; channels are read from their shapes.

  Raises:
    ValueError: a part or a layer is missing, or has another shape.
  """
  try:
    channels = tuple(int(np.shape(params[PARTS[0]][f"conv{number}"]["kernel"])[-1]) for number in (1, 2, 3))
  except (KeyError, IndexError, TypeError) as error:
    raise ValueError(f"the parameters have {', '.join(sorted(params)) or 'no part'}: needs {', '.join(PARTS)}, each with conv1 to conv4") from error
  nets = PartNets(channels)
  check_shapes(nets, PATCH, params)
  return nets


@partial(jax.jit, static_argnames=("nets", "strip"))
def part_maps(nets: PartNets, params: Any, image_bhwc: Array, strip: int = STRIP) -> Array:
  """Partness maps: how probable it is that the patch which begins at each fourth pixel shows a part.

  Args:
    nets: the networks.
    params: their parameters.
    image_bhwc: [B, H, W, 3] in 0..255, at least one patch high and wide.
    strip: rows of the maps in a strip, see `by_strips`.
  Returns:
    [B, rows, columns, 5] uint8, probabilities times 255, so that sums over rectangles are exact.
  """

  def maps(part_bhwc: Array) -> Array:
    logit_brcp = jnp.asarray(nets.apply({"params": params}, normalise(part_bhwc)), jnp.float32)
    return jnp.round(255 * jax.nn.sigmoid(logit_brcp)).astype(jnp.uint8)

  return by_strips(maps, image_bhwc, window=PATCH, stride=STRIDE, rows=strip)


__all__ = ["CHANNELS", "PARTS", "PATCH", "STRIDE", "STRIP", "PartNet", "PartNets", "PatchNets", "nets_of", "part_maps"]
