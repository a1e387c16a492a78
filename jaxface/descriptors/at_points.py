"""Local descriptors at given points: histograms of gradient directions in cells around each, as SIFT has them."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

_CLIP, _LEAST = 0.2, 1e-6


@partial(jax.jit, static_argnames=("cell", "cells", "orientations"))
def point_descriptors(
  grey_bhw: ArrayLike, point_bk2: ArrayLike, *, cell: int = 4, cells: int = 4, orientations: int = 8
) -> Array:
  """Descriptors of squares of cells about points, neither scaled nor turned.

  The gradient of each pixel is shared between the two nearest directions. A cell is the sum over pixels, weighted by a triangle that falls
  to zero at the centres of the neighbouring cells, as SIFT interpolates; between whole pixels it is interpolated linearly, and zero outside
  of the image. The vector of a point is scaled to length one, clipped at 0.2, and scaled again; without contrast it has zeros.

  Args:
    grey_bhw: [B, H, W] images.
    point_bk2: [B, K, 2] points, (x, y) with pixel centres at whole numbers.
    cell: distance of the centres of neighbouring cells in pixels.
    cells: cells along a side.
    orientations: directions of the full circle.
  Returns:
    [B, K, cells · cells · orientations] float32; the last axis is cell row, cell column, direction.
  Raises:
    AssertionError: the arguments have other shapes.
    ValueError: an option that is not positive.
  Source: D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", 2004, section 6, without its Gaussian window.
  """
  grey_bhw, point_bk2 = jnp.asarray(grey_bhw, jnp.float32), jnp.asarray(point_bk2, jnp.float32)
  chex.assert_rank(grey_bhw, 3)
  chex.assert_shape(point_bk2, (grey_bhw.shape[0], None, 2))
  if min(cell, cells, orientations) < 1:
    raise ValueError(f"{cells} cells of {cell} pixels with {orientations} directions: each must be at least 1")
  offset_k = (jnp.arange(cells) - (cells - 1) / 2) * cell
  y_bkrc = point_bk2[..., 1, None, None] + offset_k[:, None] + jnp.zeros(cells)
  x_bkrc = point_bk2[..., 0, None, None] + offset_k + jnp.zeros((cells, 1))
  found = jax.vmap(_sample)(_cell_maps(grey_bhw, cell, orientations), y_bkrc, x_bkrc)
  found = found.reshape(*found.shape[:2], -1)
  return _unit(jnp.minimum(_unit(found), _CLIP))


def _cell_maps(grey_bhw: Array, cell: int, orientations: int) -> Array:
  """[B, H, W, orientations]: the histogram of the cell about each pixel."""
  edge_bhw = jnp.pad(grey_bhw, ((0, 0), (1, 1), (1, 1)), mode="edge")
  dx_bhw, dy_bhw = edge_bhw[:, 1:-1, 2:] - edge_bhw[:, 1:-1, :-2], edge_bhw[:, 2:, 1:-1] - edge_bhw[:, :-2, 1:-1]
  turn_bhw = jnp.arctan2(dy_bhw, dx_bhw) * (orientations / (2 * jnp.pi))
  # Distance from each direction around the circle; shares of the two nearest add up to one.
  away_bhwo = jnp.abs((turn_bhw[..., None] - jnp.arange(orientations) + orientations / 2) % orientations - orientations / 2)
  share_bhwo = jnp.maximum(1 - away_bhwo, 0) if orientations > 1 else jnp.ones_like(away_bhwo)
  size_bhwo = jnp.hypot(dx_bhw, dy_bhw)[..., None] * share_bhwo
  down_hh, across_ww = (_triangle(length, cell) for length in grey_bhw.shape[1:])
  return jnp.einsum("ih,bhwo,jw->bijo", down_hh, size_bhwo, across_ww, precision=jax.lax.Precision.HIGHEST)


def _triangle(length: int, cell: int) -> Array:
  pixel = jnp.arange(length)
  return jnp.maximum(1 - jnp.abs(pixel[:, None] - pixel) / cell, 0)


def _sample(map_hwo: Array, y: Array, x: Array) -> Array:
  """Linear interpolation of one image's maps, zero outside: [..., orientations]."""
  height, width, _ = map_hwo.shape
  # Far outside, a float is no int32.
  y, x = jnp.clip(jnp.nan_to_num(y), -2, height + 1), jnp.clip(jnp.nan_to_num(x), -2, width + 1)
  top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
  total = jnp.zeros((*y.shape, map_hwo.shape[-1]))
  for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
    for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
      inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
      weight = jnp.where(inside, row_weight * column_weight, 0)
      total += weight[..., None] * map_hwo[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
  return total


def _unit(x: Array) -> Array:
  length = jnp.sqrt(jnp.square(x).sum(-1, keepdims=True))
  return jnp.where(length > _LEAST, x / jnp.maximum(length, _LEAST), 0)


__all__ = ["point_descriptors"]
