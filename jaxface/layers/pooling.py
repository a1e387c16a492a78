"""Max, mean and L2 pooling, with explicit, "SAME", "VALID" or ceil-mode padding."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.layers.formulation import by_platform, current_formulation

Padding = str | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], tuple[int, int]]


def _along(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
  if padding == "VALID":
    return 0, 0
  if padding == "SAME":
    return lax.padtype_to_pads((size,), (window,), (stride,), "SAME")[0]
  count = max(1, -(-(size - window) // stride) + 1)
  if (count - 1) * stride >= size:
    count -= 1
  return 0, max(0, (count - 1) * stride + window - size)


def pool_pads(size: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Padding) -> Pads:
  """The padding ((top, bottom), (left, right)) in pixels.

  Args:
    size: height and width of the image.
    window: height and width in pixels.
    strides: steps in pixels.
    padding: "VALID": windows lie inside the image. "SAME": ceil(size / stride) windows, padded on both sides, the
      odd pixel on the right and the bottom (as in TensorFlow). "CEIL": the first window begins at the first pixel and the
      last may reach beyond the end: ceil((size − window) / stride) + 1 windows, without those that would begin outside of
      the image (as Caffe's pooling and PyTorch's `ceil_mode`). Otherwise the padding itself, in pixels.
  Raises:
    ValueError: an unknown padding, a window that could lie entirely outside of the image, or one larger than the image.
  """
  if isinstance(padding, str):
    if padding not in ("VALID", "SAME", "CEIL"):
      raise ValueError(f"padding of a pool is {padding!r}: takes 'VALID', 'SAME', 'CEIL' or ((top, bottom), (left, right))")
    top_bottom, left_right = (_along(n, k, s, padding) for n, k, s in zip(size, window, strides))
  else:
    top_bottom, left_right = ((int(low), int(high)) for low, high in padding)
  for n, k, pad in zip(size, window, (top_bottom, left_right)):
    if not 0 <= min(pad) <= max(pad) < k:
      raise ValueError(f"padding of a pool is {padding!r}: each number must be 0 to {k - 1}, less than the window {window}")
    if n + sum(pad) < k:
      raise ValueError(f"pool with window {window} and padding {padding!r} does not fit into an image of {size[0]}x{size[1]} pixels")
  return top_bottom, left_right


def _windows(x: Array, axis: int, window: int, stride: int) -> list[Array]:
  """The input at each window position along one axis: `window` arrays."""
  count = (x.shape[axis] - window) // stride + 1
  return [lax.slice_in_dim(x, k, k + (count - 1) * stride + 1, stride, axis) for k in range(window)]


def _padded(x: Array, axis: int, low: int, high: int, value: float) -> Array:
  """`x` padded with `value` along one axis; negative amounts crop."""
  amounts = [(0, 0, 0)] * x.ndim
  amounts[axis] = (low, high, 0)
  return lax.pad(x, jnp.asarray(value, x.dtype), amounts)


class _Line(NamedTuple):
  """Windows along one axis of an array.

  Window position k reads every stride-th pixel from k on. If the axis is split into parts of one stride, that is the same pixel
  of each part, so both directions copy contiguous rows. The gradient of a strided slice would be a scatter.
  """

  axis: int
  window: int
  stride: int
  pad: tuple[int, int]

  def count(self, size: int) -> int:
    return (size + sum(self.pad) - self.window) // self.stride + 1

  def stretches(self, size: int) -> int:
    return self.count(size) - 1 + -(-self.window // self.stride)

  def places(self, x: Array, empty: float) -> list[Array]:
    """The input at each window position: `window` arrays."""
    size, axis, stride = x.shape[self.axis], self.axis, self.stride
    count, stretches = self.count(size), self.stretches(size)
    x = _padded(x, axis, self.pad[0], stretches * stride - size - self.pad[0], empty)
    x = x.reshape(*x.shape[:axis], stretches, stride, *x.shape[axis + 1 :])
    pixels = (lax.index_in_dim(x, k % stride, axis + 1, keepdims=False) for k in range(self.window))
    return [lax.slice_in_dim(pixel, k // stride, k // stride + count, axis=axis) for k, pixel in enumerate(pixels)]

  def spread(self, places: Sequence[Array], size: int) -> Array:
    """The transpose of `places`: each pixel gets the sum over the windows that contain it."""
    axis, stride, stretches = self.axis, self.stride, self.stretches(size)
    spare = stretches - self.count(size)
    laid = [_padded(place, axis, k // stride, spare - k // stride, 0) for k, place in enumerate(places)]
    unseen = [jnp.zeros_like(laid[0])] * (stride - self.window)
    x = jnp.stack([reduce(jnp.add, laid[k::stride]) for k in range(min(stride, self.window))] + unseen, axis + 1)
    x = x.reshape(*x.shape[:axis], stretches * stride, *x.shape[axis + 2 :])
    return _padded(x, axis, -self.pad[0], size + self.pad[0] - stretches * stride, 0)


def _best(x: Array, line: _Line) -> tuple[Array, Array]:
  """The maximum of each window, and its first position."""
  best, *rest = line.places(x, -jnp.inf)
  place = jnp.zeros(best.shape, jnp.uint8 if line.window <= 256 else jnp.int32)
  for k, other in enumerate(rest, 1):
    place = jnp.where(other > best, jnp.asarray(k, place.dtype), place)
    best = jnp.maximum(best, other)
  return best, place


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _line_max(x: Array, line: _Line, size: int) -> Array:
  return _best(x, line)[0]


def _line_max_pull_back(line: _Line, size: int, place: Array, dy: Array) -> tuple[Array]:
  # Several windows may add to one pixel: narrow dtypes are summed in a wide one, which is also faster than rounding each time.
  wide = dy.astype(jnp.promote_types(dy.dtype, jnp.float32))
  return (line.spread([jnp.where(place == k, wide, 0) for k in range(line.window)], size).astype(dy.dtype),)


_line_max.defvjp(lambda x, line, size: _best(x, line), _line_max_pull_back)


def max_pool(
  x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], padding: Padding = "VALID"
) -> Array:
  """The maximum of each window.

  The gradient goes to the first pixel, row by row, that attains it, in every formulation. On a CPU windows are reduced along
  columns and then along rows, because XLA's own gradient takes about ten times as long there.

  Args:
    x_bhwc: [B, H, W, C] float.
    window: height and width in pixels.
    strides: steps in pixels.
    padding: see `pool_pads`; pixels outside of the image are ignored.
  Returns:
    [B, H', W', C].
  """
  pads = pool_pads(x_bhwc.shape[1:3], window, strides, padding)
  return _pooled(x_bhwc, _Largest(window, strides, pads))


class _Largest(NamedTuple):
  """The maximum of each window."""

  window: tuple[int, int]
  strides: tuple[int, int]
  pads: Pads

  def by_lines(self, x_bhwc: Array) -> Array:
    for axis in (2, 1):
      line = _Line(axis, self.window[axis - 1], self.strides[axis - 1], self.pads[axis - 1])
      x_bhwc = _line_max(x_bhwc, line, x_bhwc.shape[axis])
    return x_bhwc

  def whole(self, x_bhwc: Array) -> Array:
    window, strides = (1, *self.window, 1), (1, *self.strides, 1)
    return lax.reduce_window(x_bhwc, -jnp.inf, lax.max, window, strides, ((0, 0), *self.pads, (0, 0)))


class _Sum(NamedTuple):
  """The sum of each window."""

  window: tuple[int, int]
  strides: tuple[int, int]
  pads: Pads

  def by_lines(self, x_bhwc: Array) -> Array:
    x_bhwc = jnp.pad(x_bhwc, ((0, 0), *self.pads, (0, 0)))
    for axis in (1, 2):
      x_bhwc = reduce(jnp.add, _windows(x_bhwc, axis, self.window[axis - 1], self.strides[axis - 1]))
    return x_bhwc

  def whole(self, x_bhwc: Array) -> Array:
    window, strides = (1, *self.window, 1), (1, *self.strides, 1)
    return lax.reduce_window(x_bhwc, 0.0, lax.add, window, strides, ((0, 0), *self.pads, (0, 0)))


def _pooled(x_bhwc: Array, pool: _Largest | _Sum) -> Array:
  """Pools along one axis and then the other on a CPU, by XLA's operation elsewhere."""
  if current_formulation() == "xla":
    return pool.whole(x_bhwc)
  return by_platform(x_bhwc, cpu=type(pool).by_lines, other=type(pool).whole, of=(pool,))


def _pixels_inside(size: int, window: int, stride: int, pad: tuple[int, int]) -> np.ndarray:
  """Number of pixels inside the image for each window along one axis."""
  first = np.arange(-pad[0], size + pad[1] - window + 1, stride)
  return np.minimum(first + window, size) - np.maximum(first, 0)


def mean_pool(
  x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], padding: Padding = "VALID"
) -> Array:
  """The mean over the pixels of each window inside the image, summed in float32 or wider; arguments as for `max_pool`."""
  pads = pool_pads(x_bhwc.shape[1:3], window, strides, padding)
  wide = x_bhwc.astype(jnp.promote_types(x_bhwc.dtype, jnp.float32))
  rows, columns = map(_pixels_inside, x_bhwc.shape[1:3], window, strides, pads)
  pixels_hw1 = jnp.asarray(rows[:, None, None] * columns[:, None], wide.dtype)
  return (_pooled(wide, _Sum(window, strides, pads)) / pixels_hw1).astype(x_bhwc.dtype)


def l2_pool(
  x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], padding: Padding = "VALID"
) -> Array:
  """The square root of the sum of squares of each window, summed in float32 or wider; arguments as for `max_pool`.

  The gradient of an all-zero window is defined as zero.
  Source: Sermanet et al., "Convolutional Neural Networks Applied to House Numbers Digit Classification", 2012 (Lp-pooling).
  """
  pads = pool_pads(x_bhwc.shape[1:3], window, strides, padding)
  wide = x_bhwc.astype(jnp.promote_types(x_bhwc.dtype, jnp.float32))
  square = _pooled(wide * wide, _Sum(window, strides, pads))
  some = square > 0
  return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0).astype(x_bhwc.dtype)


__all__ = ["Padding", "l2_pool", "max_pool", "mean_pool", "pool_pads"]
