"""Learning rate by step, against the definition in NumPy."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.training.schedule import ScheduleConfig, make_schedule, warmup_length

TOTAL, PEAK = 200, 0.4


def oracle(config, step, peak, total):
  warmup = config.warmup_steps if config.warmup_steps else math.floor(config.warmup_fraction * total)
  if step < warmup:
    return peak * (step + 1) / warmup
  done = min((step - warmup) / max(total - warmup, 1), 1.0)
  if config.name == "cosine":
    return config.end_value + (peak - config.end_value) * (1 + np.cos(np.pi * done)) / 2
  if config.name == "polynomial":
    return config.end_value + (peak - config.end_value) * (1 - done) ** config.power
  if config.name == "step":
    return peak * config.gamma ** sum(step >= round(share * total) for share in config.milestones)
  return peak


@pytest.mark.parametrize("name", ["cosine", "polynomial", "step", "constant"])
@pytest.mark.parametrize("warmup", [{}, {"warmup_steps": 20}, {"warmup_fraction": 0.15}])
def test_every_step_is_the_definition(name, warmup):
  config = ScheduleConfig(name=name, end_value=0.01, power=1.5, milestones=(0.3, 0.6, 0.95), **warmup)
  steps = np.arange(TOTAL + 20)
  found = jax.jit(make_schedule(config, PEAK, TOTAL))(steps)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, [oracle(config, step, PEAK, TOTAL) for step in steps], rtol=2e-5, atol=1e-7)


@given(total=st.integers(1, 10_000), fraction=st.floats(0, 0.9), name=st.sampled_from(["cosine", "polynomial"]))
def test_between_end_value_and_peak_and_never_rising_after_the_warm_up(total, fraction, name):
  config = ScheduleConfig(name=name, warmup_fraction=fraction, end_value=0.001)
  steps = np.unique(np.linspace(0, total, 50).astype(int))
  rates = np.asarray(make_schedule(config, PEAK, total)(steps))
  assert np.all(rates > 0) and np.all(rates <= PEAK * (1 + 1e-6))
  after = rates[steps >= warmup_length(config, total)]
  assert np.all(np.diff(after) <= 1e-7)
  np.testing.assert_allclose(rates[-1], 0.001, atol=1e-6)


def test_peak_is_reached_at_the_last_step_of_the_warm_up_and_the_first_step_moves():
  schedule = make_schedule(ScheduleConfig(name="constant", warmup_steps=4), 1.0, 10)
  np.testing.assert_allclose([schedule(step) for step in range(6)], [0.25, 0.5, 0.75, 1, 1, 1])


def test_milestones_fall_on_whole_steps():
  schedule = make_schedule(ScheduleConfig(name="step", milestones=(0.1, 0.7)), 1.0, 10)
  np.testing.assert_allclose([schedule(step) for step in (0, 1, 6, 7, 9)], [1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"name": "linear"}, ["name = 'linear'", "cosine, polynomial, step, constant"]),
    ({"warmup_steps": -1}, ["warmup_steps = -1", "[0, inf)"]),
    ({"warmup_fraction": 1.0}, ["warmup_fraction = 1.0", "[0, 1)"]),
    ({"power": 0.0}, ["power", "(0, inf)"]),
    ({"end_value": -1.0}, ["end_value", "[0, inf)"]),
    ({"gamma": 0.0}, ["gamma", "(0, 1]"]),
    ({"warmup_steps": 5, "warmup_fraction": 0.1}, ["warmup_steps = 5", "warmup_fraction = 0.1", "keep one"]),
    ({"milestones": (0.5, 0.4)}, ["milestones", "must increase"]),
    ({"milestones": (100, 200)}, ["milestones", "between 0 and 1"]),
  ],
)
def test_refusals_name_the_field(fields, words):
  with pytest.raises(ValueError) as error:
    ScheduleConfig(**fields)
  for word in ["ScheduleConfig", *words]:
    assert word in str(error.value)
