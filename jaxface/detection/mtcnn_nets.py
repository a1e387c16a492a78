"""The three networks of MTCNN: P-Net proposes, R-Net refines, O-Net outputs boxes and five points.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016, figure 2. The paper
has 3×3 pooling in P-Net's figure; the released network, which this one equals, has 2×2. Pooling is in ceil mode, as in Caffe.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.layers.activation import Activation
from jaxface.layers.convolution import Conv
from jaxface.layers.pooling import max_pool

# Stride of P-Net's output cells and side of the window of one cell, in pixels of its input.
STRIDE, WINDOW = 2, 12
# Sides of the crops that R-Net and O-Net take, in pixels.
SIDES = {"rnet": 24, "onet": 48}
# Layer of P-Net and R-Net that gives points in training.
POINT_LAYER = "landmarks"


class Found(NamedTuple):
  """Outputs of one network.

  Attributes:
    logit: [..., 2] scores of no face and face before the softmax.
    offset: [..., 4] regression of the box, in units of its width and height (`decode_boxes`).
    point: [..., 5, 2] x, y of left eye, right eye, nose, left and right mouth corner as seen in the image, in units of the
      width and height of the box, from its upper left corner; None in networks without points.
  """

  logit: Array
  offset: Array
  point: Array | None = None


class _Stage(nn.Module):
  """A convolution without padding, PReLU and max pooling."""

  features: int
  kernel: int
  window: int = 0

  @nn.compact
  def __call__(self, x_bhwc: Array, inside_bhw: Array | None = None) -> Array:
    kernel = (self.kernel, self.kernel)
    x_bhwc = Conv(self.features, kernel, padding="VALID", use_bias=True, name="conv")(x_bhwc)
    x_bhwc = Activation("prelu", self.features, name="prelu")(x_bhwc)
    if not self.window:
      return x_bhwc
    if inside_bhw is not None:
      x_bhwc = jnp.where(inside_bhw[..., None], x_bhwc, -jnp.inf)
    x_bhwc = max_pool(x_bhwc, (self.window, self.window), (2, 2), "CEIL")
    # A window without a pixel inside has no maximum.
    return x_bhwc if inside_bhw is None else jnp.where(x_bhwc == -jnp.inf, 0, x_bhwc)


class PNet(nn.Module):
  """Scores every 12×12 window of an image, with stride 2: [B, H, W, 3] to maps of ceil((H − 2) / 2) − 4 rows.

  Attributes:
    learns_points: also gives points, by a layer of its own that training uses and a detector does not have.
  """

  learns_points: bool = False
  points = False

  @nn.compact
  def __call__(self, x_bhwc: Array, inside_bhw: Array | None = None) -> Found:
    """Applies the network.

    Args:
      x_bhwc: [B, H, W, 3] float, (RGB − 127.5) / 128.
      inside_bhw: [B, H − 2, W − 2] bool: results of the first convolution that belong to an image, where several images share
        one array; others do not enter the pooling. Each image must begin at even coordinates.
    """
    x_bhwc = _Stage(10, 3, 2, name="stage1")(x_bhwc, inside_bhw)
    x_bhwc = _Stage(16, 3, name="stage2")(x_bhwc)
    x_bhwc = _Stage(32, 3, name="stage3")(x_bhwc)
    # One convolution with the channels of both outputs reads the features once.
    out_bhwc = Conv(6, (1, 1), use_bias=True, name="heads")(x_bhwc)
    found = Found(out_bhwc[..., :2], out_bhwc[..., 2:])
    if self.learns_points:
      found = found._replace(point=_points(Conv(10, (1, 1), use_bias=True, name=POINT_LAYER)(x_bhwc)))
    return found


def _points(out_bt: Array) -> Array:
  """[..., 10] to [..., 5, 2]: the released files have five x, then five y."""
  return out_bt.reshape(*out_bt.shape[:-1], 2, 5).swapaxes(-2, -1)


def _heads(x_bd: Array, points: bool) -> Found:
  out_bd = nn.Dense(16 if points else 6, name="heads")(x_bd)
  return Found(out_bd[:, :2], out_bd[:, 2:6], _points(out_bd[:, 6:]) if points else None)


class RNet(nn.Module):
  """Scores crops of 24×24 pixels: [B, 24, 24, 3] to [B, ...].

  Attributes:
    learns_points: as of `PNet`.
  """

  learns_points: bool = False
  points = False

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Found:
    """Applies the network to [B, 24, 24, 3] float, (RGB − 127.5) / 128."""
    x_bhwc = _Stage(28, 3, 3, name="stage1")(x_bhwc)
    x_bhwc = _Stage(48, 3, 3, name="stage2")(x_bhwc)
    x_bhwc = _Stage(64, 2, name="stage3")(x_bhwc)
    x_bd = nn.Dense(128, name="dense")(x_bhwc.reshape(len(x_bhwc), -1))
    x_bd = Activation("prelu", 128, name="prelu")(x_bd)
    found = _heads(x_bd, points=False)
    if self.learns_points:
      found = found._replace(point=_points(nn.Dense(10, name=POINT_LAYER)(x_bd)))
    return found


class ONet(nn.Module):
  """Scores crops of 48×48 pixels, with five points: [B, 48, 48, 3] to [B, ...]."""

  points = True

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Found:
    """Applies the network to [B, 48, 48, 3] float, (RGB − 127.5) / 128."""
    x_bhwc = _Stage(32, 3, 3, name="stage1")(x_bhwc)
    x_bhwc = _Stage(64, 3, 3, name="stage2")(x_bhwc)
    x_bhwc = _Stage(64, 3, 2, name="stage3")(x_bhwc)
    x_bhwc = _Stage(128, 2, name="stage4")(x_bhwc)
    x_bd = nn.Dense(256, name="dense")(x_bhwc.reshape(len(x_bhwc), -1))
    return _heads(Activation("prelu", 256, name="prelu")(x_bd), points=True)


NETS = {"pnet": PNet(), "rnet": RNet(), "onet": ONet()}


def normalise(image_bhwc: Array) -> Array:
  """RGB in 0..255 as the networks take it: (x − 127.5) / 128, float32."""
  return (image_bhwc.astype(jnp.float32) - 127.5) * 0.0078125


__all__ = ["NETS", "POINT_LAYER", "SIDES", "STRIDE", "WINDOW", "Found", "ONet", "PNet", "RNet", "normalise"]
