"""Margins by themselves: the logit of the own class as a function of its cosine and of the step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.losses.margins import (
  ArcFace,
  CombinedMargin,
  CosFace,
  ModifiedSoftmax,
  NormSoftmax,
  Softmax,
  SphereFaceR,
  SubcenterArcFace,
  ramp,
)
from jaxface.losses.margins_asoftmax import ASoftmax, multiplied_cosine
from jaxface.losses.margins_filter import Filtered
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
@pytest.mark.parametrize(
  "margin", [Softmax(), ModifiedSoftmax(), NormSoftmax(), ArcFace(warmup_steps=5), CosFace(), CombinedMargin(m1=2), ASoftmax()]
)
def test_type_is_kept(margin, dtype):
  with jax.enable_x64(dtype == "float64"):
    assert logits(margin, COSINE.astype(dtype), step=3).dtype == dtype


THETA = np.linspace(0.0, math.pi, 2_001)


@pytest.mark.parametrize("guard", ["hard", "hold"])
@given(m1=st.floats(1.0, 8.0), m2=st.floats(0.0, math.pi / 2), m3=st.floats(0.0, 1.0))
def test_a_guarded_logit_never_rises_with_the_angle(guard, m1, m2, m3):
  with jax.enable_x64(True):
    margin = CombinedMargin(m1=m1, m2=m2, m3=m3, guard=guard)
    assert np.diff(logits(margin, np.cos(THETA))).max() <= 1e-9


@pytest.mark.parametrize("m", [1, 2, 3, 4, 8])
def test_psi_falls_all_the_way_and_is_the_definition(m):
  with jax.enable_x64(True):
    psi = np.asarray(jax.jit(lambda c: multiplied_cosine(c, m))(np.cos(THETA)))
    assert np.diff(psi).max() <= 1e-12
    # Where one piece ends and the next begins both say the same.
    k = np.floor(m * THETA / math.pi)
    np.testing.assert_allclose(psi, (-1) ** k * np.cos(m * THETA) - 2 * k, atol=1e-6)
    np.testing.assert_allclose(psi[[0, -1]], [1.0, 1.0 - 2 * m], atol=1e-12)
    slope = np.asarray(jax.jit(jax.vmap(jax.grad(lambda c: multiplied_cosine(c, m))))(jnp.cos(THETA)))
    assert np.isfinite(slope).all() and slope.min() >= -1e-6 and slope.max() <= m * m + 1e-6


def test_blend_of_a_softmax_falls_to_its_least():
  # λ is 1000, 1000/13 and 5 at steps 0, 100 and 100,000; ψ(60°) = −cos 240° − 2 = −1.5 for m = 4.
  for step, blend in ((0, 1000.0), (100, 1000 / 13), (100_000, 5.0)):
    expected = (blend * 0.5 - 1.5) / (1 + blend)
    np.testing.assert_allclose(logits(ASoftmax(), np.float32([0.5]), step), [expected], rtol=1e-5, atol=1e-6)


def test_sphereface_r_is_the_released_code():
  with jax.enable_x64(True):
    np.testing.assert_allclose(
      logits(SphereFaceR(), np.cos(THETA)), 30 * np.cos(np.minimum(1.7 * THETA, math.pi)), atol=1e-6
    )
    slope = jax.grad(lambda c: logits(SphereFaceR(), c).sum())(jnp.cos(THETA))
    np.testing.assert_array_equal(slope, np.full(len(THETA), 30.0))


@pytest.mark.parametrize(
  ("build", "message"),
  [
    (lambda: ArcFace(m=-0.1), r"ArcFace\.m = -0\.1 is out of range.*radians"),
    (lambda: ArcFace(m=28.6), r"ArcFace\.m = 28\.6 is out of range.*radians"),
    (lambda: CosFace(m=math.nan), r"CosFace\.m = nan"),
    (lambda: CombinedMargin(m1=0.9), r"CombinedMargin\.m1 = 0\.9"),
    (lambda: SphereFaceR(m=0.5), r"SphereFaceR\.m = 0\.5"),
    (lambda: SubcenterArcFace(subcenters=0), r"SubcenterArcFace\.subcenters = 0"),
    (lambda: ASoftmax(m=0), r"ASoftmax\.m = 0"),
    (lambda: ASoftmax(m=2.5), r"ASoftmax\.m = 2\.5 is not an integer"),
    (lambda: ASoftmax(least=-1.0), r"ASoftmax\.least = -1"),
    (lambda: NormSoftmax(scale=0.0), r"NormSoftmax\.scale = 0"),
    (lambda: ArcFace(guard="soft"), r"ArcFace\.guard = 'soft' is unknown: choose one of hard, hold, easy, none"),
    (lambda: ArcFace(gradient="none"), r"ArcFace\.gradient = 'none' is unknown: choose one of exact, detached"),
    (lambda: Filtered(ArcFace(), threshold=1.2), r"Filtered\.threshold = 1\.2"),
    (lambda: Filtered(Softmax(), threshold=0.0), r"Filtered\.threshold = 0"),
  ],
)
def test_values_out_of_range_are_refused(build, message):
  with pytest.raises(ValueError, match=message):
    build()


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
