"""Metrics with their reduction: over parts of a batch and over steps of an interval, to one number.

A term returns partial sums, not finished numbers, so that parts of a batch and steps of an interval reduce to the value over
all of them. The (sum, count) form follows scenic.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array


class Mean(NamedTuple):
  """A mean: `total / weight`; NaN if the weight is 0."""

  total: Any
  weight: Any

  def merge(self, other: Self) -> Self:
    """Combines both."""
    return self._replace(total=self.total + other.total, weight=self.weight + other.weight)

  def empty(self) -> Self:
    """The identity of `merge`, in these shapes."""
    return self._replace(total=jnp.zeros_like(self.total), weight=jnp.zeros_like(self.weight))

  def value(self) -> Array:
    """The final number."""
    return jnp.where(self.weight > 0, self.total / jnp.where(self.weight > 0, self.weight, 1.0), jnp.nan)


class Sum(NamedTuple):
  """A count or another sum; 0 if empty."""

  total: Any

  def merge(self, other: Self) -> Self:
    """Combines both."""
    return self._replace(total=self.total + other.total)

  def empty(self) -> Self:
    """The identity of `merge`, in these shapes."""
    return self._replace(total=jnp.zeros_like(self.total))

  def value(self) -> Array:
    """The final number."""
    return self.total


class Min(NamedTuple):
  """The minimum; NaN if empty."""

  least: Any

  def merge(self, other: Self) -> Self:
    """Combines both."""
    return self._replace(least=jnp.minimum(self.least, other.least))

  def empty(self) -> Self:
    """The identity of `merge`, in these shapes."""
    return self._replace(least=jnp.full_like(self.least, jnp.inf))

  def value(self) -> Array:
    """The final number."""
    return jnp.where(self.least < jnp.inf, self.least, jnp.nan)


class Max(NamedTuple):
  """The maximum; NaN if empty."""

  largest: Any

  def merge(self, other: Self) -> Self:
    """Combines both."""
    return self._replace(largest=jnp.maximum(self.largest, other.largest))

  def empty(self) -> Self:
    """The identity of `merge`, in these shapes."""
    return self._replace(largest=jnp.full_like(self.largest, -jnp.inf))

  def value(self) -> Array:
    """The final number."""
    return jnp.where(self.largest > -jnp.inf, self.largest, jnp.nan)


class Members(NamedTuple):
  """A metric of each network of an ensemble, along a leading axis; reported as mean, minimum and maximum over them."""

  each: Any  # one of the above

  def merge(self, other: Self) -> Self:
    """Combines both."""
    return self._replace(each=self.each.merge(other.each))

  def empty(self) -> Self:
    """The identity of `merge`, in these shapes."""
    return self._replace(each=self.each.empty())


Metric = Mean | Sum | Min | Max | Members


def as_metric(value: Metric | Array | float, weight: Array | float = 1.0) -> Metric:
  """Returns a metric unchanged; wraps a scalar as the mean over a batch of that weight.

  Args:
    value: metric or scalar.
    weight: sum of the batch's row weights.
  Returns:
    A metric in float32, without gradient.
  """
  metric = value if isinstance(value, Metric) else Mean(jnp.asarray(value) * weight, jnp.asarray(weight))
  return jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf, jnp.float32)), metric)


def mean_of(value_b: Array, weight_b: Array) -> Mean:
  """Weighted mean over rows; rows of weight 0 are ignored, even if they hold NaN."""
  live_b = weight_b > 0
  total = jnp.where(live_b, jax.lax.stop_gradient(value_b) * weight_b, 0.0).sum()
  return Mean(total, jnp.where(live_b, weight_b, 0.0).sum())


def merge(a: Mapping[str, Metric], b: Mapping[str, Metric]) -> dict[str, Metric]:
  """Merges metrics by name."""
  return {name: a[name].merge(b[name]) for name in a}  # type: ignore[arg-type]


def empty(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
  """Empty metrics, in the shapes of `metrics`."""
  return {name: metric.empty() for name, metric in metrics.items()}


def only_if(flag: Array, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
  """The metrics if the scalar `flag` is true, otherwise empty ones."""
  return jax.tree.map(lambda a, b: jnp.where(flag, a, b), dict(metrics), empty(metrics))


def values(metrics: Mapping[str, Metric | Array]) -> dict[str, Array]:
  """Final numbers by name; `Members` give NAME, NAME_min and NAME_max."""
  out: dict[str, Array] = {}
  for name, metric in metrics.items():
    metric = as_metric(metric)
    value = (metric.each if isinstance(metric, Members) else metric).value()
    if isinstance(metric, Members):
      out |= {name: value.mean(), f"{name}_min": value.min(), f"{name}_max": value.max()}
    else:
      out[name] = value
  return out


__all__ = ["Max", "Mean", "Members", "Metric", "Min", "Sum", "as_metric", "empty", "mean_of", "merge", "only_if", "values"]
