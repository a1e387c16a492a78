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


class Regions(NamedTuple):
  """Geometry of a layer, hashable.

  Attributes:
    image: (H, W, C) of the input.
    kernel: (R, S, kh, kw, C, O), one for each of R × S regions.
    result: (H', W', O).
    strides: (rows, columns).
    corner: (top, left) padding in pixels; what else a window sees outside of the image is zero too.
    block: side of a region in positions.
  """

  image: tuple[int, ...]
  kernel: tuple[int, ...]
  result: tuple[int, ...]
  strides: tuple[int, int]
  corner: tuple[int, int]
  block: int

  @property
  def symbol(self) -> str:
    """The handler in the library."""
    return "JaxfaceLocal"

  @property
  def attributes(self) -> dict[str, Any]:
    """What the handler is told beside shapes."""
    return {"window": (*self.strides, *self.corner), "block": self.block}


Pair = tuple[int, int]


def takes(x_bhwc: Array, kernel: Array, pads: tuple[Pair, Pair]) -> bool:
  """Whether a layer traced now goes to native code: where that is built and wanted, without cropping."""
  known = x_bhwc.dtype == kernel.dtype and x_bhwc.dtype in (jnp.float32, jnp.bfloat16)
  return current_formulation() == "onednn" and known and min(low for low, _ in pads) >= 0


def native_local(x_bhwc: Array, kernel: Array, out: Pair, strides: Pair, pads: tuple[Pair, Pair], block: int = 1) -> Array:
  """The layer's result [B, *out, O], with `pads` ((top, bottom), (left, right)); the rest as `Regions` has it."""
  result, corner = (*out, kernel.shape[-1]), (pads[0][0], pads[1][0])
  geometry = Regions(x_bhwc.shape[1:], kernel.shape, result, (strides[0], strides[1]), corner, block)
  return trilinear.value(geometry, x_bhwc, kernel)


__all__ = ["Regions", "native_local", "takes"]
