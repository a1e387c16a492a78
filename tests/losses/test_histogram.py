"""The histogram loss: a loop over pairs and nodes, its limits, slopes, and pytorch-metric-learning's value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from jaxface.losses.distances import cosine
from jaxface.losses.histogram import histogram, soft_histogram
from jaxface.losses.pairs import pair_mean, pair_weights


def loss(cosine_bb, label_b, weight_b=None, nodes=11):
  same_bb, different_bb = pair_weights(label_b, weight_b)
  return pair_mean(histogram(cosine_bb, same_bb, different_bb, nodes=nodes), same_bb, different_bb).sum()


jitted = jax.jit(loss, static_argnames="nodes")


def loss_loop(cosine_bb, label_b, weight_b, nodes):
  """Σ_r h⁻_r Σ_{q ≤ r} h⁺_q, every pair spread over nodes by the triangle of the paper's equation 2."""
  at_r, step = np.linspace(-1, 1, nodes), 2 / (nodes - 1)
  counts = {True: np.zeros(nodes), False: np.zeros(nodes)}
  for i in range(len(label_b)):
    for j in range(i):
      triangle_r = np.maximum(0.0, 1.0 - np.abs(cosine_bb[i, j] - at_r) / step)
      counts[bool(label_b[i] == label_b[j])] += weight_b[i] * weight_b[j] * triangle_r
  same_r, different_r = (c / c.sum() if c.sum() else c for c in (counts[True], counts[False]))
  return (different_r * np.cumsum(same_r)).sum()


@given(
  x_bd=arrays(np.float64, (6, 3), elements=st.floats(-2, 2)), label_b=arrays(np.int32, 6, elements=st.integers(0, 2)),
  weight_b=arrays(np.float64, 6, elements=st.sampled_from([0.0, 1.0, 2.0])),
)
def test_value_is_a_loop_over_pairs_and_nodes(x_bd, label_b, weight_b):
  with jax.enable_x64(True):
    cosine_bb = cosine(jnp.asarray(x_bd))
    found = float(jitted(cosine_bb, label_b, weight_b))
  np.testing.assert_allclose(found, loss_loop(np.asarray(cosine_bb), label_b, weight_b, 11), rtol=1e-9, atol=1e-12)
  assert 0.0 <= found <= 1.0 + 1e-9


def test_limits():
  label_b = jnp.array([0, 0, 1, 1])
  same = np.equal.outer(label_b, label_b)
  assert jitted(jnp.where(same, 0.9, -0.9), label_b) == 0.0
  np.testing.assert_allclose(jitted(jnp.where(same, -0.9, 0.9), label_b), 1.0, rtol=1e-6)
  # Every cosine at one node: all same pairs are at most as alike as any different one.
  np.testing.assert_allclose(jitted(jnp.ones((4, 4)), label_b), 1.0, rtol=1e-6)


@pytest.mark.parametrize("label_b", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_one_kind_of_pairs_alone_is_free(label_b):
  value, slope_bb = jax.jit(jax.value_and_grad(lambda c: loss(c, jnp.array(label_b))))(jnp.full((4, 4), 0.3))
  assert value == 0.0
  np.testing.assert_array_equal(slope_bb, 0.0)


def test_a_cosine_belongs_to_its_two_neighbours_and_the_ends_to_themselves():
  found_r = jax.jit(lambda c: soft_histogram(c, jnp.ones(4), nodes=5))(jnp.array([-1.0, 1.0, 0.125, 1.0000001]))
  np.testing.assert_allclose(found_r, np.array([1, 0, 0.75, 0.25, 2]) / 4, rtol=1e-6)


def test_slopes_against_finite_differences():
  rng = np.random.default_rng(0)
  label_b = np.array([0, 1, 0, 2, 1, 0, 2])
  with jax.enable_x64(True):
    # 7 pairs at random lie far (against the step of the differences) from the kinks at the nodes.
    check_grads(
      jax.jit(lambda x: loss(cosine(x), label_b)), (jnp.asarray(rng.normal(size=(7, 4))),), order=1, modes=("rev",),
      eps=1e-6, rtol=1e-5, atol=1e-7,
    )


@pytest.mark.parametrize(
  ("bins", "value", "gradient_d"),
  [
    # losses.HistogramLoss(n_bins=...) of pytorch-metric-learning 2.9.0 in float64. It counts intervals, not nodes; it fails
    # at a cosine of exactly 1, and leaves out rows without a same or without a different pair (none here).
    # Its nodes lie at float32 places (integer tensor times Python number): 1e-6 off the loop above, slopes 4e-5.
    (50, 0.5817511671850395,
     [0.05308630427210574, -0.04698673939477817, 0.015529246562829358, -0.009807885012918691, -0.08692206525926471]),
    (100, 0.5778927466867304,
     [0.011455843679894419, -0.017117862783968204, 0.0024827229507995456, -0.003839879815352035, -0.028361374592640272]),
  ],
)
def test_another_library_agrees(bins, value, gradient_d):
  x_bd = np.sin(1.7 * np.arange(40.0) ** 1.3).reshape(8, 5)
  label_b = np.array([0, 1, 0, 2, 1, 0, 2, 2])
  with jax.enable_x64(True):
    found, found_bd = jax.jit(jax.value_and_grad(lambda x: loss(cosine(x), label_b, nodes=bins + 1)))(jnp.asarray(x_bd))
  np.testing.assert_allclose(found, value, rtol=2e-6)
  np.testing.assert_allclose(found_bd[0], gradient_d, rtol=1e-4)
