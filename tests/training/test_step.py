"""One step: parts of a batch add up to the batch, a non-finite step leaves no trace, padding has no say."""

from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.augment import AugmentConfig
from jaxface.models.preprocess import get_preprocess
from jaxface.training.step import TrainStep


class Normed(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(x.reshape(x.shape[0], -1))
    return nn.Dense(8)(x)


def make(experiment, model, **changes):
  experiment = replace(experiment, augment=AugmentConfig(mirror=0.0, shift=0, brightness=0.0, contrast=0.0), **changes)
  return TrainStep(experiment, model, get_preprocess("unit", size=8), 5)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_add_up_to_the_batch(experiment, parts, batch_of, plain):
  whole = make(experiment, plain)
  split = make(experiment, plain, accumulate=parts)
  state, batch = whole.init(jax.random.key(0)), batch_of(16)
  expected, metrics = jax.jit(whole)(state, batch)
  found, split_metrics = jax.jit(split)(state, batch)
  chex.assert_trees_all_close(found.params, expected.params, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(split_metrics, metrics, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_step_changes_nothing_but_the_counters(experiment, bad, batch_of):
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


def test_as_many_bad_steps_in_a_row_as_end_the_run_are_not_forgotten(experiment, batch_of, plain):
  advance = jax.jit(make(experiment, plain, max_bad_steps=2))
  state = make(experiment, plain).init(jax.random.key(0))
  poisoned = {**batch_of(16), "weight": jnp.ones(16).at[0].set(jnp.nan)}
  counts = []
  for batch in (poisoned, batch_of(16), poisoned, poisoned, batch_of(16)):
    state, metrics = advance(state, batch)
    counts.append(int(metrics["bad_in_row"]))
  assert counts == [1, 0, 1, 2, 2]


def test_padding_has_no_say(experiment, batch_of, plain):
  step = make(experiment, plain)
  state, batch = step.init(jax.random.key(0)), batch_of(16)
  padded = {**batch, "weight": batch["weight"].at[8:].set(0.0)}
  other = {**padded, "image": batch["image"].at[8:].set(7), "label": batch["label"].at[8:].set(0)}
  a, _ = jax.jit(step)(state, padded)
  b, _ = jax.jit(step)(state, other)
  chex.assert_trees_all_close(a.params, b.params, rtol=1e-6, atol=1e-7)


def test_the_logged_means_are_over_the_window_and_start_anew(experiment, batch_of, plain):
  step = make(experiment, plain, log_every=2)
  advance, state, losses = jax.jit(step), step.init(jax.random.key(0)), []
  window = []
  for number in range(4):
    _, alone = jax.jit(make(experiment, plain, log_every=1))(state, batch_of(16, seed=number))
    state, metrics = advance(state, batch_of(16, seed=number))
    losses.append(float(alone["loss"]))
    window.append(float(metrics["loss"]))
  np.testing.assert_allclose(window, [losses[0], np.mean(losses[:2]), losses[2], np.mean(losses[2:])], rtol=1e-5)


def test_the_average_follows_the_parameters_and_their_statistics(experiment, batch_of):
  step = make(experiment, Normed(), ema=0.5)
  before = step.init(jax.random.key(0))
  after, _ = jax.jit(step)(before, batch_of(16))
  keep = min(0.5, 1 / 10)
  chex.assert_trees_all_close(
    after.ema["batch_stats"],
    jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, before.ema["batch_stats"], after.batch_stats),
    rtol=1e-5,
  )
