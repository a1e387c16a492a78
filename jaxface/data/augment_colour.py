"""Augmentations of pixel values: colour, inversion, noise, cut-out. Images are float in 0..255, and may exceed it slightly."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.augment_geometry import draw

MIDDLE = 127.5
# Luma of red, green and blue (ITU-R BT.601), and the other axes of YIQ, whose I-Q plane contains the hue.
LUMA = np.float32([0.299, 0.587, 0.114])
YIQ = np.float32([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def brightness_contrast(
  image_bhwc: jax.Array, key_b: jax.Array, probability: float, brightness: float, contrast: float
) -> jax.Array:
  """Scales values about the middle grey by 1 ± contrast and adds ± brightness, a share of the full range."""
  chosen, added, scaled = draw(key_b, 3)
  on_b = chosen < probability
  gain_b = jnp.where(on_b, 1 + (2 * scaled - 1) * contrast, 1.0)
  offset_b = jnp.where(on_b, (2 * added - 1) * brightness * 255, 0.0) + MIDDLE * (1 - gain_b)
  return image_bhwc * gain_b[:, None, None, None] + offset_b[:, None, None, None]


def saturation_hue(
  image_bhwc: jax.Array, key_b: jax.Array, probability: float, saturation: float, hue: float
) -> jax.Array:
  """Scales the distance from grey by 1 ± saturation, and rotates the hue by ± hue, a share of the full circle."""
  chosen, scaled, turned = draw(key_b, 3)
  on_b = chosen < probability
  gain_b = jnp.where(on_b, 1 + (2 * scaled - 1) * saturation, 1.0)
  angle_b = jnp.where(on_b, (2 * turned - 1) * hue * 2 * np.pi, 0.0)
  cos, sin, zero, one = gain_b * jnp.cos(angle_b), gain_b * jnp.sin(angle_b), jnp.zeros_like(gain_b), jnp.ones_like(gain_b)
  turn = jnp.stack([jnp.stack(row, -1) for row in ([one, zero, zero], [zero, cos, -sin], [zero, sin, cos])], 1)
  matrix = jnp.einsum("ij,bjk,kl->bil", np.linalg.inv(YIQ), turn, YIQ, precision=jax.lax.Precision.HIGHEST)
  turned_bhwc = jnp.einsum("bhwc,bdc->bhwd", image_bhwc, matrix, precision=jax.lax.Precision.HIGHEST)
  return jnp.where(on_b[:, None, None, None], turned_bhwc, image_bhwc)


def grey(image_bhwc: jax.Array, key_b: jax.Array, probability: float) -> jax.Array:
  """Replaces the colour by its luma."""
  on_b = draw(key_b, 1)[0] < probability
  # Three slices: a sum over an axis of length three is thirty times slower on CPU.
  luma = sum(image_bhwc[..., i : i + 1] * LUMA[i] for i in range(3))
  return jnp.where(on_b[:, None, None, None], luma, image_bhwc)


def invert(image_bhwc: jax.Array, key_b: jax.Array, probability: float) -> jax.Array:
  """The negative: 255 - value."""
  on_b = draw(key_b, 1)[0] < probability
  return jnp.where(on_b[:, None, None, None], 255 - image_bhwc, image_bhwc)


def noise(image_bhwc: jax.Array, key_b: jax.Array, probability: float, most: float) -> jax.Array:
  """Adds Gaussian noise, of a standard deviation up to `most` in units of 0..255."""
  chosen, deviation = draw(key_b, 2)
  deviation_b = jnp.where(chosen < probability, deviation * most, 0.0)
  grain = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), image_bhwc.shape[1:]))(key_b)
  return image_bhwc + deviation_b[:, None, None, None] * grain


def cut_out(image_bhwc: jax.Array, key_b: jax.Array, probability: float, most: float) -> jax.Array:
  """Fills a rectangle with middle grey; its sides are between most / 2 and `most`, as a share of the image's."""
  _, height, width, _ = image_bhwc.shape
  chosen, tall, wide, top, left = draw(key_b, 5)

  def inside(size: int, share_b: jax.Array, start_b: jax.Array) -> jax.Array:
    length_b = most * (0.5 + 0.5 * share_b) * size
    place = jnp.arange(size) + 0.5 - (start_b * (size - length_b))[:, None]
    return (place >= 0) & (place < length_b[:, None])

  hole = inside(height, tall, top)[:, :, None] & inside(width, wide, left)[:, None, :] & (chosen < probability)[:, None, None]
  return jnp.where(hole[..., None], MIDDLE, image_bhwc)
