"""Lengths and directions with finite gradients at the zero vector."""

import jax.numpy as jnp
from jax import Array, lax

# Squared lengths below this count as zero: the direction would consist of rounding errors.
_ZERO = 1e-24


def at_least_float32(x: Array) -> Array:
  """Widens half precision to float32; float32 and float64 are unchanged."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def inverse_length(x_nd: Array) -> Array:
  """1/‖x‖ of each row; 0, with gradient 0, for a row of zeros.

  Args:
    x_nd: [N, D] float.
  Returns:
    [N], at least float32.
  """
  x_nd = at_least_float32(x_nd)
  square_n = jnp.sum(x_nd * x_nd, axis=-1)
  alive_n = square_n > _ZERO
  return jnp.where(alive_n, lax.rsqrt(jnp.where(alive_n, square_n, 1.0)), 0.0)


def unit_rows(x_nd: Array) -> tuple[Array, Array]:
  """Directions and lengths of rows; the direction of a row of zeros is zero, with gradient 0.

  Args:
    x_nd: [N, D] float.
  Returns:
    [N, D] rows of length one, and their original lengths [N]; both at least float32.
  """
  x_nd = at_least_float32(x_nd)
  inverse_n = inverse_length(x_nd)
  unit_nd = x_nd * inverse_n[:, None]
  # x·x/‖x‖ instead of a square root avoids an infinite slope at zero.
  return unit_nd, jnp.sum(x_nd * unit_nd, axis=-1)


__all__ = ["at_least_float32", "inverse_length", "unit_rows"]
