"""A small network that regresses 5 or 68 face points from a square around a detected box."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.alignment.mean_shape import template_points
from jaxface.alignment.points import check_point_set
from jaxface.layers.blocks import ConvNorm
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import Preprocess, get_preprocess
from jaxface.models.registry import register_unlisted
from jaxface.models.smallresnet import Unit, patches

SIDE = 96
# arcface112's mean face in the network's input, as a share of its side: scale of a pixel, and the place of the middle of the eyes.
# On average a face is so in the squares of `box_squares`.
MEAN_SCALE, MEAN_EYES = 0.0085, (0.5, 0.32)
# The input convention of the detectors that see grey squares.
GREY_SQUARE = get_preprocess("unit", size=SIDE, template="none", colour="grey")


def mean_points(count: int, side: int = SIDE) -> np.ndarray:
  """Where a set of points is on average in the network's input.

  Args:
    count: number of points, in `POINT_SETS`.
    side: side length of the input in pixels.
  Returns:
    [count, 2] float64, pixel centres at whole numbers.
  """
  eyes_2 = template_points("arcface112", 2).mean(0)
  return (template_points("arcface112", count) - eyes_2) * MEAN_SCALE * side + np.array(MEAN_EYES) * side - 0.5


class LandmarkNet(nn.Module):
  """See `landmarknet`."""

  points: int
  widths: tuple[int, ...]
  units: tuple[int, ...]
  features: int
  dropout: float
  dtype: Any

  convention: ClassVar[Preprocess] = get_preprocess("unit", size=SIDE, template="none")

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Regress points: [B, H, W, 3] float in the input convention to [B, 2K] float32, x and y of each point in pixels."""
    x_bhwc = patches(image_bhwc.astype(self.dtype), 4)
    x_bhwc = ConvNorm(self.widths[0], kernel=1, activation="relu", dtype=self.dtype, name="stem")(x_bhwc, train)
    for stage, (features, count) in enumerate(zip(self.widths, self.units), start=1):
      for index in range(count):
        stride = 2 if stage > 1 and index == 0 else 1
        x_bhwc = Unit(features, stride, self.dtype, name=f"stage{stage}_unit{index + 1}")(x_bhwc, train)
    x_bhwc = ConvNorm(64, kernel=1, activation="relu", dtype=self.dtype, name="narrow")(x_bhwc, train)
    # Flattened, not averaged: where a feature is tells where a point is.
    x_bd = x_bhwc.reshape(x_bhwc.shape[0], -1).astype(jnp.float32)
    x_bd = nn.relu(nn.Dense(self.features, name="dense")(x_bd))
    x_bd = nn.Dropout(self.dropout, deterministic=not train)(x_bd)
    offset_bt = nn.Dense(2 * self.points, kernel_init=nn.initializers.normal(0.01), name="regression")(x_bd)
    mean_t = jnp.asarray(mean_points(self.points, image_bhwc.shape[1]).reshape(-1), jnp.float32)
    # An output of 1 is a tenth of the side, so that outputs have the size of features.
    return mean_t + offset_bt * (image_bhwc.shape[1] / 10)


@register_unlisted
def landmarknet(
  points: int = 68,
  widths: tuple[int, ...] = (32, 64, 128),
  units: tuple[int, ...] = (1, 1, 1),
  features: int = 256,
  dropout: float = 0.1,
  dtype: str = "float32",
) -> nn.Module:
  """A network of our own for 5 or 68 face points at 96×96 pixels; it learns the deviation from a mean face.

  Args:
    points: number of points, 5 or 68.
    widths: channels of each stage; every stage but the first halves the resolution.
    units: residual units of each stage.
    features: length of the dense layer before the regression.
    dropout: share of these features dropped in training.
    dtype: dtype of the convolutions.
  """
  check_point_set(points)
  if len(widths) != len(units) or not widths:
    raise ValueError(f"landmarknet has widths {widths} and units {units}: takes one of each per stage")
  return LandmarkNet(points, tuple(widths), tuple(units), features, dropout, jnp.dtype(dtype))


__all__ = ["GREY_SQUARE", "SIDE", "LandmarkNet", "landmarknet", "mean_points"]
