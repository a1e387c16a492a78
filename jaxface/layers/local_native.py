"""Locally connected and locally shared layers in native code, called through XLA's foreign function interface.

The kernels are nearly all of such a layer: DeepFace's L4 has 63 million weights. Each is read once for the value and once for
the gradient of the input, and written once for its own, by all threads. What a position sees of the images is multiplied
where it lies, a few images at a time from the cache: nothing is unfolded. Beyond arguments and results a call takes as
much memory as the images once more (float32, padded), and the gradient of the input that of the result.
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
    corner: (top, left) padding in pixels; what else a window sees outside of the image is zero too.
    block: side of a region in positions.
    low_memory: of `plain`, see `jaxface.layers.local.locally_connected`.
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
    """The handler in the library."""
    return "JaxfaceLocal"

  @property
  def attributes(self) -> dict[str, Any]:
    """What the handler is told beside shapes."""
    return {"window": (*self.strides, *self.corner), "block": self.block}

  @property
  def transposes(self) -> bool:
    """Where positions have kernels of their own, `plain` has a gradient rule of its own."""
    return self.block > 1

  def plain(self, x_bhwc: Array, kernel: Array) -> Array:
    """The layer as a stack of matrix products."""
    places = self.result, self.strides, self.corner
    if self.block == 1:
      return connected(x_bhwc, kernel, *places, self.low_memory)
    return shared(x_bhwc, kernel, *places, self.block)


def regions_of(
  x_bhwc: Array, kernel: Array, out: Pair, strides: Pair, pads: tuple[Pair, Pair], block: int = 1, low_memory: bool | None = None
) -> Regions:
  """The geometry of a layer of `out` positions, with `pads` ((top, bottom), (left, right)); the rest as `Regions` has it."""
  corner = pads[0][0], pads[1][0]
  return Regions(
    x_bhwc.shape[1:], kernel.shape, (*out, kernel.shape[-1]), (strides[0], strides[1]), corner, block, low_memory
  )


def local_layer(x_bhwc: Array, kernel: Array, regions: Regions) -> Array:
  """The layer's result [B, H', W', O]: on a CPU by native code, where that is built, wanted and able; else by `Regions.plain`."""
  known = x_bhwc.dtype == kernel.dtype and x_bhwc.dtype in (jnp.float32, jnp.bfloat16)
  if current_formulation() == "onednn" and known and min(regions.corner) >= 0:
    return trilinear.value(regions, x_bhwc, kernel)
  return regions.plain(x_bhwc, kernel)


__all__ = ["Regions", "local_layer", "regions_of"]
