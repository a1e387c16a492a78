"""Accuracy by folds: the threshold of a fold comes from the other folds, never from itself."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.measures import check_scores


class Folds(NamedTuple):
  """Accuracy of each fold at a threshold found elsewhere.

  Attributes:
    fold: [F] int, the folds' own numbers, rising.
    pairs: [F] int, pairs in each.
    accuracy: [F] float64, share of the fold's pairs judged rightly.
    threshold: [F] float64, accept where score >= threshold.
    threshold_from: where thresholds came from: "other folds", "train pairs" or "the same pairs".
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
    """Of `mean`: σ / √F, σ² = Σ(p_i − mean)² / (F − 1); for a single fold the binomial √(p(1 − p) / P)."""
    if self.accuracy.size == 1:
      return float(np.sqrt(self.mean * (1 - self.mean) / self.pairs[0]))
    return float(self.accuracy.std(ddof=1) / np.sqrt(self.accuracy.size))


def best_threshold(score_p: np.ndarray, same_p: np.ndarray) -> float:
  """The threshold with the highest accuracy among all that differ.

  Candidates are the lowest score (accept all), every midpoint between neighbouring distinct scores, and the
  number just above the highest score (accept none). Of several that are equally accurate the middle one in
  order is taken (the lower of the two middle ones): far from both edges of what the pairs allow.

  Args:
    score_p: [P] float, the higher the more alike.
    same_p: [P] bool, true for mated pairs; one class alone is allowed.
  Returns:
    Threshold for score >= threshold.
  """
  score_p, same_p = check_scores(score_p, same_p)
  if not score_p.size:
    raise ValueError("no pairs to choose a threshold on")
  order = np.argsort(score_p, kind="stable")
  rising, mated = score_p[order], same_p[order]
  first = np.append(0, np.flatnonzero(rising[1:] != rising[:-1]) + 1)
  # Right at a threshold that refuses the first k pairs: non-mated ones among them, mated ones behind them.
  right = np.append(0, np.cumsum(np.where(mated, -1, 1)))[np.append(first, rising.size)]
  best = np.flatnonzero(right == right.max())
  chosen = int(best[(best.size - 1) // 2])
  if chosen == 0:
    return float(rising[0])
  if chosen == first.size:
    return float(np.nextafter(rising[-1], np.inf))
  low, high = rising[first[chosen] - 1], rising[first[chosen]]
  middle = low + (high - low) / 2
  return float(middle if middle > low else high)  # neighbouring floats have no number between them


def fold_accuracy(
  score_p: np.ndarray,
  same_p: np.ndarray,
  fold_p: np.ndarray,
  *,
  train: tuple[np.ndarray, np.ndarray] | None = None,
) -> Folds:
  """Accuracy of every fold at the threshold that is best elsewhere (LFW view 2).

  Args:
    score_p: [P] float, the higher the more alike.
    same_p: [P] bool, true for mated pairs.
    fold_p: [P] int, the fold of each pair.
    train: scores and truths of other pairs (LFW view 1: the development training list) that set one threshold
      for all folds. Without them a fold's threshold is the best on all other folds; a list of a single fold
      has no others, so its threshold is the best on itself, which flatters, and `threshold_from` says so.
  Returns:
    `Folds`.
  Source: Huang et al., "Labeled Faces in the Wild", 2007, view 2.
  """
  score_p, same_p = check_scores(score_p, same_p)
  fold_p = np.asarray(fold_p)
  if fold_p.shape != score_p.shape or not fold_p.size:
    raise ValueError(f"folds {fold_p.shape} for scores {score_p.shape}: both must be [P], P at least 1")
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


__all__ = ["Folds", "best_threshold", "fold_accuracy"]
