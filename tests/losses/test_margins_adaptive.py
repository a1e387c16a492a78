"""Margins that carry state, draw, or look at lengths: their statistics by hand, what padding must not move, and limits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.losses.margins import ArcFace, CosFace
from jaxface.losses.margins_adaptive import AdaFace, CurricularFace, ElasticFace, MagFace

THETA = np.linspace(0.0, math.pi, 1_001)


def prepare(margin, target, norm, weight, *, state=None, step=0, key=0):
  state = margin.init_state() if state is None else state
  return jax.jit(
    lambda t, n, w: margin.prepare(
      t, n, w, state=state, step=step, key=jax.random.key(key), reduce=lambda total: total
    )
  )(*map(jnp.asarray, (target, norm, weight)))


def logits(margin, cosine, norm=20.0, **options):
  """Logits of the own class at given cosines."""
  ones = np.ones_like(cosine)
  prep = prepare(margin, cosine, norm * ones, ones, **options)
  return jax.jit(margin.target)(jnp.asarray(cosine), prep.ctx)


def test_adaface_starts_at_20_and_100_and_moves_by_the_sample():
  norm, weight = np.float32([10.0, 14.0, 18.0, 1e6]), np.float32([1.0, 1.0, 1.0, 0.0])
  prep = prepare(AdaFace(), np.zeros(4, np.float32), norm, weight)
  # Mean 14, deviation of the sample √((16 + 0 + 16)/2) = 4.
  np.testing.assert_allclose(prep.state["mean"], 0.99 * 20 + 0.01 * 14, rtol=1e-6)
  np.testing.assert_allclose(prep.state["deviation"], 0.99 * 100 + 0.01 * 4, rtol=1e-6)
  z = 0.333 * (norm[:3] - 19.94) / (99.04 + 1e-3)
  np.testing.assert_allclose(prep.ctx[1][:3], -0.4 * z, rtol=1e-4)
  np.testing.assert_allclose(prep.ctx[2][:3], 0.4 * (1 + z), rtol=1e-5)


def test_adaface_at_its_ends_is_cosface_and_an_angle_turned_back():
  with jax.enable_x64(True):
    state = {"mean": jnp.float64(20.0), "deviation": jnp.float64(1.0)}
    middle, long, short = (
      logits(AdaFace(rate=0.0), np.cos(THETA), norm, state=state) for norm in (20.0, 90.0, 0.01)
    )
    np.testing.assert_allclose(middle, logits(CosFace(m=0.4), np.cos(THETA)), atol=1e-5)
    np.testing.assert_allclose(long, 64 * (np.cos(np.maximum(THETA - 0.4, 0.0)) - 0.8), atol=1e-4)
    np.testing.assert_allclose(short, 64 * np.cos(np.minimum(THETA + 0.4, math.pi)), atol=1e-4)
    for values in (middle, long, short):
      assert np.diff(values).max() <= 1e-9


@pytest.mark.parametrize("margin", [AdaFace(rate=0.5), CurricularFace(rate=0.5)])
def test_a_batch_that_knows_nothing_moves_nothing(margin):
  state = margin.init_state()
  moved = prepare(margin, np.float32([0.1, 0.2, 0.3]), np.float32([1, 2, 3]), np.zeros(3, np.float32)).state
  jax.tree.map(np.testing.assert_array_equal, moved, state)
  one = prepare(margin, np.float32([0.5, 9.0]), np.float32([30.0, 9.0]), np.float32([1, 0])).state
  if "deviation" in one:
    np.testing.assert_allclose(one["mean"], 25.0)
    assert one["deviation"] == 100.0
  else:
    np.testing.assert_allclose(one["t"], 0.25)


@given(rate=st.floats(0.0, 1.0), steps=st.integers(1, 5))
def test_t_of_curricularface_is_a_running_average(rate, steps):
  margin, state, expected = CurricularFace(rate=rate), CurricularFace().init_state(), 0.0
  for step in range(steps):
    cosine = np.float32([0.1 * step, 0.3, -7.0])
    state = margin.prepare(
      jnp.asarray(cosine), jnp.ones(3), jnp.array([1.0, 1.0, 0.0]), state=state, step=step, key=None,
      reduce=lambda total: total,
    ).state
    expected = (1 - rate) * expected + rate * cosine[:2].mean()
  assert state["t"].dtype == jnp.float32
  np.testing.assert_allclose(state["t"], expected, rtol=1e-4, atol=1e-6)


def test_curricularface_by_hand():
  # θ = 60°, m = 0.5: cos(θ + m) = 0.0235969. 0.02 is easy; 0.5 is hard and becomes 0.5·(0.3 + 0.5).
  margin = CurricularFace(rate=0.0)
  prep = prepare(margin, np.float32([0.5]), np.float32([1.0]), np.float32([1.0]), state={"t": jnp.float32(0.3)})
  np.testing.assert_allclose(margin.target(jnp.float32([0.5]), prep.ctx), [64 * 0.0235969], rtol=1e-4)
  np.testing.assert_allclose(margin.others(jnp.float32([[0.02, 0.5]]), prep.ctx), [[1.28, 25.6]], rtol=1e-5)


def test_magface_by_hand():
  # Lengths 10, 60 and 110 have margins 0.45, 0.625 and 0.8; 1 and 500 count as the ends.
  norm = np.float32([10.0, 60.0, 110.0, 1.0, 500.0])
  prep = prepare(MagFace(), np.zeros(5, np.float32), norm, np.ones(5, np.float32))
  np.testing.assert_allclose(prep.ctx[1], [0.45, 0.625, 0.8, 0.45, 0.8], rtol=1e-6)
  g = [10 / 110**2 + 0.1, 60 / 110**2 + 1 / 60, 2 / 110]
  np.testing.assert_allclose(prep.penalty_b, 35 * np.array([*g, g[0], g[2]]), rtol=1e-5)
  # The penalty alone is least where a = high_norm.
  slope = jax.grad(lambda a: prepare(MagFace(), jnp.zeros(1), a, jnp.ones(1)).penalty_b.sum())
  assert slope(jnp.array([50.0]))[0] < 0
  np.testing.assert_allclose(slope(jnp.array([109.99]))[0], 0.0, atol=1e-5)


def test_magface_turns_only_acute_angles_as_released():
  # ‖x‖ = 60 has margin 0.625. cos 60° = 0.5 turns to cos(1.0471976 + 0.625) = −0.101228; −0.5, past 90°, stays.
  np.testing.assert_allclose(logits(MagFace(), np.float32([0.5, -0.5, 0.0]), norm=60.0), [64 * -0.101228, -32, 0], rtol=1e-4)


def test_magface_without_a_slope_is_arcface():
  margin = MagFace(low_m=0.5, high_m=0.5, pull=0.0, guard="hard")
  cosine = np.cos(THETA).astype(np.float32)
  np.testing.assert_allclose(logits(margin, cosine, norm=33.0), logits(ArcFace(), cosine), rtol=1e-5, atol=1e-5)


def test_elasticface_draws_from_its_distribution_anew_for_every_key():
  zeros = np.zeros(20_000, np.float32)
  turns = [prepare(ElasticFace(), zeros, zeros, zeros, key=key).ctx[1] for key in (0, 1)]
  for turn in turns:
    np.testing.assert_allclose([turn.mean(), turn.std()], [0.5, 0.0125], rtol=0.02)
  assert abs(np.corrcoef(*turns)[0, 1]) < 0.05
  np.testing.assert_array_equal(turns[0], prepare(ElasticFace(), zeros, zeros, zeros, key=0).ctx[1])
  with pytest.raises(ValueError, match="ElasticFace samples its margins and got no random key"):
    ElasticFace().prepare(*map(jnp.asarray, (zeros, zeros, zeros)), state={}, step=0, key=None, reduce=lambda a: a)


def test_elasticface_without_deviation_is_arcface():
  cosine = np.cos(THETA).astype(np.float32)
  np.testing.assert_array_equal(logits(ElasticFace(deviation=0.0), cosine), logits(ArcFace(), cosine))


@pytest.mark.parametrize("margin", [AdaFace(warmup_steps=10), MagFace(warmup_steps=10, guard="hard"), ElasticFace(warmup_steps=10),
                                    CurricularFace(warmup_steps=10)])
def test_warm_up_starts_without_a_margin(margin):
  cosine = np.linspace(-0.9, 0.9, 19, dtype=np.float32)
  np.testing.assert_array_equal(logits(margin, cosine, step=0), 64 * cosine)
  assert (logits(margin, cosine, step=10) < 64 * cosine - 1).all()


@pytest.mark.parametrize(
  ("build", "message"),
  [
    (lambda: AdaFace(m=2.0), r"AdaFace\.m = 2\.0"),
    (lambda: AdaFace(h=-1.0), r"AdaFace\.h = -1\.0"),
    (lambda: AdaFace(rate=1.5), r"AdaFace\.rate = 1\.5"),
    (lambda: MagFace(low_norm=0.0), r"MagFace\.low_norm = 0\.0"),
    (lambda: MagFace(high_norm=5.0), r"MagFace\.high_norm = 5\.0.*\(10, inf\)"),
    (lambda: MagFace(high_m=0.4), r"MagFace\.high_m = 0\.4.*\[0\.45"),
    (lambda: MagFace(pull=-1.0), r"MagFace\.pull = -1\.0"),
    (lambda: ElasticFace(deviation=-0.1), r"ElasticFace\.deviation = -0\.1"),
    (lambda: CurricularFace(m=2.0), r"CurricularFace\.m = 2\.0"),
    (lambda: CurricularFace(rate=-1.0), r"CurricularFace\.rate = -1\.0"),
  ],
)
def test_values_out_of_range_are_refused(build, message):
  with pytest.raises(ValueError, match=message):
    build()
