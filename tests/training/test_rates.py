"""Rates by path: which parameters they match, and what a step of the optimizer then does."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.training.optimizer import OptimizerConfig, make_optimizer
from jaxface.training.rates import parse_rates, rate_lines, rate_paths

PARAMS = {
  "model": {"stem": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "last": {"kernel": jnp.ones((3, 3))}},
  "terms": ({"center_cd": jnp.ones((5, 3))},),
}
GRADS = jax.tree.map(lambda leaf: 0.1 * leaf, PARAMS)


def moved(config, steps=1, grads=GRADS):
  """How far each parameter has gone after some steps of rate 1."""
  optimizer = make_optimizer(config, lambda _: 1.0)

  @jax.jit
  def step(params, state):
    updates, state = optimizer.update(grads, state, params)
    return jax.tree.map(jnp.add, params, updates), state

  params, state = PARAMS, optimizer.init(PARAMS)
  for _ in range(steps):
    params, state = step(params, state)
  far = jax.tree.map(lambda new, old: float(np.abs(np.asarray(new) - np.asarray(old)).max()), params, PARAMS)
  return dict(zip(jax.tree.leaves(rate_paths(PARAMS)), jax.tree.leaves(far)))


def sgd(*rates, **changes):
  return replace(OptimizerConfig(momentum=0.0, weight_decay=0.0), rates=rates, **changes)


def test_the_last_pattern_that_matches_counts():
  far = moved(sgd("body/*=0", "body/last/*=0.5", "head/*=10"))
  assert far == pytest.approx(
    {"body/stem/kernel": 0, "body/stem/bias": 0, "body/last/kernel": 0.05, "head/0/center_cd": 1.0}, abs=1e-6
  )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_and_momentum_do_not_move_what_is_frozen(name):
  far = moved(OptimizerConfig(name, weight_decay=0.1, clip_norm=0.01, rates=("body/*=0",)), steps=3)
  assert far["head/0/center_cd"] > 0.001
  assert [far[path] for path in far if path.startswith("body")] == [0, 0, 0]


def test_a_stage_ends_at_its_step():
  config = sgd("body/*=0 until 2 then 0.5")
  assert [moved(config, steps)["body/stem/bias"] for steps in (1, 2, 3, 4)] == pytest.approx([0, 0, 0.05, 0.1], abs=1e-6)
  assert moved(sgd("body/*=0 until 2"), 3)["body/stem/bias"] == pytest.approx(0.1)


def test_frozen_layers_do_not_shorten_the_gradient_of_the_others():
  wild = {**GRADS, "model": jax.tree.map(lambda leaf: 1e6 * leaf, GRADS["model"])}
  far = moved(sgd("body/*=0 until 5", clip_norm=100.0), grads=wild)
  assert far["head/0/center_cd"] == pytest.approx(0.1)
  assert moved(sgd(clip_norm=100.0), grads=wild)["head/0/center_cd"] < 1e-3


def test_without_rates_nothing_changes():
  assert moved(sgd("body/*=1", clip_norm=0.2)) == moved(sgd(clip_norm=0.2))


def test_each_line_counts_what_it_matches_and_what_a_later_one_takes():
  lines = rate_lines(parse_rates(("body/*=0 until 7 then 0.1", "*/last/*=3")), PARAMS)
  assert lines == [
    "optimizer.rates: body/*: 0 until step 7, then 0.1 × the learning rate, 18 parameters, to 9 of which a later pattern applies",
    "optimizer.rates: */last/*: 3 × the learning rate, 9 parameters",
  ]


def test_a_pattern_that_matches_nothing_is_refused_with_the_valid_paths():
  with pytest.raises(ValueError, match=r"'bdy/\*' matches no parameter.*body/last/\*, body/stem/\*, head/0/\*"):
    moved(sgd("bdy/*=0"))


@pytest.mark.parametrize("text", ["body/*", "=1", "body/*=-1", "body/*=x", "body/*=nan", "body/*=0 until", "body/*=0 until 1.5",
                                  "body/*=0 until 3 then", "body/*=inf"])
def test_what_is_no_rate_is_refused_with_the_form(text):
  with pytest.raises(ValueError, match="is not a rate: needs PATTERN=FACTOR"):
    OptimizerConfig(rates=(text,))
