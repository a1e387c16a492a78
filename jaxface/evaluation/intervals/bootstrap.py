"""Bootstrap of verification figures over identities.

Each draw gives every identity a random weight of mean 1 and variance 1, and a pair the product of its identities' weights (that of its
identity, if it is mated). Figures that depend on a threshold choose it again in each draw. Weights are exponential: "double or nothing"
weights have the same mean and variance, but leave only a quarter of the non-mated pairs, too few at a low FAR. Where pairs share few
identities the intervals are too wide rather than too narrow, since a non-mated pair's own variance is counted three times.
Sources: Owen, Eckles, "Bootstrapping data arrays of arbitrary order", 2012; Fogliato et al., 2023.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.measures.roc import check_scores

DRAWS = 2_000
# Of a long list, in draws × pairs; and the fewest draws for 95 % intervals.
_WORK, _FEWEST = 2**32, 200
_CHUNK = 2**18  # weights at a time, which stay in the cache
_LONG = 10**5


class Drawn(NamedTuple):
  """Figures of each draw.

  Attributes:
    auc_r: [R] float64.
    eer_r: [R] float64.
    tar_rt: [R, T] float64, TAR at each target FAR, on the polyline of the ROC.
  """

  auc_r: np.ndarray
  eer_r: np.ndarray
  tar_rt: np.ndarray


def draw_figures(
  score_p: np.ndarray, same_p: np.ndarray, units: Units, targets: Sequence[float], *, draws: int = DRAWS, seed: int = 0
) -> Drawn:
  """Figures under random weights of the identities.

  The same seed and number of identities give the same weights: figures of two models on one list are paired draw by draw.

  Args:
    score_p: [P] float, higher is more similar.
    same_p: [P] bool, true for mated pairs.
    units: identities of the pairs.
    targets: [T] target FARs; may be empty, then there is no TAR.
    draws: R, fewer for lists of more than two million pairs.
    seed: of the weights.
  Returns:
    `Drawn`.
  Raises:
    ValueError: as `measures.roc`.
  """
  auc, eer, tar = [], [], []
  for false_rk, true_rk in drawn_rates(score_p, same_p, units, draws=draws, seed=seed):
    auc.append((np.diff(false_rk) * (true_rk[:, 1:] + true_rk[:, :-1])).sum(axis=1) / 2)
    eer.append(crossing(false_rk + true_rk - 1.0, false_rk))
    tar.append(np.array([crossing(false_rk - target, true_rk) for target in targets]).reshape(len(targets), len(true_rk)).T)
  return Drawn(np.concatenate(auc), np.concatenate(eer), np.concatenate(tar))


def drawn_rates(
  score_p: np.ndarray, same_p: np.ndarray, units: Units, *, draws: int = DRAWS, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """FAR and TAR at every threshold, some draws at a time.

  Args:
    score_p, same_p, units, draws, seed: as for `draw_figures`.
  Yields:
    (FAR, TAR), each [r, K + 1] float, from none accepted to all, at the K distinct scores.
  Raises:
    ValueError: as `measures.roc`.
  """
  score_p, same_p = check_scores(score_p, same_p)
  if not same_p.any() or same_p.all():
    raise ValueError(f"{int(same_p.sum())} mated of {same_p.size} pairs: figures need mated and non-mated ones")
  order = np.argsort(-score_p, kind="stable")
  falling, mated = score_p[order], same_p[order]
  left, right = units.left_p[order], units.right_p[order]
  own, first, second = left[mated], left[~mated], right[~mated]
  last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), falling.size - 1)
  # Accepted mated and non-mated pairs at each distinct score, from none to all.
  true_k = np.append(0, np.cumsum(mated)[last])
  false_k = np.append(0, last + 1) - true_k
  for weight_ru in _weights(units.total, falling.size, draws, seed):
    yield _shares(weight_ru[:, first] * weight_ru[:, second], false_k), _shares(weight_ru[:, own], true_k)


def percentiles(value_r: np.ndarray, level: float = 0.95) -> tuple[float, float]:
  """The central interval that holds a share `level` of the draws."""
  low, high = np.quantile(value_r, ((1 - level) / 2, (1 + level) / 2))
  return float(low), float(high)


def interval_of(value: float, value_r: np.ndarray) -> tuple[float, float]:
  """The central 95 % of draws of a figure, widened where that is needed to contain the figure."""
  low, high = percentiles(value_r)
  return min(low, value), max(high, value)


def _weights(count: int, pairs: int, draws: int, seed: int) -> Iterator[np.ndarray]:
  """Weights [r, count] of some draws at a time."""
  draws = min(draws, max(_FEWEST, _WORK // pairs))
  # The sums of long lists need more digits.
  yield from random_weights(count, draws, seed, width=max(pairs, count), dtype=np.float32 if pairs < _LONG else np.float64)


def random_weights(count: int, draws: int, seed: int, *, width: int, dtype: Any = np.float64) -> Iterator[np.ndarray]:
  """Exponential weights of mean 1 and variance 1, some draws at a time; how many does not change them.

  Args:
    count: I, identities.
    draws: R.
    seed: equal seeds, counts and types give equal weights.
    width: numbers that the caller makes of each draw, which limits how many draws there are at a time.
    dtype: of the weights.
  Yields:
    [r, I], R rows in all.
  """
  random = np.random.default_rng(seed)
  rows = max(1, _CHUNK // max(width, 1))
  for start in range(0, draws, rows):
    yield random.standard_exponential((min(rows, draws - start), count), dtype)


def _shares(weight_rp: np.ndarray, accepted_k: np.ndarray) -> np.ndarray:
  """[R, K] share of the weight of the first `accepted_k` pairs."""
  total_rp = np.zeros((len(weight_rp), weight_rp.shape[1] + 1), weight_rp.dtype)
  np.cumsum(weight_rp, axis=1, out=total_rp[:, 1:])
  total_rp /= total_rp[:, -1:]
  return total_rp[:, accepted_k]


def crossing(rising_rk: np.ndarray, value_rk: np.ndarray) -> np.ndarray:
  """[R] value where a polyline rises through 0, from the last point at or below it; both are [R, K]."""
  rows = np.arange(len(rising_rk))
  below = np.maximum((rising_rk <= 0).sum(axis=1) - 1, 0)
  above = np.minimum(below + 1, rising_rk.shape[1] - 1)
  low, high = rising_rk[rows, below], rising_rk[rows, above]
  share = np.where(high > low, -low / np.where(high > low, high - low, 1.0), 0.0)
  return value_rk[rows, below] + np.clip(share, 0.0, 1.0) * (value_rk[rows, above] - value_rk[rows, below])


__all__ = ["DRAWS", "Drawn", "crossing", "draw_figures", "drawn_rates", "interval_of", "percentiles", "random_weights"]
