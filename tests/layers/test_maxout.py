"""Maxout and max-feature-map against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxface.layers.max_features import Maxout, max_feature_map, maxout


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_largest_of_the_pieces(pieces):
  x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
  expected = np.empty((2, 3, 6 // pieces), np.float32)
  for c in range(6 // pieces):
    expected[..., c] = x[..., [c + piece * (6 // pieces) for piece in range(pieces)]].max(-1)
  np.testing.assert_array_equal(jax.jit(maxout, static_argnums=1)(x, pieces), expected)


def test_max_feature_map_by_hand_and_its_gradient_at_a_tie():
  x = jnp.asarray([[1.0, 5.0, 2.0, 5.0]])
  np.testing.assert_array_equal(max_feature_map(x), [[2, 5]])
  np.testing.assert_array_equal(jax.grad(lambda x: max_feature_map(x).sum())(x), [[0, 0.5, 1, 0.5]])


def test_dense_unit_is_the_largest_linear_answer_in_both_types():
  layer = Maxout(3, pieces=2)
  x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 5)), jnp.float32)
  params = layer.init(jax.random.key(0), x)["params"]
  assert jax.tree.map(jnp.shape, params) == {"kernel": (5, 6), "bias": (6,)}
  params["bias"] = jnp.arange(6.0)
  y = jax.jit(layer.apply)({"params": params}, x)
  for unit in range(3):
    answers = [x @ params["kernel"][:, j] + params["bias"][j] for j in (unit, unit + 3)]
    np.testing.assert_allclose(y[:, unit], np.maximum(*answers), rtol=1e-5, atol=1e-6)
  narrow = Maxout(3, dtype=jnp.bfloat16).apply({"params": params}, x)
  assert narrow.dtype == jnp.bfloat16
  np.testing.assert_allclose(narrow.astype(jnp.float32), y, rtol=0.03, atol=0.03)


def test_gradients_against_finite_differences_and_under_vmap():
  with jax.enable_x64(True):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 6)))
    check_grads(jax.jit(lambda x: maxout(x, 3) ** 2), (x,), 2)
    slope = jax.grad(lambda x: (maxout(x, 3) ** 2).sum())
    np.testing.assert_array_equal(jax.vmap(slope)(x), slope(x))


def test_channels_that_do_not_divide_are_named():
  with pytest.raises(ValueError, match=r"divisible by 2; got shape \(1, 3\)"):
    max_feature_map(jnp.zeros((1, 3)))
