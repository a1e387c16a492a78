"""Costs of pairs and their averages: loops over the definitions, slopes, and values of other libraries."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from jaxface.losses.distances import cosine, l1, l2
from jaxface.losses.pairs import (
  binomial_deviance,
  contrastive,
  contrastive_cosine,
  cosine_hinge,
  hinge,
  pair_mean,
  pair_weights,
  squared_hinge,
)
from jaxface.losses.unit import unit_rows

COSINES = {"cosine_hinge", "contrastive_cosine", "binomial_deviance"}
# Each cost, and its definition for one pair.
COSTS = {
  "contrastive": (
    lambda d, s: contrastive(d, s, margin=1.5),
    lambda d, s: 0.5 * d**2 if s else 0.5 * max(0.0, 1.5 - d) ** 2,
  ),
  "hinge": (
    lambda d, s: hinge(d, s, pos_margin=0.3, neg_margin=1.2),
    lambda d, s: max(0.0, d - 0.3) if s else max(0.0, 1.2 - d),
  ),
  "squared_hinge": (
    lambda d, s: squared_hinge(d, s, pos_margin=0.3, neg_margin=1.2),
    lambda d, s: max(0.0, d - 0.3) ** 2 if s else max(0.0, 1.2 - d) ** 2,
  ),
  "cosine_hinge": (
    lambda c, s: cosine_hinge(c, s, margin=0.2),
    lambda c, s: 1.0 - c if s else max(0.0, c - 0.2),
  ),
  "contrastive_cosine": (
    lambda c, s: contrastive_cosine(c, s, scale=3.0, bias=-1.0),
    lambda c, s: 0.5 * (s - 1 / (1 + math.exp(-(3 * c - 1)))) ** 2,
  ),
  "binomial_deviance": (
    binomial_deviance,
    lambda c, s: math.log(math.exp(-2.0 * (c - 0.5) * (1.0 if s else -25.0)) + 1.0),
  ),
}


@pytest.mark.parametrize("name", COSTS)
@given(value_n=arrays(np.float64, 9, elements=st.floats(-1, 1)), same_n=arrays(bool, 9))
def test_every_cost_is_its_definition(name, value_n, same_n):
  cost, definition = COSTS[name]
  value_n = value_n if name in COSINES else 2.0 * np.abs(value_n)
  with jax.enable_x64(True):
    found_n = jax.jit(cost)(value_n, same_n)
  np.testing.assert_allclose(found_n, [definition(v, bool(s)) for v, s in zip(value_n, same_n)], rtol=1e-12, atol=1e-15)
  assert (np.asarray(found_n) >= 0).all()


@pytest.mark.parametrize("name", COSTS)
def test_cost_slopes_against_finite_differences(name):
  value_n = np.array([0.1, 0.5, 0.9, 0.15, 0.55, 0.95]) * (1.0 if name in COSINES else 2.0)
  with jax.enable_x64(True):
    same_n = np.array([True] * 3 + [False] * 3)
    check_grads(jax.jit(lambda v: COSTS[name][0](v, same_n)), (jnp.asarray(value_n),), order=1, rtol=1e-6, atol=1e-7)


def test_learned_scale_and_bias_have_slopes():
  cosine_n, same_n = np.array([0.9, 0.1, 0.7, -0.4]), np.array([True, True, False, False])
  with jax.enable_x64(True):
    check_grads(
      lambda scale, bias: contrastive_cosine(cosine_n, same_n, scale=scale, bias=bias), (jnp.float64(3.0), jnp.float64(-1.0)),
      order=1, rtol=1e-6, atol=1e-7,
    )


def test_cosine_costs_are_finite_far_out():
  cosine_n, same_n = jnp.array([1.0, -1.0, 1.0, -1.0]), jnp.array([True, True, False, False])
  cost = jax.jit(jax.value_and_grad(
    lambda c: (contrastive_cosine(c, same_n, scale=1e4, bias=0.0) + binomial_deviance(c, same_n, cost=1e4)).sum()
  ))
  assert all(np.isfinite(leaf).all() for leaf in cost(cosine_n))


def mean_loop(cost_bb, label_b, weight_b, average, by_kind):
  sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
  for i in range(len(label_b)):
    for j in range(len(label_b)):
      if i != j and (average == "all" or cost_bb[i, j] > 0):
        kind = sums[bool(label_b[i] == label_b[j])]
        kind[0] += weight_b[i] * weight_b[j] * cost_bb[i, j]
        kind[1] += weight_b[i] * weight_b[j]
  if not by_kind:
    sums = {None: [sums[True][0] + sums[False][0], sums[True][1] + sums[False][1]]}
  return sum(total / weight for total, weight in sums.values() if weight)


@pytest.mark.parametrize("average", ["all", "active"])
@pytest.mark.parametrize("by_kind", [True, False])
@given(
  cost_bb=arrays(np.float32, (6, 6), elements=st.integers(0, 4)), label_b=arrays(np.int32, 6, elements=st.integers(0, 2)),
  weight_b=arrays(np.float32, 6, elements=st.sampled_from([0.0, 1.0, 2.0])),
)
def test_the_mean_is_a_loop_over_pairs(average, by_kind, cost_bb, label_b, weight_b):
  @jax.jit
  def mean(cost_bb, label_b, weight_b):
    return pair_mean(cost_bb, *pair_weights(label_b, weight_b), average=average, by_kind=by_kind)

  expected = mean_loop(cost_bb, label_b, weight_b, average, by_kind)
  np.testing.assert_allclose(mean(cost_bb, label_b, weight_b).sum(), expected, rtol=1e-5, atol=1e-7)


def test_pairs_are_what_they_should_be():
  same_bb, different_bb = jax.jit(pair_weights)(jnp.array([5, 7, 5]), jnp.array([1.0, 2.0, 3.0]))
  np.testing.assert_array_equal(same_bb, [[0, 0, 3], [0, 0, 0], [3, 0, 0]])
  np.testing.assert_array_equal(different_bb, [[0, 2, 0], [2, 0, 6], [0, 6, 0]])
  with pytest.raises(TypeError, match="label_b is float32"):
    pair_weights(jnp.array([1.0, 2.0]))


# 8 embeddings, and what PyTorch 2.13 and pytorch-metric-learning 2.9.0 gave for them in float64.
EMBEDDING = np.sin(1.7 * np.arange(40.0) ** 1.3).reshape(8, 5)
LABEL = np.array([0, 1, 0, 2, 1, 0, 2, 2])


def mean_of(cost, x_bd, **average):
  same_bb, different_bb = pair_weights(LABEL)
  return pair_mean(cost(x_bd, same_bb > 0), same_bb, different_bb, **average).sum()


GOLDEN = {
  # losses.ContrastiveLoss(): unit embeddings, plain distances, mean over the costing pairs of each kind, then the sum.
  "pytorch_metric_learning": (
    lambda x: mean_of(lambda x, s: hinge(l2(unit_rows(x)[0]), s), x, average="active"),
    1.694253181178207,
    [0.008121035916238513, 0.004848881484430773, 0.05995535768325127, 0.040591798265078756, -0.022910833859553947],
  ),
  # losses.ContrastiveLoss(pos_margin=0.3, neg_margin=1.2).
  "pytorch_metric_learning_margins": (
    lambda x: mean_of(lambda x, s: hinge(l2(unit_rows(x)[0]), s, pos_margin=0.3, neg_margin=1.2), x, average="active"),
    1.4812329856594462,
    [0.1138065945772475, 0.061454401244120715, 0.12337905151339143, -0.026073079499397193, -0.0836356364728752],
  ),
  # losses.ContrastiveLoss(neg_margin=4, distance=LpDistance(normalize_embeddings=False, p=1), reducer=MeanReducer()).
  "pytorch_metric_learning_l1": (
    lambda x: mean_of(lambda x, s: hinge(l1(x), s, neg_margin=4.0), x, average="all"),
    3.9601057324822255,
    [-0.047619047619047616, 0.14285714285714285, -0.14285714285714285, 0.14285714285714285, -0.3333333333333333],
  ),
  # nn.HingeEmbeddingLoss(margin=2) on distances of all i < j: one mean over both kinds.
  "torch_hinge_embedding": (
    lambda x: mean_of(lambda x, s: hinge(l2(x), s, neg_margin=2.0), x, by_kind=False),
    0.6201683723249103,
    [0.018416145874747127, -0.013320029107481101, 0.04725429460746865, -0.021657885938852317, -0.018949143318794725],
  ),
  # nn.CosineEmbeddingLoss(margin=0.2) on all i < j: one mean over both kinds.
  "torch_cosine_embedding": (
    lambda x: mean_of(lambda x, s: cosine_hinge(cosine(x), s, margin=0.2), x, by_kind=False),
    0.3293695676513323,
    [0.01719291704936901, 0.009821412147410818, 0.02885650891402035, 0.0059231274665363775, -0.014154042920831871],
  ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_other_libraries_agree(name):
  loss, value, gradient_d = GOLDEN[name]
  with jax.enable_x64(True):
    found, found_bd = jax.jit(jax.value_and_grad(loss))(jnp.asarray(EMBEDDING))
  np.testing.assert_allclose(found, value, rtol=1e-6)
  np.testing.assert_allclose(found_bd[0], gradient_d, rtol=1e-5, atol=1e-8)


def test_contrastive_pulls_and_pushes_along_the_line_between():
  # DeepID2: same f_i − f_j, different −(m − ‖d‖)·d/‖d‖.
  x_bd = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  pull = jax.grad(lambda x: contrastive(l2(x), jnp.full((2, 2), True))[0, 1])(x_bd)
  push = jax.grad(lambda x: contrastive(l2(x), jnp.full((2, 2), False), margin=7.0)[0, 1])(x_bd)
  np.testing.assert_allclose(pull, [[3.0, 4.0], [-3.0, -4.0]], rtol=1e-5)
  np.testing.assert_allclose(push, [[-1.2, -1.6], [1.2, 1.6]], rtol=1e-5)
