"""Rectifiers against NumPy, their gradients at the kinks, and NaN that is not swallowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.layers.activation import ACTIVATIONS, Activation, prelu, relu, relu6

X = np.array([-3.0, -0.5, 0.0, 0.5, 5.9, 6.0, 7.0], np.float32)


def test_values():
  np.testing.assert_allclose(relu(X), np.maximum(X, 0))
  np.testing.assert_allclose(relu6(X), np.clip(X, 0, 6))
  np.testing.assert_allclose(prelu(X, jnp.float32(0.1)), np.where(X > 0, X, np.float32(0.1) * X))


def test_prelu_has_one_slope_per_channel_and_learns_it():
  x_bc = jnp.array([[-1.0, -2.0], [3.0, 4.0]])
  alpha_c = jnp.array([0.5, 0.25])
  np.testing.assert_allclose(prelu(x_bc, alpha_c), [[-0.5, -0.5], [3, 4]])
  np.testing.assert_allclose(jax.grad(lambda a: prelu(x_bc, a).sum())(alpha_c), [-1, -2])
  np.testing.assert_allclose(jax.grad(lambda x: prelu(x, alpha_c).sum())(x_bc), [[0.5, 0.25], [1, 1]])


def test_clipped_values_get_no_gradient():
  np.testing.assert_array_equal(jax.vmap(jax.grad(relu6))(X[[0, 3, 6]]), [0, 1, 0])


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_module_keeps_the_type_and_shows_nan(kind, dtype):
  x = jnp.array([[-1.0, jnp.nan], [2.0, 8.0]], dtype)
  module = Activation(kind, 2)
  variables = module.init(jax.random.key(0), x)
  y = jax.jit(module.apply)(variables, x)
  assert y.dtype == dtype
  np.testing.assert_array_equal(np.isnan(y.astype(np.float32)), np.isnan(x.astype(np.float32)))
  assert ("params" in variables) == (kind == "prelu")


def test_an_unknown_name_lists_the_valid_ones():
  with pytest.raises(ValueError, match=r"'gelu'.*prelu, relu, relu6"):
    Activation("gelu", 7).init(jax.random.key(0), X)
