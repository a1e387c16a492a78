"""Margins by themselves: the logit of the own class as a function of its cosine and of the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.losses.margins import ArcFace, CombinedMargin, CosFace, NormSoftmax, Softmax, ramp
from jaxface.losses.unit import unit_rows

COSINE = np.linspace(-0.99, 0.99, 199)


def logits(margin, cosine, step=0):
  """Logits of the own class at given cosines."""

  @jax.jit
  def run(cosine_b, step):
    ones = jnp.ones_like(cosine_b)
    prep = margin.prepare(cosine_b, ones, ones, state=margin.init_state(), step=step, key=None, reduce=lambda x: x)
    return margin.target(cosine_b, prep.ctx) - prep.penalty_b

  return run(jnp.asarray(cosine), step)


def test_combined_reduces_to_arcface_cosface_and_plain():
  with jax.enable_x64(True):
    np.testing.assert_array_equal(logits(CombinedMargin(m1=1, m2=0.5, m3=0), COSINE), logits(ArcFace(m=0.5), COSINE))
    np.testing.assert_array_equal(logits(CombinedMargin(m1=1, m2=0, m3=0.35), COSINE), logits(CosFace(m=0.35), COSINE))
    for margin in (CombinedMargin(m1=1, m2=0, m3=0), ArcFace(m=0), CosFace(m=0)):
      np.testing.assert_array_equal(logits(margin, COSINE), logits(NormSoftmax(), COSINE))


def test_values_of_the_definition():
  with jax.enable_x64(True):
    theta = np.arccos(COSINE)
    margin = CombinedMargin(m1=1.2, m2=0.3, m3=0.2, scale=30.0, guard="none")
    np.testing.assert_allclose(logits(margin, COSINE), 30.0 * (np.cos(1.2 * theta + 0.3) - 0.2), rtol=1e-9)


def test_golden_by_hand():
  # θ = 60°: cos(π/3 + 0.5) = 0.5·cos 0.5 − 0.866025·sin 0.5 = 0.438791 − 0.415194 = 0.023597.
  np.testing.assert_allclose(logits(ArcFace(m=0.5, scale=64.0), np.float32([0.5])), [64 * 0.0235969], rtol=1e-4)
  np.testing.assert_allclose(logits(CosFace(m=0.35, scale=64.0), np.float32([0.5])), [64 * 0.15], rtol=1e-6)


@pytest.mark.parametrize("margin", [ArcFace(gradient="detached"), CombinedMargin(m1=1.5, gradient="detached")])
def test_detached_has_the_values_of_exact_and_the_slope_of_no_margin(margin):
  exact = type(margin)(**{**vars(margin), "gradient": "exact"})
  with jax.enable_x64(True):
    np.testing.assert_allclose(logits(margin, COSINE), logits(exact, COSINE), rtol=1e-12)
    slope = jax.grad(lambda c: logits(margin, c).sum())(jnp.asarray(COSINE))
    np.testing.assert_array_equal(slope, np.full(len(COSINE), 64.0))
    assert np.abs(jax.grad(lambda c: logits(exact, c).sum())(jnp.asarray(COSINE)) - 64.0).max() > 1.0


def test_warm_up_grows_linearly_from_no_margin():
  with jax.enable_x64(True):
    margin = CombinedMargin(m1=1.4, m2=0.4, m3=0.2, warmup_steps=10)
    np.testing.assert_array_equal(logits(margin, COSINE, step=0), logits(NormSoftmax(), COSINE))
    half = CombinedMargin(m1=1.2, m2=0.2, m3=0.1)
    np.testing.assert_allclose(logits(margin, COSINE, step=5), logits(half, COSINE), rtol=1e-6)
    full = CombinedMargin(m1=1.4, m2=0.4, m3=0.2)
    for step in (10, 11, 10_000):
      np.testing.assert_allclose(logits(margin, COSINE, step=step), logits(full, COSINE), rtol=1e-12)


@given(step=st.integers(0, 300), warmup=st.integers(1, 200))
def test_ramp_is_the_share_of_steps(step, warmup):
  np.testing.assert_allclose(ramp(step, warmup), min(1.0, step / warmup), rtol=1e-6)
  assert ramp(step, 0) == 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("margin", [Softmax(), NormSoftmax(), ArcFace(warmup_steps=5), CosFace(), CombinedMargin(m1=2)])
def test_type_is_kept(margin, dtype):
  with jax.enable_x64(dtype == "float64"):
    assert logits(margin, COSINE.astype(dtype), step=3).dtype == dtype


def test_unit_rows_have_length_one_and_zero_rows_no_gradient():
  x = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]])
  unit, norm = jax.jit(unit_rows)(x)
  np.testing.assert_allclose(unit[0], [0.6, 0.8], rtol=1e-6)
  np.testing.assert_array_equal(unit[1:], 0.0)
  np.testing.assert_allclose(norm, [5.0, 0.0, 0.0], rtol=1e-6)
  jacobian = jax.jit(jax.jacobian(unit_rows))(x)
  assert all(np.isfinite(j).all() for j in jacobian)
  np.testing.assert_array_equal(jacobian[0][1], 0.0)
  np.testing.assert_allclose(jacobian[1][0, 0], [0.6, 0.8], rtol=1e-6)


def test_half_precision_is_widened():
  unit, norm = unit_rows(jnp.ones((2, 3), jnp.bfloat16))
  assert unit.dtype == norm.dtype == jnp.float32
