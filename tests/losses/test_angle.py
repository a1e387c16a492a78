"""cos(m1·θ + m2): values, slopes and guards, up to the ends of the circle."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.losses.angle import GUARDS, guarded_cosine, turned_cosine

turned = jax.jit(turned_cosine)
hard, hold, easy = (
  jax.jit(lambda c, m1, m2, g=g: guarded_cosine(c, m1, m2, guard=g)) for g in ("hard", "hold", "easy")
)
M1 = st.floats(1.0, 8.0)
M2 = st.floats(0.0, math.pi / 2)


def test_no_margin_gives_the_cosine_back_to_the_last_bit():
  cosine = jnp.linspace(-1.0, 1.0, 10_001, dtype=jnp.float32)
  for function in (turned, hard, hold, easy):
    np.testing.assert_array_equal(function(cosine, 1.0, 0.0), cosine)


@given(theta=st.floats(0.0, math.pi), m1=M1, m2=M2)
def test_value_is_the_definition(theta, m1, m2):
  with jax.enable_x64(True):
    value = turned(jnp.float64(math.cos(theta)), m1, m2)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, math.cos(m1 * theta + m2), atol=1e-6)


@given(theta=st.floats(0.02, math.pi - 0.02), m1=M1, m2=M2)
def test_slopes_against_finite_differences(theta, m1, m2):
  with jax.enable_x64(True):
    arguments = (jnp.float64(math.cos(theta)), jnp.float64(m1), jnp.float64(m2))
    check_grads(turned, arguments, order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("guard", GUARDS)
def test_slopes_are_finite_at_and_beyond_both_ends(dtype, guard):
  with jax.enable_x64(dtype == "float64"):
    eps = float(jnp.finfo(dtype).eps)
    cosine = jnp.array([-1 - eps, -1.0, -1 + eps / 2, 1 - eps / 2, 1.0, 1 + eps], dtype)
    m1, m2 = jnp.array([[1.0, 0.0], [1.0, 0.5], [4.0, 0.0], [1.35, 0.3], [1.0, -math.pi / 2]], dtype).T
    gradient = jax.grad(lambda c, a, b: guarded_cosine(c, a, b, guard=guard), (0, 1, 2))
    table = jax.vmap(jax.vmap(gradient, (None, 0, 0)), (0, None, None))
    for slope in jax.jit(table)(cosine, m1, m2):
      assert slope.dtype == dtype and slope.shape == (6, 5) and np.isfinite(slope).all()


def test_slope_at_the_end_without_an_added_angle_is_the_limit():
  # d cos(mθ)/d cos θ → m² as θ → 0 (the Chebyshev polynomial's slope at 1).
  with jax.enable_x64(True):
    slope = jax.jit(jax.grad(turned_cosine))(jnp.float64(1.0), jnp.float64(4.0), jnp.float64(0.0))
    np.testing.assert_allclose(slope, 16.0, rtol=1e-6)


@pytest.mark.parametrize("guarded", [hard, hold])
@given(m1=M1, m2=st.floats(-math.pi / 2, math.pi / 2))
def test_guards_never_rise_with_the_angle(guarded, m1, m2):
  with jax.enable_x64(True):
    cosine = jnp.cos(jnp.linspace(0.0, math.pi, 2_001))
    assert np.all(np.diff(guarded(cosine, m1, m2)) <= 1e-9)


def test_without_a_guard_it_rises_again():
  cosine = jnp.cos(jnp.linspace(0.0, math.pi, 101))
  assert np.diff(turned(cosine, 1.0, 0.5)).max() > 1e-3


def test_hard_guard_is_the_released_formula_of_arcface():
  with jax.enable_x64(True):
    theta = np.linspace(0.0, math.pi, 1_001)
    expected = np.where(theta + 0.5 < math.pi, np.cos(theta + 0.5), np.cos(theta) - 0.5 * math.sin(0.5))
    np.testing.assert_allclose(hard(jnp.cos(theta), 1.0, 0.5), expected, atol=1e-8)


def test_hard_guard_joins_without_a_jump_when_the_angle_is_only_multiplied():
  with jax.enable_x64(True):
    bound = math.pi / 4
    values = hard(jnp.cos(jnp.array([bound - 1e-9, bound + 1e-9])), 4.0, 0.0)
    np.testing.assert_allclose(values, -1.0, atol=1e-7)


@given(m1=M1, m2=st.floats(-math.pi / 2, math.pi / 2))
def test_hold_is_the_cosine_of_the_clipped_angle(m1, m2):
  with jax.enable_x64(True):
    theta = np.linspace(0.0, math.pi, 501)
    np.testing.assert_allclose(hold(jnp.cos(theta), m1, m2), np.cos(np.clip(m1 * theta + m2, 0.0, math.pi)), atol=1e-6)


def test_hard_guard_joins_without_a_jump_before_a_negative_angle():
  with jax.enable_x64(True):
    values = hard(jnp.cos(jnp.array([0.0, 0.4 - 1e-9, 0.4 + 1e-9])), 1.0, -0.4)
    np.testing.assert_allclose(values, [2.0 - math.cos(0.4), 1.0, 1.0], atol=1e-8)


def test_easy_guard_turns_only_the_near_half():
  cosine = jnp.array([-0.5, -1e-3, 1e-3, 0.5])
  values = easy(cosine, 1.0, 0.5)
  np.testing.assert_array_equal(values[:2], cosine[:2])
  np.testing.assert_array_equal(values[2:], turned(cosine[2:], 1.0, 0.5))
