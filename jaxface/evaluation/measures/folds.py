"""Accuracy by folds: the threshold of a fold is chosen on the other folds."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.measures.roc import check_scores


class Folds(NamedTuple):
  """Accuracy of each fold at a threshold chosen on other pairs.

  Attributes:
    fold: [F] int, numbers of the folds, ascending.
    pairs: [F] int, number of pairs in each.
    accuracy: [F] float64, share of the fold's pairs classified correctly.
    threshold: [F] float64, accept where score >= threshold.
    threshold_from: pairs on which thresholds were chosen: "other folds", "train pairs" or "the same pairs".
  """

  fold: np.ndarray
  pairs: np.ndarray
  accuracy: np.ndarray
  threshold: np.ndarray
  threshold_from: str

  @property
  def mean(self) -> float:
    """The mean of the folds' accuracies."""
    return float(self.accuracy.mean())

  @property
  def standard_error(self) -> float:
    """Standard error of `mean`: σ / √F, σ² = Σ(p_i − mean)² / (F − 1); for a single fold the binomial √(p(1 − p) / P)."""
    if self.accuracy.size == 1:
      return float(np.sqrt(self.mean * (1 - self.mean) / self.pairs[0]))
    return float(self.accuracy.std(ddof=1) / np.sqrt(self.accuracy.size))

  def threshold_of(self, fold_p: np.ndarray) -> np.ndarray:
    """[P] float64, the threshold of each pair, that of its fold; `fold_p` [P] int are folds of `fold`."""
    return self.threshold[np.searchsorted(self.fold, fold_p)]

  def weight_of(self, fold_p: np.ndarray) -> np.ndarray:
    """[P] float64, the weight of each pair in `mean`: 1 / (number of folds · pairs of its fold)."""
    return 1.0 / (self.fold.size * self.pairs[np.searchsorted(self.fold, fold_p)])


def check_folds(
  score_p: np.ndarray, same_p: np.ndarray, fold_p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns float64 scores, boolean labels and folds of equal length, at least one, or raises a ValueError."""
  score_p, same_p = check_scores(score_p, same_p)
  fold_p = np.asarray(fold_p)
  if fold_p.shape != score_p.shape or not fold_p.size:
    raise ValueError(f"folds {fold_p.shape} for scores {score_p.shape}: both must be [P], P at least 1")
  return score_p, same_p, fold_p


def best_threshold(score_p: np.ndarray, same_p: np.ndarray) -> float:
  """The threshold with the highest accuracy.

  Candidates are the lowest score (accept all), every midpoint between neighbouring distinct scores, and the
  number just above the highest score (accept none). Of several equally accurate ones the middle is taken
  (the lower of two middle ones), which is far from both ends of the range.

  Args:
    score_p: [P] float, higher is more similar.
    same_p: [P] bool, true for mated pairs; may contain only one class.
  Returns:
    Threshold for score >= threshold.
  """
  score_p, same_p = check_scores(score_p, same_p)
  if not score_p.size:
    raise ValueError("no pairs to choose a threshold on")
  order = np.argsort(score_p, kind="stable")
  rising, mated = score_p[order], same_p[order]
  first = np.append(0, np.flatnonzero(rising[1:] != rising[:-1]) + 1)
  # Correct at a threshold that rejects the first k pairs: non-mated pairs among them, mated pairs after them.
  right = np.append(0, np.cumsum(np.where(mated, -1, 1)))[np.append(first, rising.size)]
  best = np.flatnonzero(right == right.max())
  chosen = int(best[(best.size - 1) // 2])
  if chosen == 0:
    return float(rising[0])
  if chosen == first.size:
    return float(np.nextafter(rising[-1], np.inf))
  low, high = rising[first[chosen] - 1], rising[first[chosen]]
  middle = low + (high - low) / 2
  return float(middle if middle > low else high)  # there is no number between neighbouring floats


def fold_accuracy(
  score_p: np.ndarray,
  same_p: np.ndarray,
  fold_p: np.ndarray,
  *,
  train: tuple[np.ndarray, np.ndarray] | None = None,
) -> Folds:
  """Accuracy of every fold at the threshold that is best on other pairs (LFW view 2).

  Args:
    score_p: [P] float, higher is more similar.
    same_p: [P] bool, true for mated pairs.
    fold_p: [P] int, the fold of each pair.
    train: scores and labels of other pairs (LFW view 1: the development training list), on which one threshold
      is chosen for all folds. Without them a fold's threshold is the best on all other folds. For a single fold
      it is the best on itself, which is biased upwards; `threshold_from` records this.
  Returns:
    `Folds`.
  Source: Huang et al., "Labeled Faces in the Wild", 2007, view 2.
  """
  score_p, same_p, fold_p = check_folds(score_p, same_p, fold_p)
  numbers, pairs = np.unique(fold_p, return_counts=True)
  accuracy, threshold = np.empty(numbers.size), np.empty(numbers.size)
  for index, number in enumerate(numbers):
    inside = fold_p == number
    if train is not None:
      threshold[index] = best_threshold(*train)
    else:
      basis = ~inside if numbers.size > 1 else inside
      threshold[index] = best_threshold(score_p[basis], same_p[basis])
    accuracy[index] = np.mean((score_p[inside] >= threshold[index]) == same_p[inside])
  source = "train pairs" if train is not None else "other folds" if numbers.size > 1 else "the same pairs"
  return Folds(numbers, pairs, accuracy, threshold, source)


__all__ = ["Folds", "best_threshold", "check_folds", "fold_accuracy"]
