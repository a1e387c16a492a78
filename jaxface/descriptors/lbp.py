"""Local binary patterns: which neighbours of a pixel are at least as bright as it, and histograms of that in cells of a face."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

_PIXELS = 1 << 17


def uniform_labels(neighbours: int) -> int:
  """Number of labels that `local_binary_patterns` gives: the P (P − 1) + 2 uniform patterns, and one for all others."""
  return neighbours * (neighbours - 1) + 3


@partial(jax.jit, static_argnames=("radius", "neighbours"))
def local_binary_patterns(grey_bhw: ArrayLike, *, radius: float = 1.0, neighbours: int = 8) -> jax.Array:
  """Label of the uniform pattern around each pixel.

  Neighbours are on a circle, the first to the right, the next ones counter-clockwise; values between pixels are interpolated
  linearly, and zero outside of the image. Bit p is set where neighbour p is at least as bright as the pixel. A pattern is uniform if it
  changes at most twice around the circle. Labels are those of scikit-image's `local_binary_pattern` with "nri_uniform", except in flat
  regions: differences are interpolated here, not values, so that rounding does not make an equal neighbour darker.

  Args:
    grey_bhw: [B, H, W] images.
    radius: of the circle, in pixels.
    neighbours: P, points on the circle.
  Returns:
    [B, H, W] int32: 0 for no bit, P (P − 1) + 1 for all, P (P − 1) + 2 for a pattern that is not uniform; between them
    1 + (ones − 1) P + r, where the run of ones begins at neighbour (P − r) mod P.
  Raises:
    AssertionError: the images are not [B, H, W].
    ValueError: fewer than two neighbours, or a radius that is not positive.
  Source: T. Ojala, M. Pietikäinen, T. Mäenpää, "Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local
    Binary Patterns", 2002; T. Ahonen, A. Hadid, M. Pietikäinen, "Face Description with Local Binary Patterns", 2006.
  """
  grey_bhw = jnp.asarray(grey_bhw, jnp.float32)
  chex.assert_rank(grey_bhw, 3)
  if neighbours < 2 or not radius > 0:
    raise ValueError(f"{neighbours} neighbours at radius {radius}: at least two neighbours and a positive radius are needed")
  bits = [_difference(grey_bhw, *_place(p, neighbours, radius)) >= 0 for p in range(neighbours)]
  begins = [bit & ~bits[p - 1] for p, bit in enumerate(bits)]  # the first one of a run
  # Sums of arrays, which become one loop over the pixels; reductions over a stack of them take several times as long on CPUs.
  ones, runs = (sum(each.astype(jnp.int32) for each in several) for several in (bits, begins))
  turn = sum(begin.astype(jnp.int32) * (-p % neighbours) for p, begin in enumerate(begins))  # of the only run
  label = jnp.where(ones == 0, 0, 1 + (ones - 1) * neighbours + turn)
  return jnp.where(runs > 1, uniform_labels(neighbours) - 1, label)


@partial(jax.jit, static_argnames=("cells", "radius", "neighbours"))
def lbp_histograms(
  grey_bhw: ArrayLike, *, cells: tuple[int, int] = (7, 7), radius: float = 2.0, neighbours: int = 8
) -> jax.Array:
  """Histograms of the patterns in each cell of a grid, one after the other.

  Args:
    grey_bhw: [B, H, W] images of aligned faces.
    cells: rows and columns of the grid; where they do not divide the image, cells differ by one pixel.
    radius: of the circle, in pixels.
    neighbours: P, points on the circle.
  Returns:
    [B, rows · columns · (P (P − 1) + 3)] float32, cells from left to right and from top to bottom; each histogram has the sum 1.
  Raises:
    AssertionError: the images are not [B, H, W].
    ValueError: more cells than pixels, or what `local_binary_patterns` refuses.
  Source: Ahonen et al., 2006: 7 × 7 cells, radius 2, 8 neighbours, the distance χ².
  """
  grey_bhw = jnp.asarray(grey_bhw)
  chex.assert_rank(grey_bhw, 3)
  (count, height, width), (rows, columns) = grey_bhw.shape, cells
  if not (1 <= rows <= height and 1 <= columns <= width):
    raise ValueError(f"{rows} × {columns} cells in images of {height} × {width} pixels: each needs at least one pixel")
  labels = uniform_labels(neighbours)
  cell_hw = (jnp.arange(height) * rows // height)[:, None] * columns + jnp.arange(width) * columns // width

  def histograms(one_hw: jax.Array) -> jax.Array:
    label_hw = local_binary_patterns(one_hw[None], radius=radius, neighbours=neighbours)[0]
    return jnp.bincount((cell_hw * labels + label_hw).ravel(), length=rows * columns * labels)

  # A few images at a time: what is counted stays in the caches of a CPU.
  counted = jax.lax.map(histograms, grey_bhw, batch_size=max(1, _PIXELS // (height * width))).reshape(count, rows * columns, labels)
  return (counted / counted.sum(-1, keepdims=True)).reshape(count, -1).astype(jnp.float32)


def _place(p: int, neighbours: int, radius: float) -> tuple[float, float]:
  """Row and column of a neighbour from its pixel. Rounded, so that those on whole pixels are not interpolated."""
  angle = 2 * math.pi * p / neighbours
  return round(-radius * math.sin(angle), 5), round(radius * math.cos(angle), 5)


def _difference(grey_bhw: jax.Array, down: float, right: float) -> jax.Array:
  """The image at a displacement, minus the image."""
  height, width = grey_bhw.shape[1:]
  top, left = math.floor(down), math.floor(right)
  part_down, part_right = down - top, right - left
  edge = max(abs(top), abs(top + 1), abs(left), abs(left + 1))
  padded = jnp.pad(grey_bhw, ((0, 0), (edge, edge), (edge, edge)))
  total = jnp.zeros_like(grey_bhw)
  for row, row_weight in ((top, 1 - part_down), (top + 1, part_down)):
    for column, column_weight in ((left, 1 - part_right), (left + 1, part_right)):
      if weight := row_weight * column_weight:
        y, x = edge + row, edge + column
        total += weight * (padded[:, y : y + height, x : x + width] - grey_bhw)
  return total


__all__ = ["lbp_histograms", "local_binary_patterns", "uniform_labels"]
