"""Maps of windows of a large image, computed in strips, which bounds memory."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax


def by_strips(map_of: Callable[[Array], Array], image_bhwc: Array, *, window: int, stride: int, rows: int) -> Array:
  """A function of all windows of an image, on some rows of windows at a time.

  Args:
    map_of: from [B, h, W, C] to [B, (h − window) // stride + 1, columns, ...], where each number depends on its window only.
    image_bhwc: [B, H, W, C], at least one window high.
    window: side of a window in pixels.
    stride: distance of neighbouring windows in pixels.
    rows: of the map that are computed at once.
  Returns:
    What `map_of` gives for the whole image.
  """
  batch, height = image_bhwc.shape[:2]
  total = (height - window) // stride + 1
  strips = -(-total // rows)
  if strips == 1:
    return map_of(image_bhwc)
  high = (rows - 1) * stride + window
  image_bhwc = jnp.pad(image_bhwc, ((0, 0), (0, max(0, (strips - 1) * rows * stride + high - height)), (0, 0), (0, 0)))
  map_sbrc = lax.map(lambda top: map_of(lax.dynamic_slice_in_dim(image_bhwc, top, high, 1)), rows * stride * jnp.arange(strips))
  return map_sbrc.swapaxes(0, 1).reshape(batch, strips * rows, *map_sbrc.shape[3:])[:, :total]


__all__ = ["by_strips"]
