"""Resizing by the mean over areas, from sums over rectangles: exact in integers, the same cost for every scale.

`integral` sums a photo once; the sum of any rectangle is then four numbers of it. Sums are int32 and may wrap around: the sum of a
rectangle is exact if it is below 2³¹, that is up to 8.4 million pixels.
"""

import jax
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


def bins(low: Array, high: Array, count: Array, size: int) -> tuple[Array, Array]:
  """Ends of the bins that divide an interval of pixels; neighbours share a pixel where the division is not even.

  Args:
    low: first pixel.
    high: pixel after the last one.
    count: number of bins.
    size: number of results; those beyond `count` are empty.
  Returns:
    [size] first pixel, and [size] pixel after the last one of each bin.
  Source: adaptive average pooling of PyTorch, which its `interpolate(mode="area")` is.
  """
  index = jnp.arange(size)
  length, some = high - low, jnp.maximum(count, 1)
  start, end = index * length // some, ((index + 1) * length + some - 1) // some
  inside = index < count
  return jnp.where(inside, low + start, 0), jnp.where(inside, low + end, 0)


def area_means(sums_whc: Array, x: tuple[Array, Array], y: tuple[Array, Array]) -> Array:
  """Means over the rectangles that bins of columns and of rows form.

  Args:
    sums_whc: [W + 1, H + 1, C], one photo of `integral`.
    x: first column and column after the last one of each of w bins; parts outside of the photo count as zeros.
    y: likewise of h bins of rows.
  Returns:
    [h, w, C] float32; zero where a bin is empty.
  """
  width, height = sums_whc.shape[0] - 1, sums_whc.shape[1] - 1
  (x0, x1), (y0, y1) = (tuple(jnp.clip(end, 0, size) for end in ends) for ends, size in ((x, width), (y, height)))
  across_whc = sums_whc[x1] - sums_whc[x0]
  sum_hwc = (across_whc[:, y1] - across_whc[:, y0]).swapaxes(0, 1).astype(jnp.float32)
  columns, rows = (jnp.maximum(high - low, 1).astype(jnp.float32) for low, high in (x, y))
  return sum_hwc / rows[:, None, None] / columns[:, None]


def crops(sums_bwhc: Array, photo_n: Array, box_n4: Array, side: int) -> Array:
  """Crops of photos, resized to squares by the mean over areas.

  Args:
    sums_bwhc: [B, W + 1, H + 1, C], from `integral`.
    photo_n: [N] int, the photo of each crop.
    box_n4: [N, 4] int32 pixels: x0, y0 first, x1, y1 after the last; parts outside of the photo count as zeros.
    side: height and width of the results.
  Returns:
    [N, side, side, C] float32 in 0..255.
  """

  def crop(photo: Array, box_4: Array) -> Array:
    x0, y0, x1, y1 = box_4
    count = jnp.asarray(side)
    (left, right), (top, bottom) = bins(x0, x1, count, side), bins(y0, y1, count, side)
    width, height = sums_bwhc.shape[1] - 1, sums_bwhc.shape[2] - 1
    cut_left, cut_right = jnp.clip(left, 0, width), jnp.clip(right, 0, width)
    cut_top, cut_bottom = jnp.clip(top, 0, height), jnp.clip(bottom, 0, height)

    def at(x: Array, y: Array) -> Array:
      return sums_bwhc[photo, x[None, :], y[:, None]]

    # All four at once from the whole array: strips of the full height, as in `area_means`, would be copied for each crop.
    sum_hwc = at(cut_right, cut_bottom) - at(cut_left, cut_bottom) - at(cut_right, cut_top) + at(cut_left, cut_top)
    rows, columns = (jnp.maximum(n, 1).astype(jnp.float32) for n in (bottom - top, right - left))
    return sum_hwc.astype(jnp.float32) / rows[:, None, None] / columns[:, None]

  return jax.vmap(crop)(photo_n, box_n4)


__all__ = ["area_means", "bins", "crops", "integral"]
