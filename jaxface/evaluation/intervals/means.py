"""Intervals of means over probes that share identities: ranks, accuracy, precision of queries."""

import numpy as np

from jaxface.evaluation.intervals.rates import Z95, wilson


def mean_interval(value_n: np.ndarray, identity_n: np.ndarray, *, z: float = Z95) -> tuple[float, float]:
  """Interval of a mean over identities: Wilson's, with as many trials as independent probes would need for the same variance.

  The variance is that of a ratio of sums over identities (linearised), at least that of independent probes. Without it, where all values
  are 0 or all are 1, there are as many trials as identities. Identities of the gallery are taken as given.

  Args:
    value_n: [N] bool or float in [0, 1], of each probe.
    identity_n: [N] integers or text, identity of each probe.
    z: quantile of the normal distribution; the default gives 95 %.
  Returns:
    (low, high), both within [0, 1].
  Raises:
    ValueError: no values, a value outside [0, 1], or other lengths.
  Source: Cochran, "Sampling Techniques", 1977, section 9A.5; Wilson, 1927.
  """
  value_n, identity_n = np.asarray(value_n, np.float64), np.asarray(identity_n)
  if value_n.ndim != 1 or identity_n.shape != value_n.shape or not value_n.size:
    raise ValueError(f"values {value_n.shape} with identities {identity_n.shape}: one identity for each of at least one value")
  if not ((value_n >= 0) & (value_n <= 1)).all():
    raise ValueError("values outside [0, 1], or not numbers: a share needs values in [0, 1]")
  identities, at_n = np.unique(identity_n, return_inverse=True)
  mean = float(np.clip(value_n.mean(), value_n.min(), value_n.max()))
  residual_n = value_n - mean
  count = len(identities)
  between = float((np.bincount(at_n, residual_n) ** 2).sum()) * count / max(count - 1, 1)
  variance = max(between, float((residual_n**2).sum())) / value_n.size**2
  trials = mean * (1 - mean) / variance if count > 1 and variance > 0 and 0 < mean < 1 else float(count)
  trials = max(trials, 1.0)
  return wilson(mean * trials, trials, z)


__all__ = ["mean_interval"]
