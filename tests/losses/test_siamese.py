"""Siamese regression and DeepFace's logistic form: definitions, slopes of features, weights and bias."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from jaxface.losses.distances import chi2, cosine, l1
from jaxface.losses.siamese import siamese_logistic, siamese_regression


@given(
  cosine_n=arrays(np.float64, 8, elements=st.floats(-1, 1)), same_n=arrays(bool, 8), target=st.floats(-1, 0.9),
)
def test_regression_is_its_definition(cosine_n, same_n, target):
  with jax.enable_x64(True):
    found_n = jax.jit(siamese_regression)(cosine_n, same_n, different_target=target)
  expected = [(c - 1.0) ** 2 if s else (c - target) ** 2 for c, s in zip(cosine_n, same_n)]
  np.testing.assert_allclose(found_n, expected, rtol=1e-12, atol=1e-15)


@given(distance_n=arrays(np.float64, 8, elements=st.floats(0, 9)), same_n=arrays(bool, 8), bias=st.floats(-3, 3))
def test_logistic_is_the_cross_entropy_of_its_probability(distance_n, same_n, bias):
  with jax.enable_x64(True):
    found_n = jax.jit(siamese_logistic)(distance_n, same_n, bias=bias)
  chance = [1.0 / (1.0 + math.exp(d - bias)) for d in distance_n]
  np.testing.assert_allclose(found_n, [-math.log(p if s else 1.0 - p) for p, s in zip(chance, same_n)], rtol=1e-9)


def test_ends_of_the_regression_have_no_slope():
  # cos = 1 of a same pair and cos = target of a different one are where training should end.
  x_bd = jnp.array([[1.0, 2.0], [2.0, 4.0], [2.0, -1.0]])
  same_bb = jnp.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
  value, slope_bd = jax.jit(jax.value_and_grad(lambda x: siamese_regression(cosine(x), same_bb).sum()))(x_bd)
  np.testing.assert_allclose(value, 0.0, atol=1e-12)
  np.testing.assert_allclose(slope_bd, 0.0, atol=1e-6)


@pytest.mark.parametrize("distance", [l1, chi2])
def test_slopes_of_features_weights_and_bias(distance):
  rng = np.random.default_rng(0)
  same_bb = np.array([0, 0, 1, 1])[:, None] == np.array([0, 0, 1, 1])
  with jax.enable_x64(True):
    arguments = (jnp.asarray(rng.uniform(0.1, 1.0, (4, 3))), jnp.asarray(rng.normal(size=3)), jnp.float64(0.7))
    check_grads(
      jax.jit(lambda x, w, b: siamese_logistic(distance(x, weight_d=w), same_bb, bias=b).sum()), arguments,
      order=1, modes=("rev",), rtol=1e-5, atol=1e-7,
    )


def test_far_decisions_are_finite():
  distance_n, same_n = jnp.array([1e4, 0.0, 1e4, 0.0]), jnp.array([True, True, False, False])
  value, slope_n = jax.jit(jax.value_and_grad(lambda d: siamese_logistic(d, same_n, bias=5e3).sum()))(distance_n)
  np.testing.assert_allclose(value, 1e4)
  np.testing.assert_allclose(slope_n, [1.0, 0.0, 0.0, -1.0], atol=1e-7)
