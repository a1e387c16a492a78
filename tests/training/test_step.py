"""One step: parts of a batch add up to the batch, a non-finite step leaves no trace, padding has no say."""

from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxface.data.augmentation import AugmentConfig
from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember
from jaxface.losses.margins import CosFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training.parts import Batches, Network, Objective, Optimizer, Plan
from jaxface.training.step import TrainStep


class Normed(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(x.reshape(x.shape[0], -1))
    return nn.Dense(8)(x)


class Pair(nn.Module):
  """Stands for an ensemble of two."""

  members = 2

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(8)(x.reshape(x.shape[0], -1))


@pytest.fixture
def make(step_of):
  def make(experiment, model, **changes):
    experiment = replace(experiment, augment=AugmentConfig(mirror=0.0, shift=0, brightness=0.0, contrast=0.0), **changes)
    return step_of(experiment, model, get_preprocess("unit", size=8), 5)

  return make


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_add_up_to_the_batch(make, experiment, parts, batch_of, plain):
  whole = make(experiment, plain)
  split = make(experiment, plain, accumulate=parts)
  state, batch = whole.init(jax.random.key(0)), batch_of(16)
  expected, metrics = jax.jit(whole)(state, batch)
  found, split_metrics = jax.jit(split)(state, batch)
  chex.assert_trees_all_close(found.params, expected.params, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(split_metrics, metrics, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("term", [Classification(CosFace()), PerMember(Classification(CosFace()), members=2)])
def test_metrics_of_parts_are_those_of_the_batch(make, experiment, batch_of, plain, term):
  net = Pair() if isinstance(term, PerMember) else plain
  whole, split = make(experiment, net, terms=(term,)), make(experiment, net, terms=(term,), accumulate=4)
  # Labels beyond the classes are counted; the weights make the parts unequal.
  batch = {**batch_of(16), "label": jnp.arange(16, dtype=jnp.int32) % 7, "weight": jnp.arange(16, dtype=jnp.float32)}
  state = whole.init(jax.random.key(0))
  expected, found = (jax.jit(step)(state, batch)[1] for step in (whole, split))
  assert float(expected["bad_labels"]) == np.sum(np.arange(1, 16) % 7 >= 5)
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_count_adds_up_over_an_interval(make, experiment, batch_of, plain):
  step = make(experiment, plain, log_every=3)
  advance, state = jax.jit(step), step.init(jax.random.key(0))
  counts = []
  for wrong in (1, 2, 0, 4):
    batch = batch_of(16)
    state, metrics = advance(state, {**batch, "label": batch["label"].at[:wrong].set(-1)})
    counts.append(float(metrics["bad_labels"]))
  assert counts == [1, 3, 3, 4]


def test_damaged_records_add_up_in_the_state(make, experiment, batch_of, plain):
  advance, state = jax.jit(make(experiment, plain)), make(experiment, plain).init(jax.random.key(0))
  for count in (0, 2, 1):
    state, metrics = advance(state, {**batch_of(16), "damaged": jnp.zeros(16, jnp.int32).at[5].set(count)})
  assert int(state.damaged) == int(metrics["damaged_records"]) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_step_changes_nothing_but_the_counters(make, experiment, bad, batch_of):
  step = make(experiment, Normed())
  advance = jax.jit(step)
  state, _ = advance(step.init(jax.random.key(0)), batch_of(16))
  poisoned = {**batch_of(16, seed=1), "weight": jnp.ones(16).at[3].set(bad)}
  after, metrics = advance(state, poisoned)
  same = ("params", "batch_stats", "terms", "optimizer", "ema")
  for name in same:
    chex.assert_trees_all_equal(getattr(after, name), getattr(state, name))
  assert int(after.step) == int(state.step) + 1
  assert (int(after.bad_steps), int(after.bad_in_row)) == (1, 1)
  assert np.isfinite(metrics["loss"])
  recovered, _ = advance(after, batch_of(16, seed=2))
  assert (int(recovered.bad_steps), int(recovered.bad_in_row)) == (1, 0)
  assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(recovered.params), jax.tree.leaves(after.params)))


def test_as_many_bad_steps_in_a_row_as_end_the_run_are_not_forgotten(make, experiment, batch_of, plain):
  advance = jax.jit(make(experiment, plain, max_bad_steps=2))
  state = make(experiment, plain).init(jax.random.key(0))
  poisoned = {**batch_of(16), "weight": jnp.ones(16).at[0].set(jnp.nan)}
  counts = []
  for batch in (poisoned, batch_of(16), poisoned, poisoned, batch_of(16)):
    state, metrics = advance(state, batch)
    counts.append(int(metrics["bad_in_row"]))
  assert counts == [1, 0, 1, 2, 2]


def test_padding_has_no_say(make, experiment, batch_of, plain):
  step = make(experiment, plain)
  state, batch = step.init(jax.random.key(0)), batch_of(16)
  padded = {**batch, "weight": batch["weight"].at[8:].set(0.0)}
  other = {**padded, "image": batch["image"].at[8:].set(7), "label": batch["label"].at[8:].set(0)}
  a, _ = jax.jit(step)(state, padded)
  b, _ = jax.jit(step)(state, other)
  chex.assert_trees_all_close(a.params, b.params, rtol=1e-6, atol=1e-7)


def test_the_logged_means_are_over_the_window_and_start_anew(make, experiment, batch_of, plain):
  step = make(experiment, plain, log_every=2)
  advance, state, losses = jax.jit(step), step.init(jax.random.key(0)), []
  window = []
  for number in range(4):
    _, alone = jax.jit(make(experiment, plain, log_every=1))(state, batch_of(16, seed=number))
    state, metrics = advance(state, batch_of(16, seed=number))
    losses.append(float(alone["loss"]))
    window.append(float(metrics["loss"]))
  np.testing.assert_allclose(window, [losses[0], np.mean(losses[:2]), losses[2], np.mean(losses[2:])], rtol=1e-5)


def test_the_average_follows_the_parameters_and_their_statistics(make, experiment, batch_of):
  step = make(experiment, Normed(), ema=0.5)
  before = step.init(jax.random.key(0))
  after, _ = jax.jit(step)(before, batch_of(16))
  keep = min(0.5, 1 / 10)
  chex.assert_trees_all_close(
    after.ema["batch_stats"],
    jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, before.ema["batch_stats"], after.batch_stats),
    rtol=1e-5,
  )


def test_a_step_is_built_from_parts_with_any_optax_transformation(batch_of, plain):
  objective = Objective((Classification(CosFace()),), 5)
  own = Optimizer(optax.sign_sgd(0.125), lambda step: jnp.float32(0.125))
  step = TrainStep(Network(plain, get_preprocess("unit", size=8)), objective, own, Batches(16), Plan(steps=1))
  before = jax.jit(step.init)(jax.random.key(0))
  after, metrics = jax.jit(step)(before, batch_of(16))
  moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a - b)), after.params, before.params)
  for leaf in jax.tree.leaves(moved):
    assert np.all((leaf == 0) | np.isclose(leaf, 0.125, atol=1e-6)) and leaf.any()
  assert float(metrics["learning_rate"]) == 0.125
