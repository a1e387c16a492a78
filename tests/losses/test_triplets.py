"""Triplet loss: the mean over the triplets of three loops, its gradient, its corners, and one value on any mesh."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from triplet_oracle import MARGIN, B, D, by_loops, draw, squared

from jaxface.losses.mining import MINERS, REACHES
from jaxface.losses.triplet_term import TripletLoss
from jaxface.losses.triplets import triplet_loss, triplet_sums

KINDS = [(mining, "inside") for mining in MINERS] + [("semi_hard", reach) for reach in REACHES[1:]]
kinds = pytest.mark.parametrize(("mining", "reach"), KINDS)


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
