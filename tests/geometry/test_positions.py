"""Positions of an affine transform: their values, and the same bits however a compiler rounds."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxface.geometry.positions import affine_positions

SIZE = (30, 1000)
numbers = st.floats(-8, 8, width=32)
matrices = st.tuples(*[numbers] * 6).map(lambda numbers: np.array(numbers, np.float32).reshape(2, 3))
positions = jax.jit(affine_positions, static_argnums=1)


@given(matrices)
def test_positions_are_those_of_the_transform(matrix):
  y, x = np.mgrid[: SIZE[0], : SIZE[1]]
  for made, (a, b, c) in zip(positions(matrix, SIZE), matrix.astype(np.float64)):
    np.testing.assert_allclose(made, a * x + b * y + c, atol=2e-3)


@given(matrices)
def test_rounding_once_or_twice_gives_the_same_bits(matrix):
  # NumPy rounds after each operation; XLA may round a · x + b once.
  high = np.asarray(jax.lax.reduce_precision(matrix, 8, 11))
  low, (y, x) = matrix - high, np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
  for i, made in enumerate(positions(matrix, SIZE)):
    np.testing.assert_array_equal(made, high[i, 0] * x + high[i, 1] * y + (low[i, 0] * x + low[i, 1] * y) + matrix[i, 2])


def test_gradients_pass_through_both_halves():
  def total(matrix):
    return sum(at.sum() for at in affine_positions(matrix, (3, 4)))

  np.testing.assert_allclose(jax.jit(jax.grad(total))(jnp.array([[1.1, 0.3, 2.0], [0.2, 0.9, 1.0]])), [[18, 12, 12], [18, 12, 12]], rtol=1e-6)
