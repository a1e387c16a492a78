"""Normal distributions of cosines, estimated robustly."""

from typing import NamedTuple

import numpy as np


class Normal(NamedTuple):
  """A normal distribution."""

  mean: float
  spread: float

  @classmethod
  def of(cls, value_n: np.ndarray) -> "Normal":
    """Mean and standard deviation."""
    return cls(float(np.mean(value_n)), max(float(np.std(value_n)), 1e-3)) if len(value_n) else cls(0.0, 0.1)

  @classmethod
  def robust(cls, value_n: np.ndarray, *, above: float) -> "Normal":
    """Of values most of which are drawn from it, ignoring those below a bound; from the median and the upper half."""
    kept_n = value_n[value_n > above]
    if not len(kept_n):
      return cls(above + 0.1, 0.1)
    middle = float(np.median(kept_n))
    return cls(middle, max(float(1.4826 * np.median(np.abs(kept_n - middle))), 0.02))

  @classmethod
  def of_most(cls, value_n: np.ndarray) -> "Normal":
    """From the median and the lower half, of values of which a minority is much larger."""
    middle = float(np.median(value_n))
    lower_n = value_n[value_n <= middle]
    # The largest of many has a longer upper tail than lower one.
    return cls(middle, max(1.3 * float(1.4826 * np.median(middle - lower_n)), 0.01))

  def density(self, value_n: np.ndarray) -> np.ndarray:
    """Density of each value, up to a constant."""
    return density(value_n, np.full(len(value_n), self.mean), np.full(len(value_n), self.spread))


def density(value_n: np.ndarray, mean_n: np.ndarray, spread_n: np.ndarray) -> np.ndarray:
  """Density up to a constant of each value under its own normal distribution; it does not fall beyond eight standard deviations."""
  far_n = np.clip((np.nan_to_num(value_n) - mean_n) / spread_n, -8, 8)
  return np.asarray(np.exp(-0.5 * far_n**2) / spread_n)


__all__ = ["Normal", "density"]
