"""Geometric augmentations: mirror, shift, crop, rotation. The border is padded with its last pixel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxface.geometry.positions import affine_positions


class Window(NamedTuple):
  """The part of each image that fills the frame: pixel (i, j) samples the image at (top + scale·i, left + scale·j)."""

  scale_b: jax.Array
  top_b: jax.Array
  left_b: jax.Array


def draw(key_b: jax.Array, count: int) -> jax.Array:
  """Uniform numbers in 0..1 from each image's key: [count, B]."""
  return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(key_b).T


def mirror(image_bhwc: jax.Array, key_b: jax.Array, probability: float) -> jax.Array:
  """Swaps left and right."""
  on_b = draw(key_b, 1)[0] < probability
  return jnp.where(on_b[:, None, None, None], image_bhwc[:, :, ::-1], image_bhwc)


def shift(image_bhwc: jax.Array, key_b: jax.Array, most: int) -> jax.Array:
  """Shifts by whole pixels, from -most to most in each direction."""
  start_kb = jnp.floor(draw(key_b, 2) * (2 * most + 1)).astype(jnp.int32)
  padded = jnp.pad(image_bhwc, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")

  def cut(image_hwc: jax.Array, top: jax.Array, left: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice(image_hwc, (top, left, 0), image_bhwc.shape[1:])

  return jax.vmap(cut)(padded, start_kb[0], start_kb[1])


def crop_window(key_b: jax.Array, probability: float, least: float, size: tuple[int, int]) -> Window:
  """Random windows, between `least` and 1 of the image's sides, anywhere inside it; the full image if not chosen."""
  chosen, scale, top, left = draw(key_b, 4)
  scale_b = jnp.where(chosen < probability, least + (1 - least) * scale, 1.0)
  return Window(scale_b, top * (1 - scale_b) * size[0], left * (1 - scale_b) * size[1])


def whole_window(batch: int) -> Window:
  """The identity window."""
  return Window(jnp.ones(batch), jnp.zeros(batch), jnp.zeros(batch))


def angles(key_b: jax.Array, probability: float, degrees: float) -> jax.Array:
  """Random angles [B] in radians, 0 if not chosen."""
  chosen, angle = draw(key_b, 2)
  return jnp.where(chosen < probability, (2 * angle - 1) * jnp.deg2rad(degrees), 0.0)


def rotate(image_bhwc: jax.Array, angle_b: jax.Array, window: Window) -> jax.Array:
  """Rotates about the centre and crops the window, in one bilinear resampling.

  Args:
    image_bhwc: float.
    angle_b: radians, positive from the x axis (right) to the y axis (down).
    window: part of the rotated image to keep.
  """
  _, height, width, _ = image_bhwc.shape
  middle_y, middle_x = (height - 1) / 2, (width - 1) / 2

  def sample(image_hwc: jax.Array, angle: jax.Array, part: Window) -> jax.Array:
    cos, sin, scale = jnp.cos(angle), jnp.sin(angle), part.scale_b
    # The first pixel of the window, from the centre.
    y, x = _places(1, scale, part.top_b)[0] - middle_y, _places(1, scale, part.left_b)[0] - middle_x
    back = jnp.array([[cos * scale, sin * scale, cos * x + sin * y + middle_x], [-sin * scale, cos * scale, cos * y - sin * x + middle_y]])
    from_x, from_y = (jnp.clip(at, 0, most - 1) for at, most in zip(affine_positions(back, (height, width)), (width, height)))
    top, left = jnp.floor(from_y).astype(jnp.int32), jnp.floor(from_x).astype(jnp.int32)
    bottom, right = jnp.minimum(top + 1, height - 1), jnp.minimum(left + 1, width - 1)
    down, along = (from_y - top)[..., None], (from_x - left)[..., None]
    upper = image_hwc[top, left] * (1 - along) + image_hwc[top, right] * along
    lower = image_hwc[bottom, left] * (1 - along) + image_hwc[bottom, right] * along
    return upper * (1 - down) + lower * down

  return jax.vmap(sample)(image_bhwc, angle_b, window)


def _places(size: int, scale: jax.Array, start: jax.Array) -> jax.Array:
  """Centres of `size` pixels, in pixels of the source."""
  return (jnp.arange(size) + 0.5) * scale + start - 0.5


def window_matrix(scale_b: jax.Array, start_b: jax.Array, size: int) -> jax.Array:
  """Linear interpolation of one axis to a window, as a matrix [B, size, size]."""
  place_bi = jnp.clip(_places(size, scale_b[:, None], start_b[:, None]), 0, size - 1)
  return jnp.maximum(0.0, 1 - jnp.abs(place_bi[:, :, None] - jnp.arange(size)))
