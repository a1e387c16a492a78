"""The term over all pairs: every form, its laws, corners, metrics, and one value on any number of devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxface.losses.collapse import collapse
from jaxface.losses.metrics import values
from jaxface.losses.pair_forms import (
  BinomialDeviance,
  Contrastive,
  ContrastiveCosine,
  CosineHinge,
  Hinge,
  Histogram,
  SiameseLogistic,
  SiameseRegression,
)
from jaxface.losses.pair_loss import LIBRARY_LOSSES, PairLoss

B, D = 16, 6
TERMS = {
  "contrastive_l2": PairLoss(Contrastive(margin=4.0)),
  "contrastive_l1": PairLoss(Contrastive(margin=2.0, distance="l1", unit=True), average="active", by_kind=False),
  "contrastive_cosine": PairLoss(ContrastiveCosine()),
  "hinge": PairLoss(Hinge(0.2, 1.3), average="active"),
  "squared_hinge": PairLoss(Hinge(squared=True), by_kind=False),
  "cosine_hinge": PairLoss(CosineHinge(0.1), kinds="different"),
  "binomial_deviance": PairLoss(BinomialDeviance()),
  "histogram": PairLoss(Histogram(nodes=21)),
  "siamese_regression": PairLoss(SiameseRegression(), kinds="same"),
  "siamese_l1": PairLoss(SiameseLogistic()),
  "siamese_chi2": PairLoss(SiameseLogistic("chi2")),
}
by_angle = pytest.mark.parametrize(
  "name", ["contrastive_cosine", "hinge", "cosine_hinge", "binomial_deviance", "histogram", "siamese_regression"]
)
all_terms = pytest.mark.parametrize("name", TERMS)


@functools.cache
def compiled(term, rows_at=None):
  def mean(params, embedding_bd, label_b, weight_b):
    inputs = {"embedding_bd": embedding_bd, "label_b": label_b, "weight_b": weight_b}
    loss_b, state, metrics = term(params, inputs, state={}, step=0, key=None)
    assert state == {}
    chex.assert_shape(loss_b, weight_b.shape)
    return loss_b.sum() / jnp.maximum(weight_b.sum(), 1e-12), (loss_b, values(metrics))

  run = jax.value_and_grad(mean, (0, 1), has_aux=True)
  return jax.jit(run) if rows_at is None else jax.jit(run, in_shardings=(None, rows_at, rows_at, rows_at))


def run(name, embedding_bd, label_b, weight_b=None, rows_at=None):
  term = TERMS[name]
  params, _ = term.init(None, embedding_bd.shape[1], 5)
  weight_b = np.ones(len(label_b), np.float32) if weight_b is None else np.asarray(weight_b, np.float32)
  (value, (loss_b, metrics)), (params_bar, x_bar) = compiled(term, rows_at)(params, embedding_bd, label_b, weight_b)
  return {"value": value, "loss_b": loss_b, "metrics": metrics, "params_bar": params_bar, "x_bar": x_bar}


def draw(seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(B, D)).astype(np.float32), rng.integers(0, 5, B).astype(np.int32)


def close(found, expected, rtol=1e-4, atol=1e-5):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)


@all_terms
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(B)))
def test_order_plays_no_part_and_nothing_is_negative(name, seed, order):
  x_bd, label_b = draw(seed)
  order = np.asarray(order)
  first, second = run(name, x_bd, label_b), run(name, x_bd[order], label_b[order])
  close(second["value"], first["value"])
  close(second["metrics"], first["metrics"])
  close(second["x_bar"], first["x_bar"][order])
  assert (first["loss_b"] >= 0).all()
  assert 0 <= first["metrics"]["active_share"] <= 1 and 0 <= first["metrics"]["collapse"] <= 1


@all_terms
def test_padding_equals_its_absence_whatever_it_holds(name):
  x_bd, label_b = draw(1)
  x_bd[1], x_bd[3], label_b[5] = np.nan, np.inf, -7
  found = run(name, x_bd, label_b, [1, 0] * (B // 2))
  expected = run(name, x_bd[::2], label_b[::2])
  close(found["value"], expected["value"])
  close(found["metrics"], expected["metrics"])
  close(found["params_bar"], expected["params_bar"])
  close(found["x_bar"][::2], expected["x_bar"])
  np.testing.assert_array_equal(found["x_bar"][1::2], 0.0)
  np.testing.assert_array_equal(found["loss_b"][1::2], 0.0)


@by_angle
def test_neither_length_nor_a_turn_of_all_embeddings_matters(name):
  x_bd, label_b = draw(2)
  turn_dd = np.linalg.qr(np.random.default_rng(3).normal(size=(D, D)))[0].astype(np.float32)
  close(run(name, 7.0 * x_bd @ turn_dd, label_b)["value"], run(name, x_bd, label_b)["value"])


CORNERS = {
  "all equal": np.ones((B, D)),
  "all zero": np.zeros((B, D)),
  "opposite": np.ones((B, D)) * np.where(np.arange(B) % 2, 1.0, -1.0)[:, None],
  "one zero": np.concatenate([np.zeros((1, D)), np.random.default_rng(4).normal(size=(B - 1, D))]),
  "far": 1e6 * np.random.default_rng(5).normal(size=(B, D)),
  "near": 1e-10 * np.random.default_rng(6).normal(size=(B, D)),
}


@pytest.mark.parametrize("corner", CORNERS)
@all_terms
def test_corners_are_finite(name, corner):
  x_bd = CORNERS[corner].astype(np.float32)
  # Where a batch has no pair of a kind, the mean over them is no number.
  for label_b, absent in ((np.arange(B) // 4, None), (np.zeros(B, int), "different"), (np.arange(B), "same")):
    found = run(name, x_bd, label_b.astype(np.int32))
    if absent:
      assert np.isnan(found["metrics"].pop(f"{absent}_distance"))
      if TERMS[name].kinds == absent:
        assert np.isnan(found["metrics"].pop("active_share"))
    chex.assert_tree_all_finite(found)


@all_terms
def test_no_pair_is_no_loss(name):
  x_bd, label_b = draw(7)
  for weight_b in (np.zeros(B), np.eye(B)[3]):
    found = run(name, x_bd, label_b, weight_b)
    metrics = found.pop("metrics")
    chex.assert_tree_all_finite(found)
    assert found["value"] == 0 and not found["x_bar"].any() and metrics["same_pairs"] == 0
    # A mean over no pair is no number; 0 would pull down the mean over the steps.
    assert all(np.isnan(metrics[name]) for name in ("active_share", "same_distance", "different_distance"))


def test_one_kind_of_pairs_alone():
  x_bd, label_b = draw(8)
  both = TERMS["contrastive_l2"]
  parts = []
  for kinds in ("same", "different"):
    term = PairLoss(both.form, kinds=kinds)
    value = compiled(term)({}, x_bd, label_b, np.ones(B, np.float32))[0][0]
    parts.append(value)
    alone = compiled(term)({}, x_bd, np.zeros(B, np.int32) if kinds == "different" else np.arange(B), np.ones(B, np.float32))
    assert alone[0][0] == 0
  # L2+ and L2− are the halves of the whole.
  close(sum(parts), run("contrastive_l2", x_bd, label_b)["value"])
  assert min(parts) > 0


@all_terms
def test_half_precision_input_changes_the_loss_by_rounding_only(name):
  x_bd, label_b = draw(9)
  rounded = x_bd.astype(jnp.bfloat16)
  found, expected = run(name, rounded, label_b), run(name, rounded.astype(np.float32), label_b)
  np.testing.assert_array_equal(found["value"], expected["value"])
  assert found["loss_b"].dtype == jnp.float32 and found["x_bar"].dtype == jnp.bfloat16
  close(found["value"], run(name, x_bd, label_b)["value"], rtol=0.05, atol=0.05)


@all_terms
def test_slopes_against_finite_differences(name):
  x_bd, label_b = draw(10)
  with jax.enable_x64(True):
    params = jax.tree.map(lambda a: a.astype(np.float64), TERMS[name].init(None, D, 5)[0])

    def loss(params, embedding_bd):
      inputs = {"embedding_bd": embedding_bd, "label_b": label_b[:8], "weight_b": jnp.ones(8)}
      return TERMS[name](params, inputs, state={}, step=0, key=None)[0].sum()

    # A small step, so that it crosses no kink of a hinge or of a histogram.
    check_grads(jax.jit(loss), (params, x_bd[:8].astype(np.float64)), order=1, modes=("rev",), eps=1e-6, rtol=1e-4, atol=1e-6)


@all_terms
def test_one_device_is_eight_devices(name):
  mesh = Mesh(np.asarray(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))
  # Two rows to a device and five identities: nearly every pair spans devices.
  x_bd, label_b = draw(11)
  weight_b = [1] * (B - 3) + [0] * 3
  close(run(name, x_bd, label_b, weight_b, NamedSharding(mesh, P("data"))), run(name, x_bd, label_b, weight_b))


def test_metrics_by_hand():
  # Same: 0-1 at distance 5; different: 0-2 at 0 and 1-2 at 5; the last row is padding.
  x_bd = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [9.0, 9.0]])
  term = PairLoss(Contrastive(margin=2.0))
  (value, (loss_b, metrics)), _ = compiled(term)({}, x_bd, jnp.array([4, 4, 1, 4]), jnp.array([1.0, 1.0, 1.0, 0.0]))
  np.testing.assert_allclose(value, 0.5 * 25 + (0.5 * 4 + 0) / 2, rtol=1e-6)
  np.testing.assert_allclose(loss_b, 3 * np.array([6.25 + 0.5, 6.25, 0.5, 0.0]), rtol=1e-6)
  expected = {"same_distance": 5.0, "different_distance": 2.5, "active_share": 2 / 3, "same_pairs": 1.0, "collapse": 1 / 9}
  assert metrics.keys() == expected.keys()
  close(dict(metrics), expected)


def test_a_collapse_is_seen_whatever_the_length_of_embeddings():
  rng = np.random.default_rng(12)
  weight_b = jnp.ones(64)
  spread, point = rng.normal(size=(64, 32)), rng.normal(size=32) + 1e-3 * rng.normal(size=(64, 32))
  for scale in (1e-4, 1.0, 1e4):
    assert jax.jit(collapse)(scale * spread, weight_b) < 0.1
    assert jax.jit(collapse)(scale * point, weight_b) > 0.999
  assert not jax.grad(collapse)(jnp.asarray(spread), weight_b).any()


def test_libraries_by_name():
  # Values of these libraries: tests/losses/test_pairs.py. Here the whole term, on unit embeddings.
  x_bd = np.sin(1.7 * np.arange(40.0) ** 1.3).reshape(8, 5).astype(np.float32)
  label_b = np.array([0, 1, 0, 2, 1, 0, 2, 2], np.int32)
  term = LIBRARY_LOSSES["pytorch_metric_learning.losses.ContrastiveLoss"]
  np.testing.assert_allclose(compiled(term)({}, x_bd, label_b, np.ones(8, np.float32))[0][0], 1.694253181178207, rtol=1e-5)
  assert len(set(LIBRARY_LOSSES.values())) == len(LIBRARY_LOSSES) == 4


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: Contrastive(margin=0.0), r"Contrastive.margin = 0.0 .*\(0, inf\)"),
    (lambda: Contrastive(distance="l3"), "Contrastive.distance = 'l3' is unknown: choose one of l2, l1"),
    (lambda: Hinge(pos_margin=-1.0), "Hinge.pos_margin"),
    (lambda: Hinge(neg_margin=float("nan")), "Hinge.neg_margin"),
    (lambda: CosineHinge(1.5), "CosineHinge.margin"),
    (lambda: BinomialDeviance(alpha=0.0), "BinomialDeviance.alpha"),
    (lambda: Histogram(nodes=1), "Histogram.nodes"),
    (lambda: SiameseRegression(1.0), "SiameseRegression.different_target"),
    (lambda: SiameseLogistic("l2"), "SiameseLogistic.distance"),
    (lambda: PairLoss(kinds="L2+"), "PairLoss.kinds = 'L2.' is unknown: choose one of both, same, different"),
    (lambda: PairLoss(average="nonzero"), "PairLoss.average"),
    (lambda: PairLoss(weight=-1.0), "PairLoss.weight"),
    (lambda: PairLoss(Histogram(), average="active"), "PairLoss of Histogram has .*average='active'"),
  ],
)
def test_hyper_parameters_out_of_range_are_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()


def test_labels_that_are_no_integers_are_refused():
  with pytest.raises(TypeError, match="label_b is float32"):
    run("hinge", draw()[0], np.ones(B, np.float32))
