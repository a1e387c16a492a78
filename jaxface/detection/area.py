"""Resizing by the mean over areas, from sums over rectangles: exact in integers, the same cost for every scale.

`integral` sums a photo once; the sum of any rectangle is then four numbers of it. Sums are int32 and may wrap around: the sum of a
rectangle is exact if it is below 2³¹, that is up to 8.4 million pixels.
"""

import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.formulation import by_platform


def integral(image_bhwc: Array) -> Array:
  """Sums over all rectangles that begin at the first pixel.

  Args:
    image_bhwc: [B, H, W, C] uint8.
  Returns:
    [B, W + 1, H + 1, C] int32: entry (x, y) is the sum over the first x columns and y rows.
  """
  down = _running_sums(image_bhwc.astype(jnp.int32))
  both = _running_sums(down.swapaxes(1, 2))
  return jnp.pad(both, ((0, 0), (1, 0), (1, 0), (0, 0)))


def _running_sums(x_bn: Array) -> Array:
  """Sums along the second axis: by XLA's scan on a CPU, where `cumsum` takes twenty times as long."""
  return by_platform(x_bn, cpu=_by_rows, other=_by_cumsum, of=())


def _by_cumsum(x_bn: Array) -> Array:
  return jnp.cumsum(x_bn, 1)


def _by_rows(x_bn: Array) -> Array:
  def add(total: Array, row: Array) -> tuple[Array, Array]:
    return total + row, total + row

  rows = x_bn.swapaxes(0, 1).reshape(x_bn.shape[1], -1)
  sums = lax.scan(add, jnp.zeros_like(rows[0]), rows)[1]
  return sums.reshape(x_bn.shape[1], x_bn.shape[0], *x_bn.shape[2:]).swapaxes(0, 1)


def bins(length: Array, count: Array, index: Array) -> tuple[Array, Array]:
  """Ends of the bins that divide an interval of pixels; neighbours share a pixel where the division is not even.

  Args:
    length: number of pixels.
    count: number of bins.
    index: which bins, from 0.
  Returns:
    First pixel, and pixel after the last one, of each bin; of the shape of all arguments together.
  Source: adaptive average pooling of PyTorch, which its `interpolate(mode="area")` is.
  """
  some = jnp.maximum(count, 1)
  return index * length // some, ((index + 1) * length + some - 1) // some


def area_means(sums_whc: Array, x: tuple[Array, Array], y: tuple[Array, Array]) -> Array:
  """Means over rectangles.

  Args:
    sums_whc: [W + 1, H + 1, C], one photo of `integral`.
    x: first column and column after the last one of each rectangle; parts outside of the photo count as zeros.
    y: likewise its rows. All four broadcast to one shape.
  Returns:
    [..., C] float32; zero where a rectangle is empty.
  """
  width, height = sums_whc.shape[0] - 1, sums_whc.shape[1] - 1
  (x0, x1), (y0, y1) = (tuple(jnp.clip(end, 0, size) for end in ends) for ends, size in ((x, width), (y, height)))
  sum_c = (sums_whc[x1, y1] - sums_whc[x0, y1] - sums_whc[x1, y0] + sums_whc[x0, y0]).astype(jnp.float32)
  columns, rows = (jnp.maximum(high - low, 1).astype(jnp.float32)[..., None] for low, high in (x, y))
  return sum_c / rows / columns


def crops(sums_mc: Array, size_2: Array, photo_n: Array, box_n4: Array, side: int) -> Array:
  """Crops of photos, resized to squares by the mean over areas.

  Args:
    sums_mc: [M, C], from `integral`, as rows (photo, x, y); further rows may follow, so that M is a class.
    size_2: numbers of x and of y, W + 1 and H + 1.
    photo_n: [N] int, the photo of each crop.
    box_n4: [N, 4] int32 pixels: x0, y0 first, x1, y1 after the last; parts outside of the photo count as zeros.
    side: height and width of the results.
  Returns:
    [N, side, side, C] float32 in 0..255.
  """
  columns, rows = size_2

  def at(x: Array, y: Array) -> Array:
    """Numbers of the sums at coordinates [N, w] and [N, h]: [N, h, w, C]."""
    inside_x, inside_y = jnp.clip(x, 0, columns - 1), jnp.clip(y, 0, rows - 1)
    return sums_mc[((photo_n[:, None] * columns + inside_x) * rows)[:, None, :] + inside_y[:, :, None]]

  index = jnp.arange(side)
  x0, x1 = (box_n4[:, :1] + end for end in bins(box_n4[:, 2:3] - box_n4[:, :1], jnp.asarray(side), index))
  y0, y1 = (box_n4[:, 1:2] + end for end in bins(box_n4[:, 3:] - box_n4[:, 1:2], jnp.asarray(side), index))
  sum_nhwc = (at(x1, y1) - at(x0, y1) - at(x1, y0) + at(x0, y0)).astype(jnp.float32)
  across, down = (jnp.maximum(high - low, 1).astype(jnp.float32) for low, high in ((x0, x1), (y0, y1)))
  return sum_nhwc / down[:, :, None, None] / across[:, None, :, None]


__all__ = ["area_means", "bins", "crops", "integral"]
