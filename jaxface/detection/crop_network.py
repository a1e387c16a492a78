"""The networks of MTCNN as the training engine takes them: one array of numbers per crop, and mirrored crops."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.detection.mtcnn_nets import POINT_LAYER, SIDES, WINDOW, Found, ONet, PNet, RNet
from jaxface.losses.detection import NEGATIVE, POINTS, TARGETS
from jaxface.models.preprocess import Preprocess

# Left and right exchanged.
_OFFSETS, _POINTS = (2, 1, 0, 3), (1, 0, 2, 4, 3)


class CropNetwork(nn.Module):
  """A network of the cascade with points: [B, side, side, 3] to [B, 16]; see `jaxface.losses.detection`."""

  net: nn.Module

  @nn.compact
  def __call__(self, image_bhwc: Array, train: bool = False) -> Array:
    """Scores, offsets and points of crops in the input convention."""
    found = self.net(image_bhwc)
    assert isinstance(found, Found)
    assert found.point is not None
    rows = len(image_bhwc)
    return jnp.concatenate([found.logit.reshape(rows, 2), found.offset.reshape(rows, 4), found.point.reshape(rows, -1)], -1)


def crop_side(net: str) -> int:
  """Side of the crops of a network in pixels."""
  return SIDES.get(net, WINDOW)


def crop_network(net: str) -> tuple[CropNetwork, Preprocess]:
  """The network to train, and its input convention, which is that of `normalise`."""
  module = {"pnet": PNet(learns_points=True), "rnet": RNet(learns_points=True), "onet": ONet()}[net]
  side = crop_side(net)
  return CropNetwork(module), Preprocess("mtcnn", (side, side), (127.5,), (128.0,), "none")


def detector_params(params: dict) -> dict:
  """Parameters of a network as a detector has them, from those of its `CropNetwork`."""
  return {name: layer for name, layer in params["net"].items() if name != POINT_LAYER}


def mirror_targets(target_bt: Any, shift_b: Any = 0.0) -> Array:
  """Targets of mirrored crops.

  Args:
    target_bt: [B, 15], see `jaxface.losses.detection`.
    shift_b: added to both horizontal offsets: P-Net's are counted from another edge, see `mirror_shift`.
  Returns:
    [B, 15].
  """
  offset_b4 = target_bt[:, 1:5][:, jnp.array(_OFFSETS)] * jnp.array([-1.0, 1.0, -1.0, 1.0])
  offset_b4 = offset_b4 + jnp.stack([jnp.broadcast_to(shift_b, (len(target_bt),)), jnp.zeros(len(target_bt))] * 2, -1)
  point_b52 = target_bt[:, 5:].reshape(-1, 5, 2)[:, jnp.array(_POINTS)] * jnp.array([-1.0, 1.0]) + jnp.array([1.0, 0.0])
  kind_b1, shape = target_bt[:, :1], (len(target_bt), -1)
  # Numbers that a kind does not have stay 0.
  offset_b4 = jnp.where(kind_b1 == NEGATIVE, 0.0, offset_b4)
  return jnp.concatenate([jnp.asarray(kind_b1), offset_b4, jnp.where(kind_b1 == POINTS, point_b52.reshape(shape), 0.0)], -1)


def mirror_shift(net: str, side_n: np.ndarray) -> np.ndarray:
  """`shift_b` of `mirror_targets` for squares of some sides, in pixels of the photo; 0 but for P-Net, see `offsets`."""
  if net != "pnet":
    return np.zeros(len(side_n))
  pixel_n = side_n / WINDOW
  return (1 - pixel_n) / ((WINDOW - 1) * pixel_n)


@dataclass(frozen=True)
class MirrorCrops:
  """Mirrors crops of R-Net and O-Net with their offsets and points. A `JointAugmentation`.

  Attributes:
    side: of the crops.
    mirror: probability.
  """

  side: int
  mirror: float = 0.5

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Shape of a crop."""
    return (self.side, self.side, 3)

  @property
  def target_size(self) -> int:
    """Numbers of a target."""
    return TARGETS

  def __call__(self, image_bhwc: Array, target_bt: Array, key_b: Array) -> tuple[Array, Array]:
    """Crops as float32, and their targets."""
    on_b = jax.vmap(lambda key: jax.random.uniform(key) < self.mirror)(key_b)
    image_bhwc = image_bhwc.astype(jnp.float32)
    mirrored_bt = mirror_targets(target_bt)
    return jnp.where(on_b[:, None, None, None], image_bhwc[:, :, ::-1], image_bhwc), jnp.where(on_b[:, None], mirrored_bt, target_bt)


__all__ = ["CropNetwork", "MirrorCrops", "crop_network", "crop_side", "detector_params", "mirror_shift", "mirror_targets"]
