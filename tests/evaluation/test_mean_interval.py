"""Intervals of means over probes that share identities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.rates import wilson


def drawn(seed, probes, people):
  random = np.random.default_rng(seed)
  return random.random(probes) < random.random(), random.integers(0, people, probes)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 12))
def test_an_interval_holds_the_mean_and_lies_in_0_to_1(seed, probes, people):
  value, identity = drawn(seed, probes, people)
  low, high = mean_interval(value, identity)
  assert 0 <= low <= value.mean() <= high <= 1 and high - low > 0


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 5))
def test_copies_of_each_probe_do_not_narrow_it(seed, probes, copies):
  value, identity = drawn(seed, probes, 1)[0], np.arange(probes)
  low, high = mean_interval(np.tile(value, copies), np.tile(identity, copies))
  once = mean_interval(value, identity)
  assert (low, high) == pytest.approx(once, abs=1e-9)


def test_one_probe_of_each_identity_gives_about_wilson():
  value = np.arange(400) < 300
  found, independent = mean_interval(value, np.arange(400)), wilson(300, 400)
  assert found == pytest.approx(independent, abs=1e-4)


def test_copies_of_one_probe_of_each_identity_give_the_interval_of_one():
  value = np.arange(400) < 300
  once = mean_interval(value, np.arange(400))
  assert mean_interval(np.repeat(value, 7), np.repeat(np.arange(400), 7)) == pytest.approx(once, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_an_error_there_are_as_many_trials_as_identities(value):
  assert mean_interval(np.full(60, value), np.arange(60) % 20) == wilson(value * 20, 20)


def test_by_hand():
  # Residuals ±1/2; sums by identity 1, −1: variance (1 + 1) · 2/1 / 16 = 1/4, that of one trial.
  assert mean_interval(np.array([1, 1, 0, 0]), np.array(["a", "a", "b", "b"])) == wilson(0.5, 1)


@pytest.mark.parametrize(
  ("value", "identity", "message"),
  [([], [], "at least one"), ([1.0], [1, 2], "one identity"), ([1.5], [1], "outside"), ([np.nan], [1], "outside")],
)
def test_errors(value, identity, message):
  with pytest.raises(ValueError, match=message):
    mean_interval(np.array(value), np.array(identity))


def test_it_holds_the_truth_where_wilson_does_not():
  """Shares of identities from a beta distribution of mean 0.8: 40 people with 25 probes, 200 sets."""
  random, held = np.random.default_rng(0), np.zeros(2)
  identity = np.repeat(np.arange(40), 25)
  for _ in range(200):
    value = random.random(1000) < random.beta(4, 1, 40)[identity]
    both = mean_interval(value, identity), wilson(int(value.sum()), value.size)
    held += [low <= 0.8 <= high for low, high in both]
  assert held[0] >= 180 > 140 > held[1]
