"""Maps of windows of a large image, computed in strips, which bounds memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

# Strips that are computed beside each other, as images of a batch: XLA's convolutions on a CPU spread over images, not over rows.
AT_ONCE = 4


def by_strips(map_of: Callable[[Array], Array], image_bhwc: Array, *, window: int, stride: int, rows: int) -> Array:
  """A function of all windows of an image, on some rows of windows at a time.

  Args:
    map_of: from [B, h, W, C] to [B, (h − window) // stride + 1, columns, ...], where each number depends on its window only.
    image_bhwc: [B, H, W, C], at least one window high.
    window: side of a window in pixels.
    stride: distance of neighbouring windows in pixels.
    rows: most rows of the map in a strip; four strips are computed at once.
  Returns:
    What `map_of` gives for the whole image.
  """
  batch, height = image_bhwc.shape[:2]
  total = (height - window) // stride + 1
  if total <= rows:
    return map_of(image_bhwc)
  groups = -(-total // (rows * AT_ONCE))
  rows = -(-total // (groups * AT_ONCE))  # no more than these strips need
  high = (rows - 1) * stride + window
  last = (groups * AT_ONCE - 1) * rows * stride
  image_bhwc = jnp.pad(image_bhwc, ((0, 0), (0, max(0, last + high - height)), (0, 0), (0, 0)))

  def of_group(top_g: Array) -> Array:
    part_gbhwc = jax.vmap(lambda top: lax.dynamic_slice_in_dim(image_bhwc, top, high, 1))(top_g)
    found = map_of(part_gbhwc.reshape(-1, *part_gbhwc.shape[2:]))
    return found.reshape(AT_ONCE, batch, *found.shape[1:])

  map_sgbrc = lax.map(of_group, rows * stride * jnp.arange(groups * AT_ONCE).reshape(groups, AT_ONCE))
  map_sbrc = map_sgbrc.reshape(groups * AT_ONCE, *map_sgbrc.shape[2:])
  return map_sbrc.swapaxes(0, 1).reshape(batch, groups * AT_ONCE * rows, *map_sbrc.shape[3:])[:, :total]


__all__ = ["AT_ONCE", "by_strips"]
