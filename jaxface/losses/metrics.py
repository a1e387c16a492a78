"""Metrics that carry their reduction: from the parts of a batch, over the steps of an interval, to one number.

A term returns what to add up, not a finished number, so that parts of a batch and steps of an interval reduce to what the
whole would have given. The idea of (sum, count) is scenic's.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array


class Mean(NamedTuple):
  """A mean: `total / weight`; NaN where nothing was weighed."""

  total: Any
  weight: Any

  def merge(self, other: Self) -> Self:
    """Of both."""
    return self._replace(total=self.total + other.total, weight=self.weight + other.weight)

  def empty(self) -> Self:
    """What changes nothing when merged, in these shapes."""
    return self._replace(total=jnp.zeros_like(self.total), weight=jnp.zeros_like(self.weight))

  def value(self) -> Array:
    """The finished number."""
    return jnp.where(self.weight > 0, self.total / jnp.where(self.weight > 0, self.weight, 1.0), jnp.nan)


class Sum(NamedTuple):
  """A count or another sum; 0 where there was nothing."""

  total: Any

  def merge(self, other: Self) -> Self:
    """Of both."""
    return self._replace(total=self.total + other.total)

  def empty(self) -> Self:
    """What changes nothing when merged, in these shapes."""
    return self._replace(total=jnp.zeros_like(self.total))

  def value(self) -> Array:
    """The finished number."""
    return self.total


class Min(NamedTuple):
  """The least; NaN where there was nothing."""

  least: Any

  def merge(self, other: Self) -> Self:
    """Of both."""
    return self._replace(least=jnp.minimum(self.least, other.least))

  def empty(self) -> Self:
    """What changes nothing when merged, in these shapes."""
    return self._replace(least=jnp.full_like(self.least, jnp.inf))

  def value(self) -> Array:
    """The finished number."""
    return jnp.where(self.least < jnp.inf, self.least, jnp.nan)


class Max(NamedTuple):
  """The largest; NaN where there was nothing."""

  largest: Any

  def merge(self, other: Self) -> Self:
    """Of both."""
    return self._replace(largest=jnp.maximum(self.largest, other.largest))

  def empty(self) -> Self:
    """What changes nothing when merged, in these shapes."""
    return self._replace(largest=jnp.full_like(self.largest, -jnp.inf))

  def value(self) -> Array:
    """The finished number."""
    return jnp.where(self.largest > -jnp.inf, self.largest, jnp.nan)


class Members(NamedTuple):
  """The same metric of each network of an ensemble, on a leading axis: it ends as mean, least and largest over them."""

  each: Any  # one of the above

  def merge(self, other: Self) -> Self:
    """Of both."""
    return self._replace(each=self.each.merge(other.each))

  def empty(self) -> Self:
    """What changes nothing when merged, in these shapes."""
    return self._replace(each=self.each.empty())


Metric = Mean | Sum | Min | Max | Members


def as_metric(value: Metric | Array | float, weight: Array | float = 1.0) -> Metric:
  """A metric as it is; a bare number as the mean over a batch of that weight.

  Args:
    value: metric or scalar.
    weight: sum of the batch's row weights.
  Returns:
    A metric in float32, without gradient.
  """
  metric = value if isinstance(value, Metric) else Mean(jnp.asarray(value) * weight, jnp.asarray(weight))
  return jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf, jnp.float32)), metric)


def mean_of(value_b: Array, weight_b: Array) -> Mean:
  """Weighted mean of a figure of each row; a row of weight 0 says nothing, whatever it holds."""
  live_b = weight_b > 0
  total = jnp.where(live_b, jax.lax.stop_gradient(value_b) * weight_b, 0.0).sum()
  return Mean(total, jnp.where(live_b, weight_b, 0.0).sum())


def merge(a: Mapping[str, Metric], b: Mapping[str, Metric]) -> dict[str, Metric]:
  """Metrics of both, by name."""
  return {name: a[name].merge(b[name]) for name in a}  # type: ignore[arg-type]


def empty(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
  """Metrics of nothing, in the shapes of `metrics`."""
  return {name: metric.empty() for name, metric in metrics.items()}


def only_if(flag: Array, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
  """The metrics where the scalar `flag` is true, otherwise those of nothing."""
  return jax.tree.map(lambda a, b: jnp.where(flag, a, b), dict(metrics), empty(metrics))


def values(metrics: Mapping[str, Metric | Array]) -> dict[str, Array]:
  """Finished numbers by name; `Members` give NAME, NAME_min and NAME_max."""
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
