"""VAL(d) and FAR(d) of FaceNet, with their spread over folds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxface.evaluation.measures.curves import rates_at
from jaxface.evaluation.measures.folds import check_folds
from jaxface.evaluation.measures.roc import check_rate, roc, tar_at_far

# The grid of FaceNet's and InsightFace's scripts.
SCRIPT_DISTANCES = np.arange(0, 4, 0.001)


class ValFar(NamedTuple):
  """VAL and FAR of each fold at a distance chosen on the other folds.

  Attributes:
    fold: [F] int, numbers of the folds, ascending.
    distance: [F] float64, d: accept where distance ≤ d.
    val: [F] float64, VAL(d), accepted share of the fold's mated pairs.
    far: [F] float64, FAR(d), accepted share of the fold's non-mated pairs.
  """

  fold: np.ndarray
  distance: np.ndarray
  val: np.ndarray
  far: np.ndarray

  @property
  def mean_val(self) -> float:
    """The mean of the folds' VAL."""
    return float(self.val.mean())

  @property
  def mean_far(self) -> float:
    """The mean of the folds' FAR: it may be above the target, since d was chosen on other folds."""
    return float(self.far.mean())

  @property
  def standard_deviation(self) -> float:
    """σ of VAL over the folds, σ² = Σ(v_i − mean)² / (F − 1). (Scripts divide by F.)"""
    return float(self.val.std(ddof=1))

  @property
  def standard_error(self) -> float:
    """Standard error of `mean_val`, σ / √F: the "±" of FaceNet."""
    return self.standard_deviation / float(np.sqrt(self.val.size))


def val_far(distance_p: np.ndarray, same_p: np.ndarray, d: float) -> tuple[float, float]:
  """VAL(d) and FAR(d) over all pairs.

  Args:
    distance_p: [P] float, lower is more similar; of cosines, 2 − 2 · cosine.
    same_p: [P] bool, true for mated pairs.
    d: accept where distance ≤ d.
  Returns:
    (VAL, FAR).
  Raises:
    ValueError: wrong shapes, a distance that is not finite, or no mated or non-mated pairs.
  Source: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, section 4.
  """
  rates = rates_at(-_distances(distance_p), same_p, -d)
  return rates.tar, rates.far


def val_at_far(distance_p: np.ndarray, same_p: np.ndarray, fold_p: np.ndarray, target: float) -> ValFar:
  """VAL at a target FAR by folds: d is the largest distance whose FAR on the other folds is at most the target.

  Args:
    distance_p: [P] float, lower is more similar.
    same_p: [P] bool, true for mated pairs.
    fold_p: [P] int, the fold of each pair; at least two folds, each with mated and non-mated pairs.
    target: FAR in [0, 1].
  Returns:
    `ValFar`.
  Raises:
    ValueError: wrong shapes, a distance that is not finite, a single fold, or a fold without mated or non-mated pairs.
  """

  def choose(other_p: np.ndarray, label_p: np.ndarray) -> float:
    return -tar_at_far(roc(-other_p, label_p), target).threshold

  return _by_folds(distance_p, same_p, fold_p, choose)


def val_at_far_of_scripts(
  distance_p: np.ndarray, same_p: np.ndarray, fold_p: np.ndarray, target: float, *, grid_k: np.ndarray = SCRIPT_DISTANCES
) -> ValFar:
  """The same as `calculate_val` in the scripts of FaceNet and InsightFace, for comparison.

  The distance is interpolated linearly in the FAR over a grid, on the other folds; from several grid points of one
  FAR the interpolation starts at the last. (SciPy now refuses such points; older versions did this.) Pairs are
  accepted where distance < d. If even the largest grid point has a FAR below the target, d is 0 and nothing is accepted.

  Args:
    distance_p: [P] float, squared distances of unit embeddings, in [0, 4].
    same_p: [P] bool, true for mated pairs.
    fold_p: [P] int, as for `val_at_far`.
    target: FAR in [0, 1].
    grid_k: [K] float, ascending distances.
  Returns:
    `ValFar`, whose `distance` is exclusive.
  Raises:
    ValueError: as `val_at_far`.
  """

  check_rate(target, "target FAR")

  def choose(other_p: np.ndarray, label_p: np.ndarray) -> float:
    rising = np.sort(other_p[~label_p])
    far_k = np.searchsorted(rising, grid_k, side="left") / rising.size
    d = float(np.interp(target, far_k, grid_k)) if far_k[-1] >= target else 0.0
    return float(np.nextafter(d, -np.inf))

  found = _by_folds(distance_p, same_p, fold_p, choose)
  return found._replace(distance=np.nextafter(found.distance, np.inf))


def _by_folds(
  distance_p: np.ndarray, same_p: np.ndarray, fold_p: np.ndarray, choose: Callable[[np.ndarray, np.ndarray], float]
) -> ValFar:
  """Applies `choose` to the other folds of every fold, and its distance to the fold."""
  distance_p = _distances(distance_p)
  _, same_p, fold_p = check_folds(distance_p, same_p, fold_p)
  numbers = np.unique(fold_p)
  if numbers.size < 2:
    raise ValueError("one fold: a distance is chosen on other folds, so there must be at least two")
  for number in numbers:
    label_p = same_p[fold_p == number]
    mated, nonmated = int(label_p.sum()), int((~label_p).sum())
    if not mated or not nonmated:
      raise ValueError(
        f"fold {number} has {mated} mated and {nonmated} non-mated pairs: it needs at least one of each"
      )
  distance_f, val_f, far_f = (np.empty(numbers.size) for _ in range(3))
  for index, number in enumerate(numbers):
    inside = fold_p == number
    distance_f[index] = choose(distance_p[~inside], same_p[~inside])
    val_f[index], far_f[index] = val_far(distance_p[inside], same_p[inside], distance_f[index])
  return ValFar(numbers, distance_f, val_f, far_f)


def _distances(distance_p: np.ndarray) -> np.ndarray:
  distance_p = np.asarray(distance_p, np.float64)
  bad = np.flatnonzero(~np.isfinite(distance_p))
  if bad.size:
    raise ValueError(f"distance {bad[0]} is {distance_p.flat[bad[0]]}: distances must be finite")
  return distance_p


__all__ = ["SCRIPT_DISTANCES", "ValFar", "val_at_far", "val_at_far_of_scripts", "val_far"]
