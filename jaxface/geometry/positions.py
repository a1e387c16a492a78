"""Positions of an affine transform's pixels in its image, rounded in one way only."""

import jax
import jax.numpy as jnp
from jax import Array


def affine_positions(matrix_23: Array, size: tuple[int, int]) -> tuple[Array, Array]:
  """x and y in an image, for each pixel of the result: the same bits in every computation of them.

  A compiler may compute a position once for the pixel that it takes and again for that pixel's weight, and round a · x + b in one step or
  in two. With a whole number between the roundings, the weight would be that of another pixel. The halves of a coefficient have so few
  bits that their products with whole numbers (below 2^12 in float32) are exact, and both ways round alike.

  Args:
    matrix_23: from (x, y, 1) of the result to (x, y) of the image; float.
    size: (height, width) of the result.
  Returns:
    x and y, each [*size] of the matrix's type.
  """
  kind = jnp.finfo(matrix_23.dtype)
  high_23 = jax.lax.reduce_precision(matrix_23, kind.nexp, kind.nmant // 2)
  low_23 = matrix_23 - high_23
  y, x = jnp.arange(size[0], dtype=matrix_23.dtype)[:, None], jnp.arange(size[1], dtype=matrix_23.dtype)[None, :]
  from_x, from_y = (high_23[i, 0] * x + high_23[i, 1] * y + (low_23[i, 0] * x + low_23[i, 1] * y) + matrix_23[i, 2] for i in (0, 1))
  return from_x, from_y


__all__ = ["affine_positions"]
