"""Pooling over windows of an image: largest, mean and Euclidean length, with zero, "SAME" and ceil-mode borders."""

from collections.abc import Callable, Sequence
from functools import reduce

import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.formulation import current_formulation

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
  """Pixels beyond the border that windows reach: ((top, bottom), (left, right)).

  Args:
    size: height and width of the image.
    window: height and width in pixels.
    strides: steps in pixels.
    padding: "VALID": windows lie inside the image. "SAME": ceil(size / stride) windows, what they hang over shared by both
      sides, the odd pixel on the right and the bottom (as TensorFlow). "CEIL": the first window begins at the first
      pixel and the last may hang over the end: ceil((size − window) / stride) + 1 windows, without those that would begin
      outside of the image (as Caffe's pooling and PyTorch's `ceil_mode`). Else the pixels themselves.
  Raises:
    ValueError: an unknown padding, or a window that could lie wholly outside of the image.
  """
  if isinstance(padding, str):
    if padding not in ("VALID", "SAME", "CEIL"):
      raise ValueError(f"padding of a pool is {padding!r}: takes 'VALID', 'SAME', 'CEIL' or ((top, bottom), (left, right))")
    top_bottom, left_right = (_along(n, k, s, padding) for n, k, s in zip(size, window, strides))
  else:
    top_bottom, left_right = ((int(low), int(high)) for low, high in padding)
  for k, pad in zip(window, (top_bottom, left_right)):
    if not 0 <= min(pad) <= max(pad) < k:
      raise ValueError(f"padding of a pool is {padding!r}: each number must be 0 to {k - 1}, less than the window {window}")
  return top_bottom, left_right


def _windows(x: Array, axis: int, window: int, stride: int) -> list[Array]:
  """What each place of a window sees along one axis: `window` arrays."""
  count = (x.shape[axis] - window) // stride + 1
  return [lax.slice_in_dim(x, k, k + (count - 1) * stride + 1, stride, axis) for k in range(window)]


def _pool(x_bhwc: Array, window: Sequence[int], strides: Sequence[int], pads: Pads, empty: float, join: Callable) -> Array:
  """Reduces windows, first along columns and then along rows."""
  edges = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
  x_bhwc = lax.pad(x_bhwc, jnp.asarray(empty, x_bhwc.dtype), edges)
  for axis in (1, 2):
    x_bhwc = reduce(join, _windows(x_bhwc, axis, window[axis - 1], strides[axis - 1]))
  return x_bhwc


def max_pool(
  x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], padding: Padding = "VALID"
) -> Array:
  """The largest number of each window.

  Args:
    x_bhwc: [B, H, W, C] float.
    window: height and width in pixels.
    strides: steps in pixels.
    padding: see `pool_pads`; pixels outside of the image never count.
  Returns:
    [B, H', W', C].
  """
  pads = pool_pads(x_bhwc.shape[1:3], window, strides, padding)
  if current_formulation() == "xla":
    return lax.reduce_window(x_bhwc, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))
  return _pool(x_bhwc, window, strides, pads, -jnp.inf, jnp.maximum)


def _sum_pool(x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], pads: Pads) -> Array:
  if current_formulation() == "xla":
    return lax.reduce_window(x_bhwc, 0.0, lax.add, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))
  return _pool(x_bhwc, window, strides, pads, 0.0, jnp.add)


def mean_pool(
  x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], padding: Padding = "VALID"
) -> Array:
  """The mean over each window's pixels inside the image, summed in float32 or wider; arguments as for `max_pool`."""
  pads = pool_pads(x_bhwc.shape[1:3], window, strides, padding)
  wide = x_bhwc.astype(jnp.promote_types(x_bhwc.dtype, jnp.float32))
  total = _sum_pool(wide, window, strides, pads)
  ones = jnp.ones((1, *x_bhwc.shape[1:3], 1), wide.dtype)
  return (total / _sum_pool(ones, window, strides, pads)).astype(x_bhwc.dtype)


def l2_pool(
  x_bhwc: Array, window: tuple[int, int], strides: tuple[int, int], padding: Padding = "VALID"
) -> Array:
  """The square root of the sum of squares of each window, summed in float32 or wider; arguments as for `max_pool`.

  Where a window is all zero the gradient is defined as zero.
  Source: Sermanet et al., "Convolutional Neural Networks Applied to House Numbers Digit Classification", 2012 (Lp-pooling).
  """
  pads = pool_pads(x_bhwc.shape[1:3], window, strides, padding)
  wide = x_bhwc.astype(jnp.promote_types(x_bhwc.dtype, jnp.float32))
  square = _sum_pool(wide * wide, window, strides, pads)
  some = square > 0
  return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0).astype(x_bhwc.dtype)


__all__ = ["Padding", "l2_pool", "max_pool", "mean_pool", "pool_pads"]
