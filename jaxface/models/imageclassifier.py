"""Classifiers of small images: softmax regression, or a few convolutions before it."""

from dataclasses import replace

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.blocks import ConvNorm
from jaxface.layers.pooling import max_pool
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import COLOURS, PREPROCESS, Preprocess
from jaxface.models.registry import register_unlisted, unknown


class ImageClassifier(nn.Module):
  """See `imageclassifier`."""

  convention: Preprocess
  classes: int
  widths: tuple[int, ...]
  features: int
  dropout: float

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """[B, H, W, C] float in the input convention to logits [B, classes] float32."""
    x_bhwc = image_bhwc.astype(jnp.float32)
    for number, width in enumerate(self.widths, start=1):
      x_bhwc = max_pool(ConvNorm(width, activation="relu", name=f"conv{number}")(x_bhwc, train), (2, 2), (2, 2))
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1)
    if self.features:
      x_bd = nn.relu(nn.Dense(self.features, name="dense")(x_bd))
      x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd)
    return nn.Dense(self.classes, kernel_init=nn.initializers.normal(0.01), name="softmax")(x_bd)


@register_unlisted
def imageclassifier(
  classes: int = 10, size: int = 32, colour: str = "rgb", widths: tuple[int, ...] = (16, 32, 64), features: int = 128, dropout: float = 0.2
) -> nn.Module:
  """A classifier of small square images, whose outputs are logits.

  Args:
    classes: number of classes.
    size: side length of the images in pixels.
    colour: "rgb" or "grey".
    widths: channels of the 3×3 convolutions, each with batch norm, ReLU and a maximum over 2×2 pixels; () for none.
    features: length of the dense layer before the softmax; 0 for none. Without both it is softmax regression on the pixels.
    dropout: share of the features dropped in training.
  """
  if colour not in COLOURS:
    raise ValueError(unknown("colour of imageclassifier", colour, list(COLOURS)))
  if classes < 2 or size < 2 ** len(widths) or features < 0 or min(widths, default=1) < 1:
    raise ValueError(
      f"imageclassifier has {classes} classes, {size} pixels, widths {widths} and {features} features: takes two classes or more, and at"
      " least one pixel after the last maximum"
    )
  convention = replace(PREPROCESS["unit"], size=(size, size), colour=colour, template="none", fit="resize")
  return ImageClassifier(convention, classes, tuple(widths), features, dropout)


__all__ = ["ImageClassifier", "imageclassifier"]
