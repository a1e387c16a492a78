"""Resamples images through an affine transform: compiled, batched, differentiable, without aliasing on reduction."""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxface.alignment.similarity import invert
from jaxface.geometry.positions import affine_positions

Border = Literal["constant", "replicate"]
BORDERS = ("constant", "replicate")


@functools.partial(jax.jit, static_argnames=("size", "border", "antialias", "halvings"))
def warp(
  image_bhwc: ArrayLike, matrix_b23: ArrayLike, size: tuple[int, int], *, border: Border = "constant", value: ArrayLike = 0.0,
  antialias: bool = True, halvings: int | None = None, extent_b2: ArrayLike | None = None,
  averaged_b: ArrayLike = 0,
) -> Array:
  """Images after an affine transform, by bilinear interpolation; differentiable in the images and the transforms.

  Without reduction the result is that of `cv2.warpAffine` with INTER_LINEAR and the same matrix, but for OpenCV's rounding of
  positions to 1/32 pixel. Where the transform reduces, the image is first averaged over 2^n × 2^n pixels, with the largest 2^n not
  above the reduction, and smoothed by [a, 1 − 2a, a] so that the variance of the filter is that of a triangle as wide as an
  output pixel. The variance exceeds that by up to 2^n·0.29 pixels squared just after a power of two.

  Compiled once for each shape of the arguments; there is no other use of shapes, so that photos of varying size belong into
  frames of a few sizes (`extent_b2`).

  Args:
    image_bhwc: [B, H, W, C], uint8 or float.
    matrix_b23: [B, 2, 3], from points of the image to points of the result; pixel centres at whole numbers.
    size: (height, width) of the result.
    border: what is outside of the image: "constant" `value`, or "replicate" its nearest pixel.
    value: the constant, one number or one for each channel.
    antialias: average where the transform reduces.
    halvings: largest n for which means over 2^n × 2^n pixels are made; None for as many as the image allows. A known bound on the
      reduction, below 2^(halvings + 1), saves their time.
    extent_b2: [B, 2] (height, width) of the part of each frame, from its corner, that is the image; None for the full frame. The
      remainder should repeat the image's edge, see `align_faces`.
    averaged_b: a number or [B], n where an image already consists of means over 2^n × 2^n pixels, so that it is smoothed less.
  Returns:
    [B, *size, C] float32, or the type of a float image. A transform without inverse gives NaN.
  Raises:
    ValueError: an unknown border, or arguments of other shapes.
  """
  image, matrix = jnp.asarray(image_bhwc), jnp.asarray(matrix_b23)
  if border not in BORDERS:
    raise ValueError(f"border is {border!r}: needs one of {', '.join(BORDERS)}")
  if image.ndim != 4 or matrix.shape != (image.shape[0], 2, 3):
    raise ValueError(f"images have shape {image.shape} and matrices {matrix.shape}: needs [B, H, W, C] and [B, 2, 3]")
  image = image.astype(jnp.promote_types(image.dtype, jnp.float32) if jnp.issubdtype(image.dtype, jnp.floating) else jnp.float32)
  batch, height, width, channels = image.shape
  extent = jnp.broadcast_to(jnp.asarray([height, width] if extent_b2 is None else extent_b2), (batch, 2))
  back = invert(matrix.astype(image.dtype))
  outside = jnp.broadcast_to(jnp.asarray(value, image.dtype), (channels,))
  levels, level_b = [image], jnp.zeros(batch, jnp.int32)
  if antialias:
    # Source pixels per output pixel along the source's axes; lengths, so that no gradient passes through the choice.
    step_b2 = jax.lax.stop_gradient(jnp.linalg.norm(back[:, :, :2], axis=-1))
    possible = int(math.log2(max(1, min(height, width))))
    count = possible if halvings is None else min(halvings, possible)
    level_b = jnp.clip(jnp.floor(jnp.log2(jnp.maximum(step_b2.max(-1), 1.0))), 0, count).astype(jnp.int32)
    while len(levels) <= count:
      levels.append(_halve(levels[-1]))
    a_b2 = _smoothing(step_b2, level_b, jnp.broadcast_to(jnp.asarray(averaged_b), (batch,)))
    levels = [_smooth(level, a_b2) for level in levels]
  return jax.vmap(functools.partial(_sample, size=size, border=border))(
    _flat(levels), _shapes(levels)[level_b], level_b, back, extent, jnp.broadcast_to(outside, (batch, channels))
  )


def _halve(image: Array) -> Array:
  """Means of 2×2 pixels; an odd last row or column is repeated."""
  _, height, width, _ = image.shape
  image = jnp.pad(image, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
  return (image[:, ::2, ::2] + image[:, 1::2, ::2] + image[:, ::2, 1::2] + image[:, 1::2, 1::2]) / 4


def _smoothing(step_b2: Array, level_b: Array, averaged_b: Array) -> Array:
  """[B, 2] the weight a of the neighbours along x and y, in pixels of the level."""
  area = jnp.exp2(2.0 * level_b)[:, None]
  # Variances in pixels of the level: the triangle of the output pixel, less those of interpolation and of the means.
  missing = (step_b2**2 / area - 1) / 6 - (1 - jnp.exp2(-2.0 * (level_b + averaged_b)))[:, None] / 12
  return jnp.clip(missing / 2, 0, 0.25)


def _smooth(image: Array, a_b2: Array) -> Array:
  # Rows of pixels and channels as one axis, materialised with their repeated edges: XLA's loops over shifted slices are then
  # vectorised, and the taps of `_sample` do not compute them again.
  batch, height, width, channels = image.shape
  row_bhn = image.reshape(batch, height, width * channels)
  for axis, step, a_b in ((2, channels, a_b2[:, 0]), (1, 1, a_b2[:, 1])):
    a = a_b[:, None, None].astype(image.dtype)
    length = row_bhn.shape[axis]
    first, last = jax.lax.slice_in_dim(row_bhn, 0, step, axis=axis), jax.lax.slice_in_dim(row_bhn, length - step, length, axis=axis)
    padded = jax.lax.optimization_barrier(jnp.concatenate([first, row_bhn, last], axis))
    before, after = (jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in (0, 2 * step))
    row_bhn = (1 - 2 * a) * row_bhn + a * (before + after)
  return row_bhn.reshape(image.shape)


def _flat(levels: list[Array]) -> Array:
  """[B, pixels of all levels, C]."""
  return jnp.concatenate([level.reshape(level.shape[0], -1, level.shape[-1]) for level in levels], axis=1)


def _shapes(levels: list[Array]) -> Array:
  """[L, 3] first pixel, height and width of each level."""
  rows, start = [], 0
  for level in levels:
    rows.append((start, *level.shape[1:3]))
    start += level.shape[1] * level.shape[2]
  return jnp.asarray(rows, jnp.int32)


def _sample(
  pixel_nc: Array, shape_3: Array, level: Array, back_23: Array, extent_2: Array, outside_c: Array, *, size: tuple[int, int],
  border: str,
) -> Array:
  """One image: [*size, C]."""
  start, _, width = shape_3
  factor = (1 << level).astype(back_23.dtype)
  from_x, from_y = ((at + 0.5) / factor - 0.5 for at in affine_positions(back_23, size))
  # Rows and columns of this level that belong to the image.
  rows, columns = (-(-extent_2[axis] // (1 << level)) for axis in (0, 1))
  left, top = jnp.floor(from_x), jnp.floor(from_y)
  along, down = (from_x - left)[..., None], (from_y - top)[..., None]

  def tap(row: Array, column: Array) -> Array:
    # Far outside, a float is no int32.
    row, column = (jnp.clip(jnp.nan_to_num(at), -2, most + 1).astype(jnp.int32) for at, most in ((row, rows), (column, columns)))
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    at = start + jnp.clip(row, 0, rows - 1) * width + jnp.clip(column, 0, columns - 1)
    found = pixel_nc.at[at].get(mode="promise_in_bounds")
    return found if border == "replicate" else jnp.where(inside[..., None], found, outside_c)

  upper = tap(top, left) * (1 - along) + tap(top, left + 1) * along
  lower = tap(top + 1, left) * (1 - along) + tap(top + 1, left + 1) * along
  return upper * (1 - down) + lower * down


__all__ = ["BORDERS", "Border", "warp"]
