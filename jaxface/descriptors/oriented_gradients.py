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
  dy, dx = _largest(*(_gradient(image, axis)[:, : rows * cell, : columns * cell] for axis in (1, 2)))
  # Sums over the rows of a cell first, as sums of slices, and products for the rest: reductions over short axes are slow on CPUs.
  row_bro = []
  for size_bhw in _parts(dy, dx, orientations):
    size_brkw = size_bhw.reshape(count, rows, cell, columns * cell)
    row_bro.append(sum(size_brkw[:, :, k] for k in range(cell)))
  row_brock = jnp.stack(row_bro, 2).reshape(count, rows, orientations, columns, cell)
  cell_brco = jnp.einsum("brock,k->brco", row_brock, jnp.full(cell, 1 / cell**2), precision="highest")
  block_brcn = jnp.concatenate(
    [cell_brco[:, y : y + rows - block + 1, x : x + columns - block + 1] for y in range(block) for x in range(block)], -1
  )
  return _unit(jnp.minimum(_unit(block_brcn), _CLIP)).reshape(*block_brcn.shape[:3], block, block, orientations)


def _gradient(image: jax.Array, axis: int) -> jax.Array:
  after, before = (jax.lax.slice_in_dim(image, *ends, axis=axis) for ends in ((2, image.shape[axis]), (0, image.shape[axis] - 2)))
  return jnp.pad(after - before, [(1, 1) if place == axis else (0, 0) for place in range(image.ndim)])


def _largest(dy_bhwc: jax.Array, dx_bhwc: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Of the channel with the largest gradient, the first of equal ones."""
  dy, dx = dy_bhwc[..., 0], dx_bhwc[..., 0]
  for other_dy, other_dx in zip(*(jnp.moveaxis(slope[..., 1:], -1, 0) for slope in (dy_bhwc, dx_bhwc))):
    larger = other_dx**2 + other_dy**2 > dx**2 + dy**2
    dy, dx = jnp.where(larger, other_dy, dy), jnp.where(larger, other_dx, dx)
  return dy, dx


def _parts(dy: jax.Array, dx: jax.Array, orientations: int) -> list[jax.Array]:
  """Magnitudes of the gradients in each bin, zero elsewhere: by the side of the bin's two edges on which a direction is, exact where
  angles would be rounded. No number of a bin is computed, which XLA would repeat for each of them."""
  sign = jnp.where((dy < 0) | ((dy == 0) & (dx < 0)), -1.0, 1.0)
  dy, dx = sign * dy, sign * dx
  square = dx**2 + dy**2
  size = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
  everywhere = jnp.full(size.shape, True)
  beyond = [everywhere]  # each edge
  for edge in range(1, orientations):
    angle = math.pi * edge / orientations
    # Rounded, so that sine and cosine of 45 degrees are equal and the cosine of 90 is zero.
    beyond.append(dy * round(math.cos(angle), 12) - dx * round(math.sin(angle), 12) >= 0)
  return [jnp.where(before & ~after, size, 0) for before, after in zip(beyond, [*beyond[1:], ~everywhere])]


def _unit(x_brcn: jax.Array) -> jax.Array:
  square_brc = jnp.einsum("brcn,brcn->brc", x_brcn, x_brcn, precision="highest")
  return x_brcn / jnp.sqrt(square_brc + _EPSILON**2)[..., None]


__all__ = ["hog"]
