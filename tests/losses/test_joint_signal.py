"""DeepID2's verification signal: thresholds by brute force, when the margin moves and to where, on any number of devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy.spatial.distance import pdist
from scipy.stats import norm

from jaxface.losses.joint_signal import BINS, VerificationSignal, best_threshold, distance_histogram
from jaxface.losses.metrics import values
from jaxface.losses.pair_forms import Contrastive
from jaxface.losses.pair_loss import PairLoss

B, D = 16, 6


@functools.partial(jax.jit, static_argnames="by_kind")
def fit(same_p, different_p, by_kind=True):
  histograms = (distance_histogram(d, jnp.ones_like(d)) for d in (same_p, different_p))
  return best_threshold(*histograms, by_kind=by_kind)


def error_of(threshold, same_p, different_p, by_kind):
  missed, passed = (same_p >= threshold).sum(), (different_p < threshold).sum()
  if by_kind:
    return 0.5 * missed / len(same_p) + 0.5 * passed / len(different_p)
  return (missed + passed) / (len(same_p) + len(different_p))


@pytest.mark.parametrize("by_kind", [True, False])
@given(seed=st.integers(0, 2**31), middle=st.sampled_from([400, 1024, 1600]))
def test_no_threshold_makes_fewer_errors(by_kind, seed, middle):
  rng = np.random.default_rng(seed)
  # Distances in the middles of bins, so that rounding puts none across an edge.
  bins = middle + rng.integers(-300, 100, 12), middle + rng.integers(-100, 300, 20)
  same_p, different_p = (1e-4 * np.exp((b + 0.5) * np.log(1e8) / BINS).astype(np.float32) for b in bins)
  threshold, error = fit(same_p, different_p, by_kind)
  candidates = np.concatenate([[0.0], same_p, different_p, [np.inf]])
  best = min(error_of(c, same_p, different_p, by_kind) for c in candidates)
  np.testing.assert_allclose(error, best, atol=1e-6)
  # The error is the best at edges of bins; the middle of the best edges may lie inside a bin, half a bin away.
  near = [error_of(threshold * f, same_p, different_p, by_kind) for f in (0.995, 1.0, 1.005)]
  np.testing.assert_allclose(min(near), best, atol=1e-6)


def test_kinds_that_do_not_touch_are_parted_in_the_middle():
  threshold, error = fit(jnp.array([0.1, 0.5]), jnp.array([2.0, 9.0, 70.0]))
  assert error == 0
  # The middle of a gap on the scale of logarithms.
  np.testing.assert_allclose(threshold, np.sqrt(0.5 * 2.0), rtol=0.01)


def test_two_bells_are_parted_where_their_densities_cross():
  # Quantiles of N(1, 0.2) and N(2, 0.2) cross at 1.5, where each errs by Φ(−2.5).
  share = (np.arange(20_000) + 0.5) / 20_000
  threshold, error = fit(norm.ppf(share, 1.0, 0.2).astype(np.float32), norm.ppf(share, 2.0, 0.2).astype(np.float32))
  np.testing.assert_allclose(threshold, 1.5, rtol=0.02)
  np.testing.assert_allclose(error, norm.cdf(-2.5), rtol=0.02)


def test_the_rarer_kind_counts_by_kind_and_hardly_otherwise():
  share = (np.arange(20_000) + 0.5) / 20_000
  same_p, different_p = norm.ppf(share[::200], 1.0, 0.4).astype(np.float32), norm.ppf(share, 2.0, 0.4).astype(np.float32)
  assert fit(same_p, different_p, by_kind=False)[0] < 1.0 < 1.4 < fit(same_p, different_p, by_kind=True)[0]


def test_distances_beyond_the_bins_join_the_ends():
  count_n = distance_histogram(jnp.array([0.0, 1e-9, 1e9, jnp.inf]), jnp.array([1.0, 2.0, 3.0, 4.0]))
  assert count_n[0] == 3 and count_n[-1] == 7 and count_n.sum() == 10


@functools.cache
def compiled(term, rows_at=None):
  def run(state, rows):
    def mean(embedding_bd):
      loss_b, new_state, metrics = term({}, {**rows, "embedding_bd": embedding_bd}, state=state, step=0, key=None)
      return loss_b.sum() / jnp.maximum(rows["weight_b"].sum(), 1e-12), (new_state, values(metrics))

    (value, (new_state, metrics)), x_bar = jax.value_and_grad(mean, has_aux=True)(rows["embedding_bd"])
    return value, x_bar, new_state, metrics

  return jax.jit(run) if rows_at is None else jax.jit(run, in_shardings=(None, rows_at))


def draw(seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  label_b = np.arange(B, dtype=np.int32) // 4
  embedding_bd = rng.normal(size=(4, D))[label_b] + 0.3 * rng.normal(size=(B, D))
  return {"embedding_bd": (scale * embedding_bd).astype(np.float32), "label_b": label_b, "weight_b": np.ones(B, np.float32)}


@pytest.mark.parametrize("kinds", ["both", "same", "different"])
def test_a_step_is_the_contrastive_loss_at_the_margin_of_its_state(kinds):
  term = VerificationSignal(margin=3.0, kinds=kinds)
  rows, state = draw(), {**term.init(None, D, 4)[1], "margin": jnp.float32(1.7)}
  value, x_bar, new_state, metrics = compiled(term)(state, rows)
  plain = PairLoss(Contrastive(margin=1.7), kinds=kinds)

  def mean(embedding_bd):
    return plain({}, {**rows, "embedding_bd": embedding_bd}, state={}, step=0, key=None)[0].sum() / B

  expected, expected_bd = jax.value_and_grad(mean)(rows["embedding_bd"])
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  np.testing.assert_allclose(x_bar, expected_bd, rtol=1e-4, atol=1e-6)
  assert metrics["margin"] == new_state["margin"] == np.float32(1.7)
  same_p = np.array([rows["label_b"][i] == rows["label_b"][j] for i in range(B) for j in range(i + 1, B)])
  distance_p = pdist(rows["embedding_bd"])
  wrong = error_of(1.7, distance_p[same_p], distance_p[~same_p], by_kind=True)
  np.testing.assert_allclose(metrics["verification_error"], wrong, rtol=1e-6)


def test_the_margin_moves_after_so_many_pairs_to_their_best_threshold():
  pairs = B * (B - 1) // 2
  term = VerificationSignal(margin=50.0, pairs=3 * pairs)
  state, seen = term.init(None, D, 4)[1], ([], [])
  for step in range(6):
    rows = draw(step)
    _, _, state, metrics = compiled(term)(state, rows)
    distance_p = pdist(rows["embedding_bd"])
    same_p = np.array([rows["label_b"][i] == rows["label_b"][j] for i in range(B) for j in range(i + 1, B)])
    seen[0].append(distance_p[same_p])
    seen[1].append(distance_p[~same_p])
    if step % 3 < 2:
      assert state["margin"] == metrics["margin"]
      assert state["same_n"].sum() + state["different_n"].sum() == (step % 3 + 1) * pairs
      continue
    same_p, different_p = (np.concatenate(kind) for kind in seen)
    expected, _ = fit(same_p.astype(np.float32), different_p.astype(np.float32))
    np.testing.assert_allclose(state["margin"], expected, rtol=0.005)
    assert state["margin"] != metrics["margin"]
    assert not state["same_n"].any() and not state["different_n"].any()
    seen = ([], [])


@pytest.mark.parametrize("distance", ["l2", "l1"])
def test_the_margin_takes_the_scale_of_the_features(distance):
  term, large = VerificationSignal(pairs=1, distance=distance), 40.0
  state = term.init(None, D, 4)[1]
  small = compiled(term)(state, draw(1))[2]["margin"]
  np.testing.assert_allclose(compiled(term)(state, draw(1, large))[2]["margin"], large * small, rtol=0.01)


def test_one_kind_of_pairs_alone_moves_no_margin():
  term = VerificationSignal(margin=2.5, pairs=1)
  state = term.init(None, D, 4)[1]
  for label_b, absent in ((np.zeros(B, np.int32), "different"), (np.arange(B, dtype=np.int32), "same")):
    value, x_bar, new_state, metrics = compiled(term)(state, {**draw(), "label_b": label_b})
    assert np.isnan(metrics.pop(f"{absent}_distance"))
    chex.assert_tree_all_finite((value, x_bar, new_state, metrics))
    assert new_state["margin"] == 2.5
  nothing = compiled(term)(state, {**draw(), "weight_b": np.zeros(B, np.float32)})
  assert nothing[0] == 0 and not nothing[1].any()
  jax.tree.map(np.testing.assert_array_equal, nothing[2], state)


def test_padding_moves_no_statistic():
  term = VerificationSignal()
  state, rows = term.init(None, D, 4)[1], draw(2)
  rows["embedding_bd"][1::2] = np.nan
  found = compiled(term)(state, {**rows, "weight_b": np.array([1, 0] * (B // 2), np.float32)})
  expected = compiled(term)(state, {name: value[::2] for name, value in rows.items()})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), (found[0], found[3]), (expected[0], expected[3]))
  np.testing.assert_array_equal(found[1][1::2], 0.0)
  # A distance at the edge of a bin may fall to either side.
  for name in ("same_n", "different_n"):
    assert np.abs(np.cumsum(found[2][name]) - np.cumsum(expected[2][name])).max() <= 1
    assert found[2][name].sum() == expected[2][name].sum()


def test_one_device_is_eight_devices():
  mesh = Mesh(np.asarray(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))
  term = VerificationSignal(pairs=100, distance="l1")
  state, rows = term.init(None, D, 4)[1], draw(3)
  found = compiled(term, NamedSharding(mesh, P("data")))(state, rows)
  expected = compiled(term)(state, rows)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found[:2], expected[:2])
  assert expected[2]["margin"] != 1.0
  np.testing.assert_allclose(found[2]["margin"], expected[2]["margin"], rtol=0.01)


@pytest.mark.parametrize(
  ("field", "value"),
  [("margin", 0.0), ("pairs", 0), ("distance", "cosine"), ("kinds", "L2"), ("average", "some"), ("weight", -0.1)],
)
def test_hyper_parameters_out_of_range_are_refused(field, value):
  with pytest.raises(ValueError, match=f"VerificationSignal.{field}"):
    VerificationSignal(**{field: value})
