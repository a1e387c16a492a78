"""Augmentations that reduce detail: low resolution and blur, as matrices, which are fast on any accelerator.

Both are linear and equal for all rows and all columns, and so is a crop: the active ones are multiplied into one matrix per
axis, and an image is resampled once.
"""

import jax
import jax.numpy as jnp

from jaxface.data.augment_geometry import draw

# By default accelerators round pixels to bfloat16.
EXACT = jax.lax.Precision.HIGHEST


def pixel_shares(key_b: jax.Array, probability: float, least: float) -> jax.Array:
  """Random resolutions [B] between `least` and 1 of the full one; 1 if not chosen."""
  chosen, share = draw(key_b, 2)
  return jnp.where(chosen < probability, least + (1 - least) * share, 1.0)


def low_resolution_matrix(share_b: jax.Array, size: int) -> jax.Array:
  """One axis averaged over fewer, larger pixels, then interpolated back: [B, size, size]."""
  few_b = jnp.maximum(2.0, jnp.round(share_b * size))[:, None, None]
  ratio = size / few_b
  index = jnp.arange(size, dtype=jnp.float32)
  fine, coarse = index[None, None, :], index[None, :, None]
  overlap = jnp.minimum(fine + 1, (coarse + 1) * ratio) - jnp.maximum(fine, coarse * ratio)
  down = jnp.maximum(0.0, overlap) / ratio
  place = jnp.clip((index[None, :, None] + 0.5) / ratio - 0.5, 0, few_b - 1)
  up = jnp.maximum(0.0, 1 - jnp.abs(place - fine))
  return jnp.matmul(up, down, precision=EXACT)


def blur_deviations(key_b: jax.Array, probability: float, most: float) -> jax.Array:
  """Random standard deviations [B] in pixels, up to `most`; 0 if not chosen."""
  chosen, deviation = draw(key_b, 2)
  return jnp.where(chosen < probability, deviation * most, 0.0)


def blur_matrix(deviation_b: jax.Array, size: int) -> jax.Array:
  """Gaussian blur of one axis: [B, size, size], each row sums to 1; the identity at deviation 0."""
  offset = jnp.arange(size)[:, None] - jnp.arange(size)
  weight = jnp.exp(-0.5 * (offset / jnp.maximum(deviation_b, 1e-2)[:, None, None]) ** 2)
  return weight / weight.sum(2, keepdims=True)


def apply_matrices(image_bhwc: jax.Array, row_bhh: jax.Array, column_bww: jax.Array) -> jax.Array:
  """Applies a matrix to each axis of each image."""
  image_bhwc = jnp.einsum("bij,bjwc->biwc", row_bhh, image_bhwc, precision=EXACT)
  return jnp.einsum("bij,bhjc->bhic", column_bww, image_bhwc, precision=EXACT)
