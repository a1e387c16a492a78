"""Margin × head: gradients by finite differences, laws, corners; the numbers themselves are in test_dense_numbers.py."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_margin import MARGINS
from jax.test_util import check_grads

from jaxface.losses.dense import dense_head
from jaxface.losses.joint import Prep
from jaxface.losses.margins import (
  ArcFace,
  CombinedMargin,
  CosFace,
  ModifiedSoftmax,
  NormSoftmax,
  SphereFaceR,
  SubcenterArcFace,
)
from jaxface.losses.margins_adaptive import AdaFace, CurricularFace, ElasticFace, MagFace
from jaxface.losses.margins_asoftmax import ASoftmax
from jaxface.losses.margins_base import CosineMargin
from jaxface.losses.margins_filter import Filtered

B, D, C = 5, 6, 7
STEP = 3


@dataclass(frozen=True)
class Frozen:
  """A margin whose context stays what it was at one point: what is detached there cannot move here."""

  margin: Any
  prep: Prep

  @property
  def geometry(self):
    return self.margin.geometry

  def prepare(self, *_, **__):
    return self.prep

  def target(self, target_b, ctx):
    return self.margin.target(target_b, ctx)

  def others(self, score_bk, ctx):
    return self.margin.others(score_bk, ctx)


HEADS = {"dense": dense_head}


def over(*left_out):
  """The margins, without those that a law is not about."""
  named = {name: margin for name, margin in MARGINS.items() if name not in left_out}
  return pytest.mark.parametrize("margin", list(named.values()), ids=list(named))


matrix = pytest.mark.parametrize("head", list(HEADS.values()), ids=list(HEADS))
margins = over()


def draw(margin, seed=0, dtype=np.float64):
  rng = np.random.default_rng(seed)
  params = {"center_cd": rng.normal(size=(C * margin.geometry.subcenters, D)).astype(dtype)}
  if margin.geometry.bias:
    params["bias_c"] = 0.3 * rng.normal(size=C).astype(dtype)
  return params, rng.normal(size=(B, D)).astype(dtype), rng.integers(0, C, B).astype(np.int32)


def run(head, margin, params, x, label, weight=None, smoothing=0.0):
  weight = jnp.ones(len(x), x.dtype) if weight is None else weight
  state = jax.tree.map(lambda a: a.astype(x.dtype), margin.init_state())
  return jax.jit(
    lambda p, x: head(
      p, x, label, weight, margin=margin, state=state, step=STEP, key=jax.random.key(2), label_smoothing=smoothing
    )
  )(params, x)


def weighted_sum(head, margin, state, label):
  weight = np.array([1.0, 0.0, 0.5, 1.0, 2.0])

  @jax.jit
  def total(params, x):
    result = head(
      params, x, label, weight, margin=margin, state=state, step=STEP, key=jax.random.key(2), label_smoothing=0.1
    )
    return (result.loss_b * weight).sum() + 0.01 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(result.state))

  return total


def check_reverse(function, *arguments):
  check_grads(function, arguments, order=1, modes=("rev",), eps=1e-5, rtol=1e-5, atol=1e-5)


@matrix
@over("adaface", "curricularface", "filtered")
def test_gradients_of_rows_centers_bias_and_norms_against_finite_differences(head, margin):
  with jax.enable_x64(True):
    params, x, label = draw(margin, seed=1)
    state = jax.tree.map(lambda a: a.astype(x.dtype), margin.init_state())
    check_reverse(weighted_sum(head, margin, state, label), params, x)


@matrix
@pytest.mark.parametrize("name", ["adaface", "curricularface", "filtered"])
def test_gradients_hold_detached_statistics_still(head, name):
  margin = MARGINS[name]
  with jax.enable_x64(True):
    params, x, label = draw(margin, seed=1)
    state = jax.tree.map(lambda a: a.astype(x.dtype), margin.init_state())
    seen = run(head, margin, params, x, label)
    prep = margin.prepare(
      seen.target_b, seen.norm_b, jnp.array([1.0, 0.0, 0.5, 1.0, 2.0]), state=state, step=STEP, key=None,
      reduce=lambda total: total,
    )
    still = weighted_sum(head, Frozen(margin, prep), state, label)
    check_reverse(still, params, x)
    moving = weighted_sum(head, margin, state, label)
    for found, expected in zip(
      jax.tree.leaves(jax.grad(moving, (0, 1))(params, x)), jax.tree.leaves(jax.grad(still, (0, 1))(params, x))
    ):
      np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@matrix
@over("elasticface", "probe")
def test_rows_and_classes_may_be_permuted(head, margin):
  k = margin.geometry.subcenters
  params, x, label = draw(margin, dtype=np.float32)
  loss = jax.jit(lambda p, x, label: head(
    p, x, label, jnp.ones(B), margin=margin, state=margin.init_state(), step=STEP, label_smoothing=0.1
  ).loss_b)
  for seed in range(5):
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(B), rng.permutation(C)
    moved = {"center_cd": params["center_cd"].reshape(C, k, D)[classes].reshape(C * k, D)}
    if "bias_c" in params:
      moved["bias_c"] = params["bias_c"][classes]
    new_label = np.argsort(classes)[label[rows]].astype(np.int32)
    np.testing.assert_allclose(loss(moved, x[rows], new_label), loss(params, x, label)[rows], rtol=1e-5, atol=1e-5)


@matrix
@margins
def test_turning_everything_changes_nothing(head, margin):
  params, x, label = draw(margin)
  turn = np.linalg.qr(np.random.default_rng(4).normal(size=(D, D)))[0]
  with jax.enable_x64(True):
    turned = run(head, margin, {**params, "center_cd": params["center_cd"] @ turn}, x @ turn, label).loss_b
    np.testing.assert_allclose(turned, run(head, margin, params, x, label).loss_b, rtol=1e-9)


@matrix
@pytest.mark.parametrize(
  "margin",
  [
    ArcFace(m=0.0), CosFace(m=0.0), CombinedMargin(m1=1, m2=0, m3=0), AdaFace(m=0.0), ElasticFace(m=0.0, deviation=0.0),
    MagFace(low_m=0.0, high_m=0.0, pull=0.0), SphereFaceR(m=1.0, scale=64.0, gradient="exact"),
    Filtered(NormSoftmax(), threshold=0.999),
  ],
  ids=lambda margin: type(margin).__name__,
)
def test_no_margin_is_normalised_softmax(head, margin):
  params, x, label = draw(margin, dtype=np.float32)
  plain = run(head, NormSoftmax(), params, x, label)
  np.testing.assert_array_equal(run(head, margin, params, x, label).loss_b, plain.loss_b)


@matrix
def test_a_softmax_without_a_margin_is_modified_softmax(head):
  params, x, label = draw(ModifiedSoftmax(), dtype=np.float32)
  plain = run(head, ModifiedSoftmax(), params, x, label).loss_b
  np.testing.assert_allclose(run(head, ASoftmax(m=1), params, x, label).loss_b, plain, rtol=1e-6)


@matrix
def test_one_subcenter_is_arcface(head):
  params, x, label = draw(ArcFace(), dtype=np.float32)
  single = run(head, SubcenterArcFace(subcenters=1), params, x, label)
  np.testing.assert_array_equal(single.loss_b, run(head, ArcFace(), params, x, label).loss_b)
  thrice = {"center_cd": np.repeat(params["center_cd"], 3, axis=0)}
  np.testing.assert_allclose(run(head, SubcenterArcFace(), thrice, x, label).loss_b, single.loss_b, rtol=1e-5)


@matrix
@pytest.mark.parametrize("margin", [NormSoftmax(), ArcFace(), CosFace(), SubcenterArcFace(), CurricularFace(), SphereFaceR()])
def test_lengths_do_not_count(head, margin):
  params, x, label = draw(margin)
  with jax.enable_x64(True):
    base = run(head, margin, params, x, label).loss_b
    factor = np.random.default_rng(3).uniform(0.01, 100, len(params["center_cd"]))
    scaled = run(head, margin, {"center_cd": params["center_cd"] * factor[:, None]}, 1e3 * x, label).loss_b
    np.testing.assert_allclose(scaled, base, rtol=1e-9)


@matrix
@over("probe")
def test_loss_is_not_negative_without_smoothing(head, margin):
  params, x, label = draw(margin, dtype=np.float32)
  sure = {**params, "center_cd": np.repeat(np.eye(C, D), margin.geometry.subcenters, 0).astype(np.float32)}
  x_sure = 50 * np.eye(C, D, dtype=np.float32)[label]
  for p, rows in ((params, x), (sure, x_sure)):
    assert (run(head, margin, p, rows, label).loss_b >= 0).all()


@matrix
@margins
@pytest.mark.parametrize("gradient", ["exact", "detached", "published"])
def test_everything_is_finite_for_zero_and_parallel_vectors(head, margin, gradient):
  if isinstance(margin, ASoftmax) and gradient != "detached":
    margin = replace(margin, gradient=gradient)
  elif isinstance(margin, CosineMargin) and gradient != "published":
    margin = replace(margin, gradient=gradient, scale=64.0)
  elif gradient != "exact":
    return
  params, x, label = draw(margin, dtype=np.float32)
  k = margin.geometry.subcenters
  params["center_cd"][label[3] * k] = 0.0
  x[0] = 0.0
  x[1] = 7 * params["center_cd"][label[1] * k]
  x[2] = -7 * params["center_cd"][label[2] * k]

  def loss(params, x):
    return head(
      params, x, label, jnp.ones(B), margin=margin, state=margin.init_state(), step=STEP, key=jax.random.key(0)
    ).loss_b.sum()

  value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)
  assert np.isfinite(value)
  for leaf in jax.tree.leaves(gradients):
    assert np.isfinite(leaf).all()
    assert np.abs(leaf).max() < 1e4


@matrix
@margins
def test_half_precision_rounds_its_inputs_and_nothing_else(head, margin):
  params, x, label = draw(margin, dtype=np.float32)
  rounded = {**params, "center_cd": jnp.asarray(params["center_cd"], jnp.bfloat16)}, jnp.asarray(x, jnp.bfloat16)
  wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), rounded)
  state = margin.init_state()

  @jax.jit
  def loss(params, x):
    return head(
      params, x, label, jnp.ones(B), margin=margin, state=state, step=STEP, key=jax.random.key(2)
    )

  result = loss(*rounded)
  assert result.loss_b.dtype == jnp.float32
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result.state))
  np.testing.assert_allclose(result.loss_b, loss(*wide).loss_b, rtol=1e-6)


@matrix
def test_filtered_classes_are_as_if_they_were_not(head):
  plain = CosFace(scale=8.0)
  params, x, label = draw(plain)
  with jax.enable_x64(True):
    unit = params["center_cd"] / np.linalg.norm(params["center_cd"], axis=1, keepdims=True)
    cosine = x @ unit.T / np.linalg.norm(x, axis=1, keepdims=True)
    for row in np.flatnonzero((cosine > 0.3).sum(1) > 1)[:2]:
      kept = [c for c in range(C) if c == label[row] or cosine[row, c] <= 0.3]
      assert len(kept) < C
      alone = run(head, plain, {"center_cd": unit[kept]}, x[[row]], np.array([kept.index(label[row])]), smoothing=0.1)
      found = run(head, Filtered(plain, 0.3), params, x[[row]], label[[row]], smoothing=0.1)
      np.testing.assert_allclose(found.loss_b, alone.loss_b, rtol=1e-12)


@matrix
def test_labels_must_be_whole_numbers(head):
  params, x, label = draw(ArcFace())
  with pytest.raises(TypeError, match=r"label_b is float32.*int"):
    run(head, ArcFace(), params, x.astype(np.float32), label.astype(np.float32))
