"""Wing and smooth L1 by hand, against slow loops; gradients; the term in a step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.losses import LandmarkLoss, smooth_l1, wing


def slow_wing(x, width, curvature):
  if abs(x) < width:
    return width * math.log(1 + abs(x) / curvature)
  return abs(x) - (width - width * math.log(1 + width / curvature))


@given(st.floats(-50, 50), st.floats(0.5, 20), st.floats(0.1, 5))
def test_the_formulas(x, width, curvature):
  assert float(wing(jnp.float32(x), width=width, curvature=curvature)) == pytest.approx(slow_wing(x, width, curvature), rel=1e-4, abs=1e-4)
  expected = x * x / (2 * width) if abs(x) < width else abs(x) - width / 2
  assert float(smooth_l1(jnp.float32(x), width=width)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_by_hand():
  np.testing.assert_allclose(wing(jnp.array([0.0, 2.0, -2.0, 14.0]), width=10, curvature=2),
                             [0, 10 * np.log(2), 10 * np.log(2), 4 + 10 * np.log(6)], rtol=1e-5)
  np.testing.assert_allclose(smooth_l1(jnp.array([0.0, 0.5, -3.0])), [0, 0.125, 2.5])


@pytest.mark.parametrize("function", [wing, smooth_l1])
def test_gradients(function):
  with jax.enable_x64(True):
    check_grads(function, (jnp.array([-30.0, -3.0, 0.4, 0.7, 12.0]),), order=1, modes=["rev"])
  slope = jax.jit(jax.grad(function))
  assert float(slope(0.0)) == 0 and float(slope(1e30)) == 1 and float(slope(-1e30)) == -1


def test_the_term_is_the_mean_over_points_and_ignores_padding():
  output = jnp.array([[1.0, 2, 3, 4], [0, 0, 3, 4], [np.nan] * 4])
  target = jnp.array([[1.0, 2, 3, 4], [0, 0, 0, 0], [0] * 4])
  inputs = {"embedding_bd": output, "target_bt": target, "label_b": jnp.zeros(3, int), "weight_b": jnp.array([1.0, 1, 0])}
  term = LandmarkLoss("smooth_l1", width=1.0)
  run = jax.jit(lambda inputs: term({}, inputs, state={}, step=0, key=None))
  loss_b, _, metrics = run(inputs)
  np.testing.assert_allclose(loss_b, [0, (2.5 + 3.5) / 4, 0])
  # Distances 0, 0 and 0, 5 of the two rows that count.
  assert float(metrics["pixels"].value()) == pytest.approx(1.25)
  gradient = jax.grad(lambda output: run({**inputs, "embedding_bd": output})[0].sum())(output)
  assert np.isfinite(np.asarray(gradient)).all() and not np.asarray(gradient[2]).any()
  with pytest.raises(ValueError, match="has no targets"):
    term({}, {**{name: inputs[name] for name in ("embedding_bd", "weight_b")}}, state={}, step=0, key=None)


def test_wrong_settings_are_named():
  with pytest.raises(ValueError, match="form"):
    LandmarkLoss("l3")
  with pytest.raises(ValueError, match="width"):
    LandmarkLoss(width=0)
