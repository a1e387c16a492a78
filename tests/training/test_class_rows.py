"""Class centres that the step updates by rows, against the dense head whose gradients go through the optimizer as a whole."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from class_head_cases import QUICKLY

from jaxface.heads.classification import Classification
from jaxface.losses.margins import ArcFace, CosFace, Softmax, SubcenterArcFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Network, Objective, Optimizer, Plan
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.step import TrainStep, compile_step

IDENTITIES, BATCH = 50, 32
SGD = OptimizerConfig(learning_rate=0.05)
HEAD = Classification(ArcFace(scale=16.0))


class Wide(nn.Module):
  """A network with embeddings of the usual size."""

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(512)(x.reshape(x.shape[0], -1))


@pytest.fixture(scope="module")
def trained(experiment, plain, batch_of, step_of):
  def trained(term, devices=1, optimizer=SGD, accumulate=1, steps=3, batches=None):
    """Leaves of the state without padding, by name, and metrics after some steps."""
    mesh = make_mesh(MeshConfig(devices=devices))
    run = replace(experiment, terms=(term,), optimizer=optimizer, batch_size=BATCH, accumulate=accumulate, ema=0.0)
    step = step_of(run, plain, get_preprocess("unit", size=8), IDENTITIES, mesh)
    shardings = step.shardings(step.shapes)
    state = jax.jit(step.init, out_shardings=shardings)(jax.random.key(0))
    # Compiled quickly: the steps are few.
    options = {"in_shardings": (shardings, batch_sharding(mesh)), "out_shardings": (shardings, None)}
    advance = jax.jit(step, donate_argnums=0, compiler_options=QUICKLY, **options)
    metrics = {}
    for number in range(steps):
      batch = batches[number] if batches else batch_of(BATCH, seed=number, identities=IDENTITIES)
      state, metrics = advance(state, batch)
    real = step.unpadded()
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {name: leaf[tuple(map(slice, real.get(name, leaf.shape)))] for name, leaf in named.items()}, jax.device_get(metrics)

  return trained


def assert_close(found, expected, rtol=1e-4, atol=1e-6):
  """States and metrics are equal to rounding."""
  for have, want in zip(found, expected):
    assert have.keys() == want.keys()
    for name in want:
      # Sums round relative to their largest terms: a small number of an array is as exact as its large ones.
      scale = max(1.0, float(np.abs(np.asarray(want[name], np.float64)).max(initial=0.0)))
      np.testing.assert_allclose(
        np.asarray(have[name], np.float64), np.asarray(want[name], np.float64), rtol=rtol, atol=atol * scale, err_msg=name
      )


CASES = {
  "arcface": (HEAD, SGD, 1),
  "subcenters, smoothed, Nesterov": (
    Classification(SubcenterArcFace(scale=16.0, subcenters=3), label_smoothing=0.1), replace(SGD, nesterov=True), 1
  ),
  "biases, AdamW": (Classification(Softmax()), OptimizerConfig("adamw", learning_rate=0.01), 1),
  "accumulated, clipped": (HEAD, replace(SGD, clip_norm=0.5), 2),
  "clipped, rates": (Classification(Softmax()), replace(SGD, clip_norm=0.5, rates=("head/*=0 until 1 then 10",)), 1),
}


OFTEN = {
  ("subcenters, smoothed, Nesterov", 8, 0), ("accumulated, clipped", 8, 0), ("biases, AdamW", 1, 16), ("clipped, rates", 1, 16),
}


@pytest.mark.parametrize(
  ("case", "devices", "block"),
  [pytest.param(name, *how, marks=[] if (name, *how) in OFTEN else pytest.mark.sweep)
   for name in CASES for how in ((8, 0), (1, 16), (8, 16))],
)
def test_updates_by_rows_equal_those_of_the_dense_head(case, devices, block, trained):
  term, optimizer, accumulate = CASES[case]
  expected = trained(term, 1, optimizer, accumulate)
  assert_close(trained(replace(term, block=block), devices, optimizer, accumulate), expected)


@pytest.mark.parametrize(
  ("optimizer", "accumulate"), [(OptimizerConfig("adamw", learning_rate=0.01), 2), pytest.param(SGD, 1, marks=pytest.mark.sweep)]
)
def test_a_sampled_head_moves_the_same_classes_to_the_same_place_on_every_mesh(optimizer, accumulate, trained):
  sampled = replace(HEAD, sample_rate=0.1)
  expected = trained(sampled, 1, optimizer, accumulate)
  assert_close(trained(sampled, 8, optimizer, accumulate), expected)
  assert "sampled_accuracy" in expected[1] and "accuracy" not in expected[1]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_classes_that_were_not_scored_stay_to_the_bit_and_others_move(name, trained, batch_of):
  sampled, optimizer = replace(HEAD, sample_rate=0.1), OptimizerConfig(name, learning_rate=0.01, weight_decay=0.1)
  batch = batch_of(BATCH, identities=7)
  batch["weight"] = batch["weight"].at[3].set(0.0)
  batch["label"] = batch["label"].at[3].set(IDENTITIES - 1)  # masked: its class is not in the batch
  before, _ = trained(sampled, 1, optimizer, steps=0)
  after, _ = trained(sampled, 1, optimizer, steps=1, batches=[batch])
  centers = [leaves["params/terms/0/center_cd"] for leaves in (before, after)]
  moved_c = (centers[0] != centers[1]).any(axis=1)
  live_c = np.unique(np.delete(np.asarray(batch["label"]), 3))
  assert moved_c[live_c].all() and len(live_c) <= moved_c.sum() <= len(live_c) + IDENTITIES // 10
  for leaf in after:
    if leaf.startswith("optimizer") and "terms" in leaf:
      np.testing.assert_array_equal(after[leaf].any(axis=1), moved_c)
  if name == "adamw":
    np.testing.assert_array_equal(after["class_counts/0"], moved_c)


def test_adamw_corrects_the_moments_of_a_class_by_its_own_updates(trained, batch_of):
  """A class that is in the second batch alone moves as far as one that is in the first alone: one full step."""
  sampled, optimizer = replace(HEAD, sample_rate=1 / 50), OptimizerConfig("adamw", learning_rate=0.01, weight_decay=0.0)
  batches = [batch_of(BATCH, identities=5), batch_of(BATCH, identities=5)]
  batches[1]["label"] = batches[1]["label"] + 20
  first, _ = trained(sampled, 1, optimizer, steps=0)
  after, _ = trained(sampled, 1, optimizer, steps=2, batches=batches)
  step_cd = np.abs(after["params/terms/0/center_cd"] - first["params/terms/0/center_cd"])
  once_c = after["class_counts/0"] == 1
  assert once_c[20:25].any()
  rate_cd = step_cd[20:25][once_c[20:25]]
  # |m̂| / √v̂ is 1 after one update of a zero state, times the learning rate of the second step of the warm-up.
  np.testing.assert_allclose(rate_cd, np.median(rate_cd), rtol=1e-2)


@pytest.mark.parametrize("devices", [1, pytest.param(8, marks=pytest.mark.sweep)])
def test_a_step_that_is_not_finite_changes_no_class(devices, trained, batch_of):
  good, bad = batch_of(BATCH, identities=IDENTITIES), batch_of(BATCH, seed=1, identities=IDENTITIES)
  bad["weight"] = bad["weight"].at[3].set(jnp.nan)
  sampled, optimizer = replace(HEAD, sample_rate=0.1), OptimizerConfig("adamw", learning_rate=0.01)
  once, _ = trained(sampled, devices, optimizer, steps=1, batches=[good])
  twice, _ = trained(sampled, devices, optimizer, steps=2, batches=[good, bad])
  assert twice["bad_steps"] == 1
  for name in once:
    if name.startswith(("params", "optimizer", "class_counts")):
      np.testing.assert_array_equal(twice[name], once[name], err_msg=name)


def test_bfloat16_centres_are_rounded_by_chance_and_their_momentum_is_float32(trained):
  term = replace(HEAD, center_dtype="bfloat16")
  (before, _), (after, metrics) = trained(term, steps=0), trained(term, steps=1)
  old_cd, new_cd = (leaves["params/terms/0/center_cd"].astype(np.float32) for leaves in (before, after))
  momentum_cd = after["optimizer/1/trace/terms/0/center_cd"]
  assert after["params/terms/0/center_cd"].dtype == ml_dtypes.bfloat16 and momentum_cd.dtype == np.float32
  exact_cd = old_cd - metrics["learning_rate"] * momentum_cd
  spacing_cd = 2.0 ** (np.floor(np.log2(np.abs(exact_cd))) - 7)
  error_cd = (new_cd - exact_cd) / spacing_cd
  # One of the two neighbours, above as often as below: the mean of 400 such errors has a standard deviation of 0.02.
  assert np.abs(error_cd).max() <= 1.001 and abs(error_cd.mean()) < 0.1 and 0.2 < error_cd.std() < 0.6


def test_bfloat16_centres_do_not_depend_on_the_mesh(trained):
  term = replace(HEAD, center_dtype="bfloat16")
  assert_close(trained(term, 8, steps=2), trained(term, 1, steps=2), atol=1e-5)


def test_one_million_identities_need_memory_for_one_block(batch_of):
  """Bytes that the compiler reserves beside the state, which is updated in place; nothing runs."""
  term = Classification(CosFace(), sample_rate=0.1, block=4096)
  mesh = make_mesh(MeshConfig(devices=1))
  run = Optimizer.make(SGD, ScheduleConfig(), steps=10)
  step = TrainStep(
    Network(Wide(), get_preprocess("unit", size=8)), Objective((term,), 1_000_000), run, Batches(128), Plan(10), mesh
  )
  shapes = step.shapes
  shardings = step.shardings(shapes)
  key = jax.eval_shape(lambda: jax.random.key(0))
  first = jax.jit(step.init, out_shardings=shardings).lower(key).compile().memory_analysis()
  found = compile_step(step, shardings, batch_sharding(mesh)).lower(shapes, batch_of(128)).compile().memory_analysis()
  state = 2 * 1_000_000 * 512 * 4
  assert found.argument_size_in_bytes > state and found.alias_size_in_bytes > state
  assert found.temp_size_in_bytes < 100e6 and first.temp_size_in_bytes < 100e6
  assert first.output_size_in_bytes < 1.05 * state


def test_an_optimizer_that_is_not_elementwise_is_refused_where_it_matters(plain):
  for transform in (optax.sgd(0.1, momentum=0.9), optax.adamw(1e-3)):
    make_step(plain, transform)
  for transform in (optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)), optax.lars(0.1)):
    with pytest.raises(ValueError, match="the optimizer is not elementwise"):
      make_step(plain, transform)
    make_step(plain, transform, term=Classification(ArcFace()))


BLOCKS = replace(HEAD, block=8)


def make_step(net, transform, term=BLOCKS):
  own = Optimizer(transform, lambda step: jnp.float32(0.1))
  return TrainStep(Network(net, get_preprocess("unit", size=8)), Objective((term,), IDENTITIES), own, Batches(BATCH), Plan(10))
