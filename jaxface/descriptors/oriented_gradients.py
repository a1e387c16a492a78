"""Histograms of oriented gradients, normalised in overlapping blocks of cells."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

_CLIP, _EPSILON = 0.2, 1e-5


@partial(jax.jit, static_argnames=("orientations", "cell", "block"))
def hog(image: ArrayLike, *, orientations: int = 9, cell: int = 8, block: int = 2) -> jax.Array:
  """Histograms of gradient directions of images.

  Gradients are differences of the two neighbours, zero on the border; of several channels the one with the largest gradient counts. A
  direction has no sign; its whole magnitude goes to one bin. Cells are means over their pixels. Each block is scaled to length
  one, clipped at 0.2 and scaled again (L2-Hys). The numbers and their order are those of scikit-image's `hog`.

  Args:
    image: [B, H, W] or [B, H, W, C] images. Pixels below and right of the last whole cell play no part.
    orientations: bins of 180 degrees.
    cell: side of a cell in pixels.
    block: side of a block in cells; blocks overlap by all but one cell.
  Returns:
    [B, block rows, block columns, block, block, orientations] float32.
  Raises:
    AssertionError: the images have another rank.
    ValueError: images smaller than a block, or an option that is not positive.
  Source: N. Dalal, B. Triggs, "Histograms of Oriented Gradients for Human Detection", 2005.
  """
  image = jnp.asarray(image, jnp.float32)
  chex.assert_rank(image, {3, 4})
  if min(orientations, cell, block) < 1 or min(image.shape[1:3]) < max(cell * block, 2):
    raise ValueError(
      f"images {image.shape} with {orientations} orientations: blocks of {block} cells of {cell} pixels need {cell * block} pixels"
    )
  image = image if image.ndim == 4 else image[..., None]
  count, height, width, _ = image.shape
  rows, columns = height // cell, width // cell
  dy, dx = (_gradient(image, axis)[:, : rows * cell, : columns * cell] for axis in (1, 2))
  largest = jnp.argmax(dx**2 + dy**2, -1, keepdims=True)
  dy, dx = (jnp.take_along_axis(slope, largest, -1)[..., 0] for slope in (dy, dx))
  size = jnp.hypot(dx, dy)
  bin_bhw = _bins(dy, dx, orientations)
  cell_brco = jnp.stack(
    [jnp.where(bin_bhw == o, size, 0).reshape(count, rows, cell, columns, cell).mean((2, 4)) for o in range(orientations)], -1
  )
  parts = [
    cell_brco[:, y : y + rows - block + 1, x : x + columns - block + 1] for y in range(block) for x in range(block)
  ]
  block_brcko = jnp.stack(parts, 3)
  return _unit(jnp.minimum(_unit(block_brcko), _CLIP)).reshape(*block_brcko.shape[:3], block, block, orientations)


def _gradient(image: jax.Array, axis: int) -> jax.Array:
  after, before = (jax.lax.slice_in_dim(image, *ends, axis=axis) for ends in ((2, image.shape[axis]), (0, image.shape[axis] - 2)))
  return jnp.pad(after - before, [(1, 1) if place == axis else (0, 0) for place in range(image.ndim)])


def _bins(dy: jax.Array, dx: jax.Array, orientations: int) -> jax.Array:
  """Number of the bin of each direction, by the side of the bins' edges on which it is: exact where angles would be rounded."""
  sign = jnp.where((dy < 0) | ((dy == 0) & (dx < 0)), -1.0, 1.0)
  dy, dx = sign * dy, sign * dx
  found = jnp.zeros(dy.shape, jnp.int32)
  for edge in range(1, orientations):
    angle = math.pi * edge / orientations
    # Rounded, so that sine and cosine of 45 degrees are equal and the cosine of 90 is zero.
    found += dy * round(math.cos(angle), 12) - dx * round(math.sin(angle), 12) >= 0
  return jnp.where((dy == 0) & (dx == 0), 0, found)


def _unit(x: jax.Array) -> jax.Array:
  return x / jnp.sqrt(jnp.square(x).sum((-2, -1), keepdims=True) + _EPSILON**2)


__all__ = ["hog"]
