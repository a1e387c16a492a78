"""The five-point cascade of convolutional networks: three levels, each the mean of several networks."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.alignment.cascade_nets import FACE, PatchNets, RegionNet, cut_patches
from jaxface.alignment.landmark_net import GREY_SQUARE, SIDE, mean_points
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import register_unlisted

POINTS = 5
# Networks of level 1: the rows of the face that they see, their points, and the length of their dense layer.
REGIONS = {"f1": (0, 39, (0, 1, 2, 3, 4), 120), "en1": (0, 31, (0, 1, 2), 100), "nm1": (8, 39, (2, 3, 4), 100)}
# Sides of the two patches of each point at levels 2 and 3, in units of the side of a detected box, which is SIDE / 1.2 here.
PATCH_SIDES = ((0.32, 0.36), (0.22, 0.24))
BOX = SIDE / 1.2
# An output of 1 is this share of the side of what the network sees.
_UNIT = 0.1


def mean_of_regions(found: dict[str, Array]) -> Array:
  """Each point's mean over the networks of level 1 that give it.

  Args:
    found: [B, points of the network, 2] by the names of `REGIONS`.
  Returns:
    [B, 5, 2].
  """
  columns = [[found[name][:, points.index(k)] for name, (_, _, points, _) in REGIONS.items() if k in points] for k in range(POINTS)]
  return jnp.stack([sum(each) / len(each) for each in columns], axis=1)


class PointCascade(nn.Module):
  """See `cascade`."""

  levels: int

  points: ClassVar[int] = POINTS
  convention: ClassVar[Preprocess] = GREY_SQUARE

  def setup(self) -> None:
    self.region_nets = {name: RegionNet(len(points), features, name=name) for name, (_, _, points, features) in REGIONS.items()}
    self.patch_nets = [PatchNets(name=f"level{level}") for level in range(2, self.levels + 1)]

  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """[B, H, W, 1] float in the input convention to [B, 10] float32, x and y of each point in pixels."""
    return self.by_level(image_bhwc)[-1].reshape(len(image_bhwc), -1)

  def by_level(self, image_bhwc: Array) -> Array:
    """Points [levels, B, 5, 2] in pixels after each level, of images [B, H, W, 1]."""
    grey_bhw = image_bhwc[..., 0].astype(jnp.float32)
    found = [mean_of_regions(self.of_regions(grey_bhw))]
    for number in range(self.levels - 1):
      found.append(found[-1] + self.moves(grey_bhw, found[-1], number).mean(0))
    return jnp.stack(found)

  def of_regions(self, grey_bhw: Array) -> dict[str, Array]:
    """Points [B, points of the network, 2] in pixels by each network of level 1, of images [B, H, W]."""
    face_bhw = jax.image.resize(grey_bhw, (len(grey_bhw), FACE, FACE), "linear")
    mean_k2 = jnp.asarray(mean_points(POINTS, grey_bhw.shape[1]), jnp.float32)
    return {
      name: mean_k2[np.array(points)] + self.region_nets[name](face_bhw[:, top:bottom]) * (_UNIT * grey_bhw.shape[1])
      for name, (top, bottom, points, _) in REGIONS.items()
    }

  def moves(self, grey_bhw: Array, point_bk2: Array, number: int) -> Array:
    """Displacements [2, B, 5, 2] in pixels, by the two networks of each point of a level.

    Args:
      grey_bhw: [B, H, W] images.
      point_bk2: [B, 5, 2] where the points are so far.
      number: 0 for level 2, 1 for level 3.
    """
    sides = [side * BOX for side in PATCH_SIDES[number]]
    patch_2bkpp = jnp.stack([cut_patches(grey_bhw, point_bk2, side) for side in sides])
    patch_nbpp = jnp.swapaxes(patch_2bkpp, 1, 2).reshape(len(sides) * POINTS, len(grey_bhw), *patch_2bkpp.shape[-2:])
    out_2kb2 = self.patch_nets[number](patch_nbpp).reshape(len(sides), POINTS, len(grey_bhw), 2)
    return jnp.swapaxes(out_2kb2, 1, 2) * (_UNIT * jnp.asarray(sides)[:, None, None, None])

  def squares(self, grey_bhw: Array, true_bk2: Array, shift_lbk2: Array) -> tuple[Array, Array]:
    """What is minimised: squared distances of every network, in units of the side of what it sees.

    Networks of points learn from patches about points that are moved away from the true ones, independently of the levels before.

    Args:
      grey_bhw: [B, H, W] images.
      true_bk2: [B, 5, 2] their points.
      shift_lbk2: [levels − 1, B, 5, 2] how far the patches of each level after the first are moved, in pixels.
    Returns:
      The sum over networks of the mean over faces and points; and [levels − 1], the mean distance of each level's mean displacement
      from the true one, in pixels.
    """
    total, pixels = jnp.zeros(()), []
    for name, point_bk2 in self.of_regions(grey_bhw).items():
      error_bk2 = (point_bk2 - true_bk2[:, np.array(REGIONS[name][2])]) / grey_bhw.shape[1]
      total += jnp.square(error_bk2).sum(-1).mean()
    for number in range(self.levels - 1):
      error_2bk2 = self.moves(grey_bhw, true_bk2 + shift_lbk2[number], number) + shift_lbk2[number]
      side_2111 = BOX * jnp.asarray(PATCH_SIDES[number])[:, None, None, None]
      total += jnp.square(error_2bk2 / side_2111).sum(-1).mean((1, 2)).sum() * POINTS
      pixels.append(jnp.linalg.norm(error_2bk2.mean(0), axis=-1).mean())
    return total, jnp.stack(pixels) if pixels else jnp.zeros(0)


@register_unlisted
def cascade(levels: int = 3) -> nn.Module:
  """The five-point cascade of convolutional networks at 96×96 grey pixels.

  Level 1 regresses points from the whole face (F1), its upper part (EN1: eyes and nose) and its lower part (NM1: nose and mouth), and takes the
  mean. At levels 2 and 3 two networks for each point see patches of two sizes about it, and the point moves by the mean of their outputs.

  Args:
    levels: 1 to 3; a model with fewer levels than were trained uses the first ones.
  Source: Sun, Wang, Tang, "Deep Convolutional Network Cascade for Facial Point Detection", 2013.
  """
  if not 1 <= levels <= 1 + len(PATCH_SIDES):
    raise ValueError(f"cascade has {levels} levels: takes 1 to {1 + len(PATCH_SIDES)}")
  return PointCascade(levels)


__all__ = ["BOX", "PATCH_SIDES", "POINTS", "REGIONS", "PointCascade", "cascade", "mean_of_regions"]
