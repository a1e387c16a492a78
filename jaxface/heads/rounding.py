"""Stochastic rounding to bfloat16: unbiased, so that updates below its precision are not lost."""

import jax
import jax.numpy as jnp
from jax import Array, lax


def round_by_chance(x: Array, key: Array) -> Array:
  """Rounds float32 to one of the two adjacent bfloat16 values, with probability by distance.

  Values that bfloat16 represents, infinities and NaN are unchanged.

  Args:
    x: any shape, float32.
    key: random key.
  Returns:
    bfloat16; its expectation is `x`.
  """
  bits = lax.bitcast_convert_type(x, jnp.uint32)
  chance = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
  # Floats are sign and magnitude, so adding below the last kept digit rounds away from zero.
  rounded = lax.bitcast_convert_type((bits + chance) & jnp.uint32(0xFFFF0000), jnp.float32)
  return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)


def round_rows(x_nd: Array, key: Array, number_n: Array) -> Array:
  """`round_by_chance` of rows, each with the key folded with its number, so that the result does not depend on the sharding.

  Args:
    x_nd: [n·m, ...] float32, m rows of each number.
    key: random key of the step.
    number_n: [n] int.
  """
  by_number = x_nd.reshape(len(number_n), -1)
  keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(number_n)
  return jax.vmap(round_by_chance)(by_number, keys).reshape(x_nd.shape)


__all__ = ["round_by_chance", "round_rows"]
