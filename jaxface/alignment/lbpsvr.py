"""DeepFace's detector of fiducial points: support vector regression from histograms of local binary patterns."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.alignment.landmark_net import GREY_SQUARE, mean_points
from jaxface.alignment.points import check_point_set
from jaxface.descriptors import lbp_histograms
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import register_unlisted

# Steps of a grey of 1; a level of a photo has 16 or 32, by the input convention.
GREY_STEPS = 4096


def square_features(grey_bhw: Array, cells: int, radius: float) -> Array:
  """What the regressor sees: the square roots of the histograms of all cells, [B, cells² · 59].

  The inner product of two roots is the histograms' Bhattacharyya coefficient.

  Args:
    grey_bhw: [B, H, W] images.
    cells: rows and columns of cells.
    radius: of the patterns, see `lbp_histograms`.
  """
  # Compiled together with what makes them, equal greys may differ by rounding, and patterns compare greys: whole steps stay equal.
  return jnp.sqrt(lbp_histograms(jnp.round(grey_bhw * GREY_STEPS), cells=(cells, cells), radius=radius))


class LbpRegression(nn.Module):
  """See `lbpsvr`."""

  points: int
  cells: int
  radius: float

  convention: ClassVar[Preprocess] = GREY_SQUARE

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """[B, H, W, 1] float in the input convention to [B, 2K] float32, x and y of each point in pixels."""
    feature_bd = square_features(image_bhwc[..., 0].astype(jnp.float32), self.cells, self.radius)
    move_bt = nn.Dense(2 * self.points, precision=jax.lax.Precision.HIGHEST, name="regression")(feature_bd)
    return jnp.asarray(mean_points(self.points, image_bhwc.shape[1]).reshape(-1), jnp.float32) + move_bt


@register_unlisted
def lbpsvr(points: int = 6, cells: int = 12, radius: float = 3.0) -> nn.Module:
  """Linear support vector regression of 5, 6, 21 or 68 face points from histograms of local binary patterns, at 96×96 grey pixels.

  One pass of DeepFace's detector; `LandmarkFinder` moves the square by the points found and repeats.

  Args:
    points: number of points.
    cells: rows and columns of cells that have a histogram each.
    radius: of the patterns in pixels.
  Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §2.1.
  """
  check_point_set(points)
  if cells < 1 or not radius > 0:
    raise ValueError(f"lbpsvr has {cells} cells and radius {radius}: takes at least one cell and a positive radius")
  return LbpRegression(points, cells, radius)


__all__ = ["GREY_STEPS", "LbpRegression", "lbpsvr", "square_features"]
