"""Locally connected and locally shared layers in native code, called through XLA's foreign function interface.

Most of the memory of such a layer is its kernel: DeepFace's L4 has 63 million weights. Each weight is read once for the value
and once for the input gradient, and its gradient is written once, by all threads. Windows are multiplied in place, a few
images at a time from the cache; nothing is unfolded. Beyond arguments and results a call allocates one copy of the images
(float32, padded); the input gradient allocates one of the result.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxface.layers import trilinear
from jaxface.layers.formulation import current_formulation
from jaxface.layers.local_plain import Pair, connected, shared


class Regions(NamedTuple):
  """Geometry of a layer, hashable.

  Attributes:
    image: (H, W, C) of the input.
    kernel: (R, S, kh, kw, C, O), one for each of R × S regions.
    result: (H', W', O).
    strides: (rows, columns).
    corner: (top, left) padding in pixels; pixels beyond the other borders are zero too.
    block: side length of a region in positions.
    low_memory: for `plain`, see `jaxface.layers.local.locally_connected`.
  """

  image: tuple[int, ...]
  kernel: tuple[int, ...]
  result: tuple[int, ...]
  strides: tuple[int, int]
  corner: tuple[int, int]
  block: int
  low_memory: bool | None = None

  @property
  def symbol(self) -> str:
    """Name of the handler in the library."""
    return "JaxfaceLocal"

  @property
  def attributes(self) -> dict[str, Any]:
    """Attributes for the handler."""
    return {"window": (*self.strides, *self.corner), "block": self.block}

  @property
  def transposes(self) -> bool:
    """Whether JAX can transpose `plain`; false if each position has its own kernel: `plain` then has a custom rule."""
    return self.block > 1

  def plain(self, x_bhwc: Array, kernel: Array) -> Array:
    """The layer as batched matrix products."""
    places = self.result, self.strides, self.corner
    if self.block == 1:
      return connected(x_bhwc, kernel, *places, self.low_memory)
    return shared(x_bhwc, kernel, *places, self.block)


def regions_of(
  x_bhwc: Array, kernel: Array, out: Pair, strides: Pair, pads: tuple[Pair, Pair], block: int = 1, low_memory: bool | None = None
) -> Regions:
  """The geometry of a layer of `out` positions with `pads` ((top, bottom), (left, right)); other arguments as in `Regions`."""
  corner = pads[0][0], pads[1][0]
  return Regions(
    x_bhwc.shape[1:], kernel.shape, (*out, kernel.shape[-1]), (strides[0], strides[1]), corner, block, low_memory
  )


def local_layer(x_bhwc: Array, kernel: Array, regions: Regions) -> Array:
  """The result [B, H', W', O]: by native code on a CPU if it is built, selected and applicable, else by `Regions.plain`."""
  known = x_bhwc.dtype == kernel.dtype and x_bhwc.dtype in (jnp.float32, jnp.bfloat16)
  if current_formulation() == "onednn" and known and min(regions.corner) >= 0:
    return trilinear.value(regions, x_bhwc, kernel)
  return regions.plain(x_bhwc, kernel)


__all__ = ["Regions", "local_layer", "regions_of"]
