"""The small networks of the five-point cascade, and what they see: regions of the face, and patches about points."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.layers.convolution import Conv
from jaxface.layers.local_shared import LocallySharedConv
from jaxface.layers.pooling import max_pool

# Side of what the networks of level 1 and those of points see, in pixels.
FACE, PATCH = 39, 15
# Channels, side of the kernel, and side of a region of shared weights in positions, of the convolutions of level 1.
_STAGES = ((20, 4, 9), (40, 3, 6), (60, 3, 2), (80, 2, 1))
_LECUN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_LEAST = 1e-3


def abs_tanh(x: Array) -> Array:
  """|tanh x|, whose gradient at 0 is 0."""
  y = jnp.tanh(x)
  # JAX's `abs` has the gradient 1 at 0.
  return jnp.where(y == 0, 0.0, jnp.abs(y))


def even_contrast(image_bhw: Array) -> Array:
  """Each image [..., H, W] less its mean, divided by its deviation; an image of one grey has zeros."""
  image_bhw = image_bhw - image_bhw.mean((-2, -1), keepdims=True)
  return image_bhw / jnp.sqrt(jnp.square(image_bhw).mean((-2, -1), keepdims=True) + _LEAST**2)


def cut_patches(grey_bhw: Array, point_bk2: Array, side: float, pixels: int = PATCH) -> Array:
  """Squares about points, by bilinear interpolation; outside of the image its nearest pixel.

  Args:
    grey_bhw: [B, H, W] images.
    point_bk2: [B, K, 2] centres of the squares, (x, y) with pixel centres at whole numbers.
    side: side of a square in pixels of the image.
    pixels: side of a square in the result.
  Returns:
    [B, K, pixels, pixels].
  """
  chex.assert_rank([grey_bhw, point_bk2], [3, 3])
  offset_p = (jnp.arange(pixels) - (pixels - 1) / 2) * (side / pixels)
  x_bkp, y_bkp = (point_bk2[..., axis, None] + offset_p for axis in (0, 1))
  y_bkpp, x_bkpp = jnp.broadcast_arrays(y_bkp[..., :, None], x_bkp[..., None, :])

  def sample(grey_hw: Array, y_kpp: Array, x_kpp: Array) -> Array:
    return jax.scipy.ndimage.map_coordinates(grey_hw, [y_kpp, x_kpp], order=1, mode="nearest")

  return jax.vmap(sample)(grey_bhw, y_bkpp, x_bkpp)


class RegionNet(nn.Module):
  """A network of level 1: four convolutions with locally shared weights, each with |tanh|, maxima over 2×2 after three, two dense layers.

  Attributes:
    points: number of points.
    features: length of the dense layer.
  Source: Sun, Wang, Tang, "Deep Convolutional Network Cascade for Facial Point Detection", 2013, section 3.
  """

  points: int
  features: int

  @nn.compact
  def __call__(self, region_bhw: Array) -> Array:
    """[B, H, W] to [B, points, 2]."""
    x_bhwc = even_contrast(region_bhw)[..., None]
    for number, (channels, side, block) in enumerate(_STAGES, start=1):
      x_bhwc = abs_tanh(LocallySharedConv(channels, (side, side), block, kernel_init=_LECUN, name=f"conv{number}")(x_bhwc))
      if number < len(_STAGES):
        x_bhwc = max_pool(x_bhwc, (2, 2), (2, 2))
    x_bd = jnp.tanh(nn.Dense(self.features, name="dense")(x_bhwc.reshape(len(x_bhwc), -1)))
    out_bt = nn.Dense(2 * self.points, kernel_init=nn.initializers.normal(0.01), name="regression")(x_bd)
    return out_bt.reshape(-1, self.points, 2)


class PatchNet(nn.Module):
  """A network of one point: two convolutions with |tanh| and maxima over 2×2, two dense layers.

  Source: as `RegionNet`; patches need neither depth nor local weights.
  """

  @nn.compact
  def __call__(self, patch_bhw: Array) -> Array:
    """[B, PATCH, PATCH] to [B, 2]."""
    x_bhwc = even_contrast(patch_bhw)[..., None]
    for number, (channels, side, _) in enumerate(_STAGES[:2], start=1):
      conv = Conv(channels, (side, side), padding="VALID", use_bias=True, kernel_init=_LECUN, name=f"conv{number}")
      x_bhwc = max_pool(abs_tanh(conv(x_bhwc)), (2, 2), (2, 2))
    x_bd = jnp.tanh(nn.Dense(60, name="dense")(x_bhwc.reshape(len(x_bhwc), -1)))
    return nn.Dense(2, kernel_init=nn.initializers.normal(0.01), name="regression")(x_bd)


# Ten networks of one level as one with a leading axis on parameters, inputs and outputs.
PatchNets = nn.vmap(PatchNet, in_axes=0, out_axes=0, variable_axes={"params": 0}, split_rngs={"params": True})

__all__ = ["FACE", "PATCH", "PatchNet", "PatchNets", "RegionNet", "abs_tanh", "cut_patches", "even_contrast"]
