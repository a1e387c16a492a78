"""The supervised descent method: points are moved step by step, each time by a linear function of the descriptors about them."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.alignment.landmark_net import GREY_SQUARE, mean_points
from jaxface.alignment.points import check_point_set
from jaxface.descriptors import point_descriptors
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import register_unlisted


def stage_features(grey_bhw: Array, point_bk2: Array, cell: int) -> Array:
  """What the regressor of a stage sees: the descriptors of all points, [B, K · 128].

  Args:
    grey_bhw: [B, H, W] images.
    point_bk2: [B, K, 2] where the points are so far.
    cell: side of a cell of the descriptors in pixels.
  """
  return point_descriptors(grey_bhw, point_bk2, cell=cell).reshape(point_bk2.shape[0], -1)


class SupervisedDescent(nn.Module):
  """See `sdm`."""

  points: int
  cells: tuple[int, ...]

  convention: ClassVar[Preprocess] = GREY_SQUARE

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """[B, H, W, 1] float in the input convention to [B, 2K] float32, x and y of each point in pixels."""
    grey_bhw = image_bhwc[..., 0].astype(jnp.float32)
    mean_k2 = jnp.asarray(mean_points(self.points, image_bhwc.shape[1]), jnp.float32)
    point_bk2 = jnp.broadcast_to(mean_k2, (len(image_bhwc), *mean_k2.shape))
    for stage, cell in enumerate(self.cells, start=1):
      move = nn.Dense(2 * self.points, precision=jax.lax.Precision.HIGHEST, name=f"stage{stage}")
      point_bk2 = point_bk2 + move(stage_features(grey_bhw, point_bk2, cell)).reshape(point_bk2.shape)
    return point_bk2.reshape(len(image_bhwc), -1)


@register_unlisted
def sdm(points: int = 68, cells: tuple[int, ...] = (8, 6, 5, 4, 3)) -> nn.Module:
  """The supervised descent method for 5, 6, 21 or 68 face points at 96×96 grey pixels, from a mean face on.

  Args:
    points: number of points.
    cells: side of a cell of the descriptors of each stage in pixels; their squares are four cells wide.
  Source: Xiong, De la Torre, "Supervised Descent Method and Its Applications to Face Alignment", 2013.
  """
  check_point_set(points)
  if not cells or min(cells) < 1:
    raise ValueError(f"sdm has cells {cells}: takes a side of at least one pixel for each stage")
  return SupervisedDescent(points, tuple(cells))


__all__ = ["SupervisedDescent", "sdm", "stage_features"]
