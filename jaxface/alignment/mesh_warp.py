"""Warps that are affine in each triangle of a mesh: compiled and batched."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

# A pixel on an edge belongs to a triangle though rounding puts it outside by so much of the triangle.
_EDGE = 1e-4


@partial(jax.jit, static_argnames="size")
def piecewise_affine(
  image_bhwc: ArrayLike, source_bv2: ArrayLike, target_bv2: ArrayLike, triangle_t3: ArrayLike, size: tuple[int, int], *, value: ArrayLike = 0.0
) -> Array:
  """Images whose vertices are moved; each triangle is moved affinely, by bilinear interpolation.

  Args:
    image_bhwc: [B, H, W, C] uint8 or float.
    source_bv2: [B, V, 2] vertices in the images, (x, y) with pixel centres at whole numbers; outside of an image its edge is repeated.
    target_bv2: [B, V, 2] where they are in the results.
    triangle_t3: [T, 3] int, the vertices of each triangle; where targets overlap, the one in which the pixel is deepest counts.
    size: (height, width) of the results.
    value: outside of all triangles.
  Returns:
    [B, *size, C] float32.
  """
  image_bhwc = jnp.asarray(image_bhwc, jnp.float32)

  def one(given: tuple[Array, Array, Array]) -> Array:
    image_hwc, source_v2, target_v2 = given
    vertex_hw3, share_hw3, inside_hw = locate(target_v2, jnp.asarray(triangle_t3), size)
    return jnp.where(inside_hw[..., None], sample(image_hwc, interpolate(source_v2, vertex_hw3, share_hw3)), value)

  return jax.lax.map(one, (image_bhwc, jnp.asarray(source_bv2, jnp.float32), jnp.asarray(target_bv2, jnp.float32)))


def locate(target_v2: Array, triangle_t3: Array, size: tuple[int, int]) -> tuple[Array, Array, Array]:
  """The triangle of each pixel, and where the pixel is in it.

  Args:
    target_v2: [V, 2] vertices.
    triangle_t3: [T, 3] their triangles; those without area have no pixels.
    size: (height, width).
  Returns:
    [h, w, 3] int vertices, [h, w, 3] barycentric coordinates, and [h, w] bool, whether the pixel is in a triangle at all.
  """
  corner_t32 = target_v2[triangle_t3]
  a_t2, b_t2, c_t2 = corner_t32[:, 0], corner_t32[:, 1], corner_t32[:, 2]
  area_t = _cross(b_t2 - a_t2, c_t2 - a_t2)
  some_t = jnp.abs(area_t) > 1e-6
  over_t = jnp.where(some_t, 1 / jnp.where(some_t, area_t, 1), 0)
  y, x = jnp.mgrid[: size[0], : size[1]]
  away_hwt2 = jnp.stack([x, y], -1)[:, :, None] - a_t2
  second_hwt = _cross(away_hwt2, c_t2 - a_t2) * over_t
  third_hwt = _cross(b_t2 - a_t2, away_hwt2) * over_t
  first_hwt = 1 - second_hwt - third_hwt
  least_hwt = jnp.where(some_t, jnp.minimum(jnp.minimum(first_hwt, second_hwt), third_hwt), -jnp.inf)
  best_hw1 = jnp.argmax(least_hwt, -1, keepdims=True)
  share_hw3 = jnp.concatenate([jnp.take_along_axis(part, best_hw1, -1) for part in (first_hwt, second_hwt, third_hwt)], -1)
  return triangle_t3[best_hw1[..., 0]], share_hw3, jnp.take_along_axis(least_hwt, best_hw1, -1)[..., 0] >= -_EDGE


def interpolate(of_vd: Array, vertex_hw3: Array, share_hw3: Array) -> Array:
  """Numbers of vertices at each pixel: [V, D] to [h, w, D]."""
  return (of_vd[vertex_hw3] * share_hw3[..., None]).sum(2)


def sample(image_hwc: Array, at_hw2: Array) -> Array:
  """An image at positions (x, y), bilinearly; outside its edge is repeated."""
  place = [at_hw2[..., 1], at_hw2[..., 0]]
  return jax.vmap(lambda plane: jax.scipy.ndimage.map_coordinates(plane, place, order=1, mode="nearest"), -1, -1)(image_hwc)


def _cross(first: Array, second: Array) -> Array:
  return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


__all__ = ["interpolate", "locate", "piecewise_affine", "sample"]
