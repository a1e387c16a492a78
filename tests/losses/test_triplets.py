"""Triplet loss: the mean over the triplets of three loops, its gradient, its corners, and one value on any mesh."""

import sys
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxface.losses.mining import MINERS, REACHES
from jaxface.losses.triplet_term import TripletLoss
from jaxface.losses.triplets import triplet_loss, triplet_sums

# The oracle stands beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
from triplet_oracle import loops

B, D = 12, 4
MARGIN = 0.5
KINDS = [(mining, "inside") for mining in MINERS] + [("semi_hard", reach) for reach in REACHES[1:]]
kinds = pytest.mark.parametrize(("mining", "reach"), KINDS)


def draw(seed=0, identities=3, size=B):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(size, D)), rng.integers(0, identities, size).astype(np.int32)


@lru_cache
def compiled(**options):
  def run(x, label, weight):
    def total(x):
      loss_b = triplet_loss(x, label, weight, **options)
      return loss_b.sum() / jnp.maximum(weight.sum(), 1.0), loss_b

    (value, loss_b), gradient = jax.value_and_grad(total, has_aux=True)(x)
    return value, loss_b, gradient

  return jax.jit(run)


def evaluate(x, label, weight=None, **options):
  weight = np.ones(len(label), x.dtype) if weight is None else np.asarray(weight, x.dtype)
  return compiled(**({"margin": MARGIN} | options))(x, label, weight)


def squared(x):
  unit = [row / np.sqrt(sum(v * v for v in row)) if np.any(row) else row for row in x]
  return np.array([[sum((a - b) ** 2) for b in unit] for a in unit])


def by_loops(x, label, weight, mining, reach, form, average):
  d = squared(x)
  costs = []
  for a, p, n in loops(mining, d, label, weight, reach, MARGIN):
    v = d[a, p] - d[a, n] + MARGIN
    cost = max(0.0, v) if form == "margin" else np.log1p(np.exp(v))
    if average == "all" or cost > 0:
      costs.append(cost)
  return np.mean(costs) if costs else 0.0


@kinds
@pytest.mark.parametrize(("form", "average"), [("margin", "active"), ("margin", "all"), ("softplus", "active")])
def test_mean_over_the_triplets_of_three_loops(mining, reach, form, average):
  with jax.enable_x64(True):
    for seed in range(4):
      x, label = draw(seed)
      weight = np.float64([1, 0, *[1] * (B - 2)])
      value, _, _ = evaluate(x, label, weight, mining=mining, reach=reach, form=form, average=average)
      assert value.dtype == jnp.float64
      np.testing.assert_allclose(value, by_loops(x, label, weight, mining, reach, form, average), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
  ("mining", "reach", "form"), [*((*kind, "margin") for kind in KINDS), ("all", "inside", "softplus"), ("semi_hard", "inside", "softplus")]
)
def test_gradients_against_finite_differences(mining, reach, form):
  with jax.enable_x64(True):
    x, label = draw(5)

    # Averages over all: the number of active triplets jumps.
    @jax.jit
    def total(x):
      return triplet_loss(x, label, mining=mining, reach=reach, form=form, margin=MARGIN, average="all").sum()

    check_grads(total, (jnp.asarray(x),), order=1, modes=("rev",), eps=1e-6, rtol=1e-5, atol=1e-6)
    assert np.abs(jax.grad(total)(x)).max() > 1e-3


def test_gradients_by_anchor_reach_distances_of_any_kind():
  with jax.enable_x64(True):
    rng = np.random.default_rng(1)
    distance, label = jnp.asarray(rng.random((B, B))), draw(1)[1]
    weight = rng.normal(size=B)
    for mining in ("all", "semi_hard"):
      total = jax.jit(lambda d, m=mining: weight @ triplet_sums(d, label, mining=m, form="softplus").loss_b)
      check_grads(total, (distance,), order=1, modes=("rev",), eps=1e-6, rtol=1e-5, atol=1e-6)


def test_a_tied_negative_is_paid_once():
  # Anchor 0, positive 1 at 1; negatives 2 and 3 both at 1.1: only the first moves.
  distance = jnp.full((4, 4), 9.0).at[0].set(jnp.array([0, 1, 1.1, 1.1]))
  label = jnp.array([0, 0, 1, 2])
  for mining in ("semi_hard", "hard", "easy"):
    gradient = jax.jit(jax.grad(lambda d, m=mining: triplet_sums(d, label, mining=m).loss_b[0]))(distance)
    np.testing.assert_array_equal(gradient[0], [0, 1, -1, 0])
    np.testing.assert_array_equal(gradient[1:], 0)


@kinds
@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), identities=st.integers(1, 5))
def test_order_length_and_rotation_do_not_matter_and_padding_is_absence(mining, reach, seed, identities):
  options = {"mining": mining, "reach": reach}
  x, label = (a.astype(t) for a, t in zip(draw(seed, identities), (np.float32, np.int32), strict=True))
  rng = np.random.default_rng(seed)
  value, loss_b, gradient = evaluate(x, label, **options)
  assert (loss_b >= 0).all()
  close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)

  rows = rng.permutation(B)
  moved = evaluate(x[rows], label[rows], **options)
  close(moved[1], loss_b[rows])
  close(moved[2], gradient[rows])

  rotation = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
  scale = rng.uniform(0.1, 10, (B, 1)).astype(np.float32)
  turned = evaluate(x @ rotation * scale, 3 - label, **options)
  close(turned[1], loss_b)
  close(turned[2] * scale, gradient @ rotation)

  weight = np.ones(B + 4)
  weight[::4] = 0
  padded = np.full((B + 4, D), np.nan, np.float32)
  padded[weight > 0] = x
  identity = np.full(B + 4, label[0])
  identity[weight > 0] = label
  masked = evaluate(padded, identity, weight, **options)
  close(masked[0], value)
  close(masked[2][weight > 0], gradient)
  np.testing.assert_array_equal(masked[2][weight == 0], 0)


def sharded(devices, run, *arguments):
  mesh = Mesh(np.asarray(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))
  return jax.jit(run, in_shardings=NamedSharding(mesh, P("data"))).lower(*arguments).compile()


@pytest.mark.parametrize("mining", MINERS)
def test_triplets_across_eight_devices_equal_one_device(mining):
  # Two rows on each device: every triplet needs two of them, most three.
  rng = np.random.default_rng(0)
  x, label = rng.normal(size=(16, D)).astype(np.float32), np.tile(np.arange(4, dtype=np.int32), 4)
  weight = np.ones(16, np.float32)

  def run(x, label, weight):
    def total(x):
      term = TripletLoss(mining=mining, margin=MARGIN)
      inputs = {"embedding_bd": x, "label_b": label, "weight_b": weight}
      loss_b, _, metrics = term({}, inputs, state={}, step=0, key=None)
      return loss_b.sum() / weight.sum(), (loss_b, metrics)

    return jax.value_and_grad(total, has_aux=True)(x)

  one, eight = (sharded(devices, run, x, label, weight)(x, label, weight) for devices in (1, 8))
  assert one[0][0] > 0
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), eight, one)


@pytest.mark.parametrize("mining", ["all", "semi_hard"])
def test_the_matrix_is_shared_among_devices(mining):
  size = 256
  x, label = np.zeros((size, 8), np.float32), np.zeros(size, np.int32)
  run = jax.grad(lambda x, label: triplet_loss(x, label, mining=mining).sum())
  bytes_of = {n: sharded(n, run, x, label).memory_analysis().temp_size_in_bytes for n in (1, 8)}
  # Each device holds its rows of the matrix, and no whole matrix.
  assert bytes_of[8] < size * size * 4, bytes_of
  assert bytes_of[8] < 0.5 * bytes_of[1], bytes_of


@pytest.mark.parametrize("mining", ["all", "semi_hard"])
def test_memory_grows_with_the_square_of_the_batch(mining):
  def temporaries(size):
    arguments = jnp.zeros((size, 8)), jnp.zeros(size, jnp.int32)
    run = jax.jit(jax.grad(lambda x, label: triplet_loss(x, label, mining=mining).sum()))
    return run.lower(*arguments).compile().memory_analysis().temp_size_in_bytes

  assert temporaries(512) < 8 * 512 * 512 * 4
  assert temporaries(512) < 5 * temporaries(256)


@kinds
def test_corners_are_finite(mining, reach):
  run = partial(evaluate, mining=mining, reach=reach)
  x, label = draw(2)
  x = x.astype(np.float32)
  for labels in (np.zeros(B, np.int32), np.arange(B, dtype=np.int32)):
    value, _, gradient = run(x, labels)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
  value, _, gradient = run(x, label, np.zeros(B))
  assert value == 0 and not np.any(gradient)
  for embeddings in (np.ones((B, D)), np.zeros((B, D)), np.where(np.arange(B)[:, None] % 2, x, 0), 1e-30 * x):
    value, _, gradient = run(embeddings.astype(np.float32), label)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_equal_embeddings_cost_the_margin():
  label = draw(2)[1]
  for mining in ("all", "hard", "easy"):
    np.testing.assert_allclose(evaluate(np.ones((B, D), np.float32), label, mining=mining)[0], MARGIN, rtol=1e-5)
  # Not one negative is farther than the positive.
  assert evaluate(np.ones((B, D), np.float32), label, mining="semi_hard")[0] == 0


@kinds
def test_a_broken_row_that_counts_shows(mining, reach):
  x, label = draw(0)
  x[3, 1] = np.nan
  assert np.isnan(evaluate(x.astype(np.float32), label, mining=mining, reach=reach)[0])


def test_bfloat16_changes_the_loss_by_rounding_only():
  x, label = draw(3)
  rounded = jnp.asarray(x, jnp.bfloat16)
  _, loss_b, gradient = evaluate(rounded, label, np.ones(B, np.float32))
  assert loss_b.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
  np.testing.assert_allclose(loss_b, evaluate(rounded.astype(jnp.float32), label)[1], rtol=1e-6)


def semi_hard_in_the_manner_of_tensorflow_addons(x, label, margin):
  """TensorFlow Addons' TripletSemiHardLoss from its description: for each pair the nearest farther negative, else the farthest.

  Two differences from our default, both options here: pairs without a farther negative are kept (reach="farthest"), and
  the mean is over all pairs of the batch (average="all"). It has no mining inside the margin.
  """
  d = squared(x)
  same = label[:, None] == label[None, :]
  costs = []
  for a, p in zip(*np.nonzero(same & ~np.eye(len(label), dtype=bool)), strict=True):
    negative = d[a][~same[a]]
    outside = negative[negative > d[a, p]]
    costs.append(max(0.0, margin + d[a, p] - (outside.min() if len(outside) else negative.max())))
  return np.mean(costs)


def test_tensorflow_addons_semi_hard():
  for seed in range(5):
    x, label = draw(seed, identities=4)
    found = evaluate(x.astype(np.float32), label, mining="semi_hard", reach="farthest", average="all", margin=1.0)[0]
    np.testing.assert_allclose(found, semi_hard_in_the_manner_of_tensorflow_addons(x, label, 1.0), rtol=1e-5)


# From pytorch-metric-learning 2.9.0 with PyTorch 2.13, in float64, x = sin(arange(32)² + arange(32)).reshape(8, 4),
# y = [0, 0, 0, 1, 1, 2, 2, 2], distance = LpDistance(power=2) (squared, of normalised rows, as ours):
#   triplets = BatchHardMiner(distance=distance)(x, y)
#   TripletMarginLoss(margin=1.0, distance=distance[, smooth_loss=True][, reducer=MeanReducer()])(x, y, triplets)
# Its default reducer averages the losses above zero: our "active"; MeanReducer is our "all". Its smooth_loss is our
# softplus. With BatchEasyHardMiner(pos_strategy="easy", neg_strategy="hard"): our "easy". Without a miner it takes all
# triplets: our "all". Its TripletMarginMiner(type_of_triplets="semihard") takes *every* negative inside the margin, not
# the nearest: another loss, with no counterpart here.
PYTORCH_METRIC_LEARNING = [
  ("hard", "margin", "active", 2.3655313895, [0.03573197416, -0.3534087135, 0.3501734942, 0.1166880481]),
  ("hard", "margin", "all", 2.3655313895, [0.03573197416, -0.3534087135, 0.3501734942, 0.1166880481]),
  ("hard", "softplus", "all", 2.46049558381, [0.03338429416, -0.3273822605, 0.3255862033, 0.1064810308]),
  ("easy", "margin", "active", 1.70363243775, [0.1780519523, -0.1405863189, 0.2733944071, 0.09756197923]),
  ("easy", "margin", "all", 1.70363243775, [0.1780519523, -0.1405863189, 0.2733944071, 0.09756197923]),
  ("easy", "softplus", "all", 1.93575448516, [0.1637588614, -0.1304125144, 0.2521408337, 0.09061828255]),
  ("all", "margin", "active", 1.5302684457, [-0.1198631622, -0.2843638225, 0.1129778978, 0.1303520972]),
  ("all", "margin", "all", 1.29647743316, [-0.1015507346, -0.2409193496, 0.09571738564, 0.1104371935]),
  ("all", "softplus", "all", 1.57086177397, [-0.07431171159, -0.1841567749, 0.07940278315, 0.07925558827]),
]


@pytest.mark.parametrize(("mining", "form", "average", "loss", "gradient"), PYTORCH_METRIC_LEARNING)
def test_pytorch_metric_learning(mining, form, average, loss, gradient):
  with jax.enable_x64(True):
    row = np.arange(32.0)
    x, label = np.sin(row**2 + row).reshape(8, 4), np.int32([0, 0, 0, 1, 1, 2, 2, 2])
    value, _, x_bar = evaluate(x, label, mining=mining, form=form, average=average, margin=1.0)
    np.testing.assert_allclose(value, loss, rtol=1e-9)
    np.testing.assert_allclose(x_bar[1], gradient, rtol=1e-7, atol=1e-10)


def term_of(x, label, weight=None, **options):
  weight = np.ones(len(label), np.float32) if weight is None else weight
  inputs = {"embedding_bd": jnp.asarray(x, jnp.float32), "label_b": jnp.asarray(label), "weight_b": jnp.asarray(weight)}
  term = TripletLoss(**options)
  params, state = term.init(jax.random.key(0), D, 3)
  assert params == {} and state == {}
  return jax.jit(lambda inputs: term(params, inputs, state=state, step=0, key=None))(inputs)


def test_term_spreads_its_mean_and_describes_the_batch():
  x, label = draw(7)
  weight = np.float32([1, 0, *[1] * (B - 2)])
  x[1] = np.nan
  loss_b, _, metrics = term_of(x, label, weight, mining="semi_hard", margin=MARGIN)
  live = np.flatnonzero(weight)
  d, label = squared(x[live]), label[live]
  expected = by_loops(x[live], label, np.ones(len(live)), "semi_hard", "inside", "margin", "active")
  np.testing.assert_allclose(loss_b.sum() / weight.sum(), expected, rtol=1e-5)
  same = label[:, None] == label[None, :]
  assert metrics["triplets"] == len(loops("semi_hard", d, label, np.ones(len(live)), "inside", MARGIN))
  assert metrics["active_share"] == 1  # inside the margin means active
  np.testing.assert_allclose(metrics["positive_distance"], d[same & ~np.eye(len(live), dtype=bool)].mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["negative_distance"], d[~same].mean(), rtol=1e-5)
  assert metrics["collapsed"] == 0 and 0 < metrics["collapse"] < 0.9


def test_active_share_counts_violations():
  x, label = draw(8)
  d = squared(x)
  triplets = loops("all", d, label, np.ones(B))
  share = np.mean([d[a, p] - d[a, n] + MARGIN > 0 for a, p, n in triplets])
  for form in ("margin", "softplus"):
    metrics = term_of(x, label, mining="all", form=form, margin=MARGIN)[2]
    assert metrics["triplets"] == len(triplets)
    np.testing.assert_allclose(metrics["active_share"], share, rtol=1e-5)


def test_a_collapsed_net_is_seen():
  x, label = draw(9)
  near = np.ones((1, D)) + 0.02 * x
  loss_b, _, metrics = term_of(near, label, mining="hard", margin=0.2)
  assert metrics["collapsed"] == 1 and metrics["collapse"] > 0.99
  np.testing.assert_allclose(loss_b.mean(), 0.2, atol=0.02)
  assert metrics["negative_distance"] < 0.01
  assert term_of(x, label)[2]["collapsed"] == 0


def test_listed_triplets_are_those_rows():
  x, _ = draw(4)
  label = np.int32([0, 0, 1, 5, 5, 2, 3, 3, 0, 4, 6, 1])  # the last is none: a substitute stands in it
  weight = np.ones(B, np.float32)
  weight[7] = 0
  x[7] = np.inf
  live = squared(x[:6])
  v = [live[0, 1] - live[0, 2] + 3, live[3, 4] - live[3, 5] + 3]
  loss_b, _, metrics = term_of(x, label, weight, mining="listed", margin=3.0)
  np.testing.assert_allclose(loss_b.sum() / weight.sum(), np.mean(v), rtol=1e-5)
  assert metrics["triplets"] == 2 and metrics["active_share"] == 1
  gradient = jax.grad(lambda x: term_of(x, label, weight, mining="listed", margin=3.0)[0].sum())(x.astype(np.float32))
  assert np.isfinite(gradient).all() and np.abs(gradient[:6]).min() > 0 and not np.any(gradient[6:])
  with pytest.raises(ValueError, match="11 rows is no list of triplets"):
    term_of(x[1:], label[1:], mining="listed")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"mining": "hardest"}, "TripletLoss.mining = 'hardest' is unknown: choose one of all, semi_hard, hard, easy, listed"),
    ({"form": "hinge"}, "choose one of margin, softplus"),
    ({"average": "mean"}, "choose one of active, all"),
    ({"reach": "near"}, "choose one of inside, beyond, farthest"),
    ({"margin": -0.1}, r"TripletLoss.margin = -0.1 is out of range: it must lie in \[0, 4\)"),
    ({"margin": float("nan")}, "out of range"),
    ({"collapse_at": 0.0}, "out of range"),
    ({"weight": -1.0}, "out of range"),
  ],
)
def test_what_cannot_be_meant_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    TripletLoss(**options)


def test_functions_refuse_unknown_names_and_float_labels():
  x, label = draw()
  for option in ("mining", "form", "average", "reach"):
    with pytest.raises(ValueError, match=f"{option} = 'x' is unknown: choose one of"):
      jax.eval_shape(partial(triplet_loss, **{option: "x"}), x, label)
  with pytest.raises(TypeError, match="identities must be integers"):
    triplet_loss(x, label.astype(np.float32))
  with pytest.raises(TypeError, match="identities must be integers"):
    term_of(x, label.astype(np.float32), mining="listed")
