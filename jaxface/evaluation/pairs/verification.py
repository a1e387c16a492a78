"""Pair verification: from named embeddings to the figures of LFW's protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.figure_intervals import FigureIntervals
from jaxface.evaluation.intervals.identity_units import units_of
from jaxface.evaluation.intervals.rates import size_note
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.measures.curves import rates_at
from jaxface.evaluation.measures.folds import Folds, fold_accuracy
from jaxface.evaluation.pairs.pair_names import list_notes, threshold_notes
from jaxface.evaluation.pairs.pair_score import COSINE, PairScore, score_pairs
from jaxface.formats.pairs import Pairs

TARGETS: Mapping[str, float] = MappingProxyType({"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3})


@dataclass(frozen=True)
class Verification:
  """The figures of one pair list, and the data from which they were computed.

  Attributes:
    pairs: the list.
    score_p: [P] float64, cosine of each pair, or another score.
    folds: accuracy and threshold per fold.
    notes: lines on peculiarities of the list, see `pair_names`.
    score_name: "cosine", or the name of the other score, whose thresholds are no cosines.
  """

  pairs: Pairs
  score_p: np.ndarray
  folds: Folds
  notes: tuple[str, ...] = ()
  score_name: str = COSINE

  @cached_property
  def roc(self) -> measures.Roc:
    return measures.roc(self.score_p, self.pairs.same)

  @property
  def accuracy(self) -> float:
    """Mean accuracy over the folds, in [0, 1]."""
    return self.folds.mean

  @property
  def accuracy_se(self) -> float:
    """Standard error of the accuracy."""
    return self.folds.standard_error

  @property
  def auc(self) -> float:
    return measures.auc(self.roc)

  @property
  def eer(self) -> float:
    return measures.eer(self.roc).far

  @property
  def tar_at_far(self) -> dict[str, float]:
    """Largest TAR with a FAR of at most 1e-1, 1e-2, 1e-3."""
    return {name: point.tar for name, point in self.operating.items()}

  @cached_property
  def operating(self) -> dict[str, measures.Operating]:
    """TAR, actual FAR, and threshold at each target FAR."""
    return {name: measures.tar_at_far(self.roc, target) for name, target in TARGETS.items()}

  @cached_property
  def intervals(self) -> FigureIntervals:
    """95 % intervals of the figures, over identities."""
    return FigureIntervals(self.score_p, self.pairs.same, self.pairs.fold, self.folds, units_of(self.pairs), TARGETS)

  @property
  def threshold(self) -> float:
    """Mean threshold over the folds: the same person if score >= threshold."""
    return float(self.folds.threshold.mean())

  @property
  def threshold_cosine(self) -> float:
    """`threshold`, where the score is the cosine.

    Raises:
      ValueError: the score is another one.
    """
    if self.score_name != COSINE:
      raise ValueError(f"the pairs were scored by {self.score_name}: the threshold {self.threshold:.4f} is no cosine")
    return self.threshold

  @property
  def threshold_l2_squared(self) -> float:
    """The same as a squared distance of normalised embeddings: the same person if ‖a − b‖² <= it."""
    return l2_squared(self.threshold_cosine)

  @cached_property
  def threshold_p(self) -> np.ndarray:
    """[P] float64, the threshold applied to each pair, that of its fold."""
    return self.folds.threshold_of(self.pairs.fold)

  def hardest(self, count: int, *, same: bool) -> list[int]:
    """The misclassified pairs farthest from the threshold, worst first.

    Args:
      count: maximum number.
      same: true for rejected mated pairs, false for accepted non-mated pairs.
    Returns:
      Indices of pairs.
    """
    wrong = ((self.score_p >= self.threshold_p) != self.pairs.same) & (self.pairs.same == same)
    depth = np.abs(self.score_p - self.threshold_p)
    index = np.flatnonzero(wrong)
    return index[np.argsort(-depth[index], kind="stable")][:count].tolist()

  def to_json(self) -> dict[str, Any]:
    """The figures as plain JSON values: shares in [0, 1], thresholds in cosine and squared distance, or as `threshold` of another score."""
    named = {} if self.score_name == COSINE else {"score": self.score_name}
    suffix = "_cosine" if self.score_name == COSINE else ""
    return {
      **named,
      "pairs": len(self.pairs),
      "mated": self.roc.mated,
      "nonmated": self.roc.nonmated,
      "accuracy": self.accuracy,
      "accuracy_se": self.accuracy_se,
      "accuracy_interval": list(self.intervals.accuracy),
      "auc": self.auc,
      "auc_interval": list(self.intervals.auc),
      "eer": self.eer,
      "eer_interval": list(self.intervals.eer),
      "tar_at_far": self.tar_at_far,
      "tar_at_far_interval": {name: list(ends) for name, ends in self.intervals.tar_at_far.items()},
      f"tar_at_far_threshold{suffix}": {name: point.threshold for name, point in self.operating.items()},
      **self._thresholds(self.threshold),
      "threshold_from": self.folds.threshold_from,
      "notes": list(self.notes),
      "folds": [
        {
          "fold": int(fold),
          "pairs": int(pairs),
          "accuracy": float(accuracy),
          **self._thresholds(float(threshold)),
        }
        for fold, pairs, accuracy, threshold in zip(
          self.folds.fold, self.folds.pairs, self.folds.accuracy, self.folds.threshold
        )
      ],
    }

  def _thresholds(self, threshold: float) -> dict[str, float]:
    """A threshold as JSON values."""
    if self.score_name != COSINE:
      return {"threshold": threshold}
    return {"threshold_cosine": threshold, "threshold_l2_squared": l2_squared(threshold)}

  def at(self, threshold: float) -> measures.Operating:
    """TAR and FAR at a threshold, over all pairs."""
    rates = rates_at(self.score_p, self.pairs.same, threshold)
    return measures.Operating(rates.tar, rates.far, threshold)

  def threshold_table(self) -> str:
    """Table of thresholds for a terminal: that of the best accuracy and those at each target FAR, with their rates."""
    plain = self.score_name == COSINE
    heads = ("cosine", "L2²") if plain else ("score",)
    rows = [("", *heads, "FAR", "TAR", "95 % of TAR")]
    points = {"best accuracy": (self.at(self.threshold), "")}
    for name, point in self.operating.items():
      low, high = self.intervals.tar_at_far[name]
      points[f"FAR ≤ {name}"] = (point, f"{100 * low:.2f} to {100 * high:.2f}")
    for name, (point, interval) in points.items():
      rates = (f"{100 * point.far:.2f} %", f"{100 * point.tar:.2f} %")
      values = (point.threshold, l2_squared(point.threshold)) if plain else (point.threshold,)
      rows.append((name, *(f"{value:.4f}" for value in values), *rates, interval))
    width = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
      "  ".join([row[0].ljust(width[0]), *(cell.rjust(size) for cell, size in zip(row[1:], width[1:]))]).rstrip()
      for row in rows
    ]
    small = [note for note in (size_note(target, self.roc.nonmated) for target in TARGETS.values()) if note]
    rule = "cosine ≥, or L2² of unit embeddings ≤" if plain else f"score ≥ ({self.score_name})"
    return "\n".join([f"thresholds: the same person if {rule}", *lines, *small])

  def summary(self) -> str:
    """One line for a terminal."""
    rates = ", ".join(f"TAR@FAR {name} {100 * tar:.2f} %" for name, tar in self.tar_at_far.items())
    low, high = (100 * end for end in self.intervals.accuracy)
    if self.score_name == COSINE:
      threshold = f"threshold cosine {self.threshold:.4f} (L2² {self.threshold_l2_squared:.4f})"
    else:
      threshold = f"threshold {self.threshold:.4f} of {self.score_name}"
    return (
      f"accuracy {100 * self.accuracy:.2f} % ± {100 * self.accuracy_se:.2f} (95 %: {low:.2f} to {high:.2f}), AUC {self.auc:.4f}, "
      f"EER {100 * self.eer:.2f} %, {rates}, {threshold}, {len(self.pairs)} pairs"
    )


def l2_squared(cosine: float) -> float:
  """‖a − b‖² = 2 − 2 cos of normalised embeddings."""
  return 2.0 - 2.0 * cosine


def verify_pairs(
  embedding_nd: np.ndarray,
  names: Sequence[str],
  pairs: Pairs,
  *,
  train: Pairs | None = None,
  score: PairScore | None = None,
) -> Verification:
  """Scores pairs and evaluates them by folds.

  Every pair is computed separately in float64, so the figures do not depend on the order of the embeddings, on
  batch sizes or on chunking.

  Args:
    embedding_nd: [N, D] float, not necessarily normalised.
    names: N names, as used in the pairs.
    pairs: pairs with folds.
    train: pairs on which the threshold for all folds is chosen (LFW view 1: the development training list);
      by default the threshold of a fold is chosen on the other folds.
    score: what scores the pairs, such as a `jaxface.verifiers.Verifier`; None is the cosine.
  Returns:
    `Verification`.
  Raises:
    ValueError: a pair refers to a missing name, or to an embedding with a duplicate name, zero or not finite.
  """
  pairs, score_p = score_pairs(embedding_nd, names, pairs, score)
  other = None
  if train is not None:
    train, train_score_p = score_pairs(embedding_nd, names, train, score)
    other = (train_score_p, train.same)
  folds = fold_accuracy(score_p, pairs.same, pairs.fold, train=other)
  notes = (*list_notes(pairs), *threshold_notes(pairs, folds.threshold_from, train))
  result = Verification(pairs, score_p, folds, notes, COSINE if score is None else score.name)
  result.roc  # noqa: B018 - raise here for a list of only mated pairs, not in the middle of a report
  return result


__all__ = ["TARGETS", "Verification", "l2_squared", "verify_pairs"]
