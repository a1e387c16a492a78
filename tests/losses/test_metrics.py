"""Metrics reduce over any split as over the whole, what is skipped says nothing, and nothing is no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.losses.metrics import (
  Max,
  Mean,
  Members,
  Min,
  Sum,
  as_metric,
  empty,
  mean_of,
  merge,
  only_if,
  values,
)

NUMBERS = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def metrics_of(value_b, weight_b):
  value_b, weight_b = jnp.float32(value_b), jnp.float32(weight_b)
  return {
    "mean": mean_of(value_b, weight_b),
    "sum": as_metric(Sum((value_b > 0).sum())),
    "min": as_metric(Min(value_b.min())),
    "max": as_metric(Max(value_b.max())),
    "members": Members(as_metric(Mean(jnp.stack([value_b.sum(), -value_b.sum()]), jnp.full(2, len(value_b))))),
  }


@settings(max_examples=8)
@given(NUMBERS, NUMBERS, st.integers(1, 12))
def test_any_split_reduces_to_the_whole(value_b, weight_b, cut):
  size = min(len(value_b), len(weight_b))
  value_b, weight_b = value_b[:size], np.abs(weight_b[:size]) + 0.5
  whole, parts = metrics_of(value_b, weight_b), None
  for part in (slice(0, cut), slice(cut, size)):
    if len(value_b[part]):
      found = metrics_of(value_b[part], weight_b[part])
      parts = found if parts is None else merge(parts, found)
  for name, expected in values(whole).items():
    np.testing.assert_allclose(values(parts)[name], expected, rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(values(whole)["mean"], np.average(value_b, weights=weight_b), rtol=1e-4, atol=1e-3)
  assert values(whole)["sum"] == np.sum(np.float32(value_b) > 0)


def test_what_is_empty_or_skipped_changes_nothing():
  some = metrics_of([1.0, 3.0], [1.0, 1.0])
  broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), some)
  for nothing in (empty(some), only_if(jnp.bool_(False), broken)):
    jax.tree.map(np.testing.assert_array_equal, merge(nothing, some), some)
  jax.tree.map(np.testing.assert_array_equal, only_if(jnp.bool_(True), some), some)


def test_nothing_is_no_number_and_no_count():
  figures = values(empty(metrics_of([1.0], [1.0])))
  assert figures.pop("sum") == 0
  assert all(np.isnan(value) for value in figures.values())


def test_members_end_as_mean_least_and_largest_of_what_each_saw():
  # Each member's mean over both steps, 2 and 4; the ends of the single steps would be 1 and 6.
  steps = [Members(Mean(jnp.array([1.0, 6.0]), jnp.ones(2))), Members(Mean(jnp.array([3.0, 2.0]), jnp.ones(2)))]
  figures = values(merge({"a": steps[0]}, {"a": steps[1]}))
  assert {name: float(value) for name, value in figures.items()} == {"a": 3.0, "a_min": 2.0, "a_max": 4.0}


def test_a_bare_number_is_the_mean_over_its_batch():
  both = as_metric(1.0, 3.0).merge(as_metric(5.0, 1.0))
  assert float(both.value()) == 2.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_without_weight_say_nothing(bad):
  assert float(mean_of(jnp.array([2.0, bad]), jnp.array([1.0, 0.0])).value()) == 2.0


def test_metrics_carry_no_gradient():
  slope = jax.grad(lambda x: as_metric(x * x).value() + mean_of(x[None], jnp.ones(1)).value())(jnp.float32(3.0))
  assert slope == 0.0
