"""Range loss, marginal loss and the repulsion of centres: loops from the definitions, laws, gradients, corners."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.losses.regularisers import MarginalLoss, RangeLoss, center_repulsion, marginal_loss, range_loss

B, D = 9, 3
RANGE = {"k": 2, "margin": 9.0, "intra": 0.5, "inter": 2.0}


def range_by_loops(x, label, weight, *, k, margin, intra, inter):
  classes = {y: [row for row, own, live in zip(x, label, weight) if own == y and live] for y in label[weight > 0]}
  within = 0.0
  for rows in classes.values():
    distances = sorted((((a - b) ** 2).sum() for a, b in itertools.combinations(rows, 2)), reverse=True)[:k]
    within += len(distances) / sum(1 / d for d in distances) if distances and min(distances) > 0 else 0.0
  means = [np.mean(rows, axis=0) for rows in classes.values()]
  between = min((((a - b) ** 2).sum() for a, b in itertools.combinations(means, 2)), default=np.inf)
  return intra * within + inter * max(0.0, margin - between)


def marginal_by_loops(x, label, weight, *, threshold=1.2, margin=0.3):
  costs = []
  for i, j in itertools.permutations(np.flatnonzero(weight), 2):
    distance = ((x[i] / np.linalg.norm(x[i]) - x[j] / np.linalg.norm(x[j])) ** 2).sum()
    costs.append(max(0.0, margin - (1 if label[i] == label[j] else -1) * (threshold - distance)))
  return np.mean(costs) if costs else 0.0


LOSSES = {
  "range": (lambda *rows: range_loss(*rows, **RANGE), lambda *rows: range_by_loops(*rows, **RANGE)),
  "marginal": (marginal_loss, marginal_by_loops),
}
COMPILED = {name: jax.jit(loss) for name, (loss, _) in LOSSES.items()}
both = pytest.mark.parametrize("name", list(LOSSES))


def draw(seed, classes=3):
  rng = np.random.default_rng(seed)
  x, label = 2 * rng.normal(size=(B, D)), rng.integers(0, classes, B).astype(np.int32)
  return x, label, (rng.random(B) < 0.8).astype(np.float64)


@both
@settings(max_examples=15)
@given(seed=st.integers(0, 1000), classes=st.sampled_from([1, 3, 40]))
def test_value_by_loops(name, seed, classes):
  with jax.enable_x64(True):
    rows = draw(seed, classes)
    np.testing.assert_allclose(COMPILED[name](*rows), LOSSES[name][1](*rows), rtol=1e-9, atol=1e-12)


@both
def test_gradients_against_finite_differences(name):
  with jax.enable_x64(True):
    x, label, weight = draw(5)
    check_grads(lambda x: COMPILED[name](x, label, weight), (x,), order=1, modes=("rev",), eps=1e-6, rtol=1e-5, atol=1e-6)


@both
def test_rows_may_be_permuted_and_padding_may_hold_anything(name):
  x, label, weight = draw(2)
  x, weight = x.astype(np.float32), weight.astype(np.float32)
  expected = COMPILED[name](x, label, weight)
  order = np.random.default_rng(0).permutation(B)
  np.testing.assert_allclose(COMPILED[name](x[order], label[order], weight[order]), expected, rtol=1e-5)
  x[weight == 0] = np.nan
  value, slope = jax.jit(jax.value_and_grad(LOSSES[name][0]))(x, label, weight)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  np.testing.assert_array_equal(slope[weight == 0], 0.0)


@both
@pytest.mark.parametrize("classes", [1, 2, B])
def test_finite_for_equal_and_zero_rows_and_no_rows(name, classes):
  label = (np.arange(B) % classes).astype(np.int32)
  for x in (np.zeros((B, D)), np.ones((B, D)), np.eye(B, D)):
    for weight in (np.ones(B), np.zeros(B)):
      value, slope = jax.jit(jax.value_and_grad(LOSSES[name][0]))(*map(jnp.float32, (x,)), label, jnp.float32(weight))
      assert np.isfinite(value) and value >= 0 and np.isfinite(slope).all()


@both
def test_half_precision_only_rounds_the_embeddings(name):
  x, label, weight = draw(3)
  rounded = jnp.asarray(x, jnp.bfloat16)
  value = COMPILED[name](rounded, label, weight)
  assert value.dtype == jnp.float32
  np.testing.assert_allclose(value, COMPILED[name](rounded.astype(jnp.float32), label, weight), rtol=1e-6)


def test_tied_distances_pay_once():
  # Three equal sides: the two greatest are any two of them, and their gradients sum to that of one loss.
  x = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3**0.5]])
  with jax.enable_x64(True):
    value, slope = jax.value_and_grad(lambda x: range_loss(x, np.zeros(3, int), np.ones(3), intra=1.0))(jnp.asarray(x))
    np.testing.assert_allclose(value, 4.0, rtol=1e-9)
    # d/dt of the value of t·x at t = 1.
    np.testing.assert_allclose((slope * x).sum(), 8.0, rtol=1e-9)


def test_repulsion_by_loops_and_gradient():
  rng = np.random.default_rng(0)
  w, label = rng.normal(size=(6, 4)), np.int32([0, 5, 2, 2])
  unit = w / np.linalg.norm(w, axis=1, keepdims=True)
  expected = [np.mean([1 / ((unit[y] - unit[j]) ** 2).sum() for j in range(6) if j != y]) for y in label]
  with jax.enable_x64(True):
    np.testing.assert_allclose(jax.jit(center_repulsion)(w, label), expected, rtol=1e-9)
    check_grads(lambda w: center_repulsion(w, label), (w,), order=1, modes=("rev",), eps=1e-6, rtol=1e-5, atol=1e-6)


def test_repulsion_is_least_where_two_centers_are_opposite_and_finite_where_they_coincide():
  label = np.int32([0])
  np.testing.assert_allclose(center_repulsion(jnp.array([[3.0, 0.0], [-1.0, 0.0]]), label), [0.25], rtol=1e-6)
  for w in (jnp.ones((4, 3)), jnp.zeros((4, 3)), jnp.ones((1, 3))):
    value, slope = jax.value_and_grad(lambda w: center_repulsion(w, label).sum())(w)
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize("term", [RangeLoss(**RANGE), MarginalLoss()])
def test_terms_give_every_row_the_value_of_the_batch(term):
  x, label, weight = draw(1)
  params, state = term.init(jax.random.key(0), D, 3)
  inputs = {"embedding_bd": jnp.float32(x), "label_b": label, "weight_b": jnp.float32(weight)}
  loss_b, state, metrics = jax.jit(lambda i: term(params, i, state=state, step=0, key=None))(inputs)
  oracle = range_by_loops if isinstance(term, RangeLoss) else marginal_by_loops
  options = RANGE if isinstance(term, RangeLoss) else {}
  np.testing.assert_allclose(loss_b.sum() / weight.sum(), oracle(x, label, weight, **options), rtol=1e-5)
  np.testing.assert_allclose(metrics["value"], loss_b.sum() / weight.sum(), rtol=1e-6)
  assert state == {}


@pytest.mark.parametrize(
  ("build", "message"),
  [
    (lambda: RangeLoss(k=0), r"RangeLoss\.k = 0"),
    (lambda: RangeLoss(intra=-1.0), r"RangeLoss\.intra = -1"),
    (lambda: MarginalLoss(threshold=5.0), r"MarginalLoss\.threshold = 5"),
    (lambda: MarginalLoss(weight=-1.0), r"MarginalLoss\.weight = -1"),
  ],
)
def test_values_out_of_range_are_refused(build, message):
  with pytest.raises(ValueError, match=message):
    build()
