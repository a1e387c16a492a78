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
from jaxface.evaluation.pairs.pair_names import check_unique, list_notes, matched, threshold_notes
from jaxface.formats.pairs import Pairs

TARGETS: Mapping[str, float] = MappingProxyType({"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3})
CHUNK = 256  # pairs at a time: their float64 rows stay in the cache


@dataclass(frozen=True)
class Verification:
  """The figures of one pair list, and the data from which they were computed.

  Attributes:
    pairs: the list.
    score_p: [P] float64, cosine of each pair.
    folds: accuracy and threshold per fold.
    notes: lines on peculiarities of the list, see `pair_names`.
  """

  pairs: Pairs
  score_p: np.ndarray
  folds: Folds
  notes: tuple[str, ...] = ()

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
  def threshold_cosine(self) -> float:
    """Mean threshold over the folds: the same person if cosine >= threshold."""
    return float(self.folds.threshold.mean())

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
    """The figures as plain JSON values: shares in [0, 1], thresholds in cosine and squared distance."""
    return {
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
      "tar_at_far_threshold_cosine": {name: point.threshold for name, point in self.operating.items()},
      "threshold_cosine": self.threshold_cosine,
      "threshold_l2_squared": self.threshold_l2_squared,
      "threshold_from": self.folds.threshold_from,
      "notes": list(self.notes),
      "folds": [
        {
          "fold": int(fold),
          "pairs": int(pairs),
          "accuracy": float(accuracy),
          "threshold_cosine": float(threshold),
          "threshold_l2_squared": l2_squared(float(threshold)),
        }
        for fold, pairs, accuracy, threshold in zip(
          self.folds.fold, self.folds.pairs, self.folds.accuracy, self.folds.threshold
        )
      ],
    }

  def at(self, threshold: float) -> measures.Operating:
    """TAR and FAR at a threshold, over all pairs."""
    rates = rates_at(self.score_p, self.pairs.same, threshold)
    return measures.Operating(rates.tar, rates.far, threshold)

  def threshold_table(self) -> str:
    """Table of thresholds for a terminal: that of the best accuracy and those at each target FAR, with their rates."""
    rows = [("", "cosine", "L2²", "FAR", "TAR", "95 % of TAR")]
    points = {"best accuracy": (self.at(self.threshold_cosine), "")}
    for name, point in self.operating.items():
      low, high = self.intervals.tar_at_far[name]
      points[f"FAR ≤ {name}"] = (point, f"{100 * low:.2f} to {100 * high:.2f}")
    for name, (point, interval) in points.items():
      rates = (f"{100 * point.far:.2f} %", f"{100 * point.tar:.2f} %")
      rows.append((name, f"{point.threshold:.4f}", f"{l2_squared(point.threshold):.4f}", *rates, interval))
    width = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
      "  ".join([row[0].ljust(width[0]), *(cell.rjust(size) for cell, size in zip(row[1:], width[1:]))]).rstrip()
      for row in rows
    ]
    small = [note for note in (size_note(target, self.roc.nonmated) for target in TARGETS.values()) if note]
    return "\n".join(["thresholds: the same person if cosine ≥, or L2² of unit embeddings ≤", *lines, *small])

  def summary(self) -> str:
    """One line for a terminal."""
    rates = ", ".join(f"TAR@FAR {name} {100 * tar:.2f} %" for name, tar in self.tar_at_far.items())
    low, high = (100 * end for end in self.intervals.accuracy)
    return (
      f"accuracy {100 * self.accuracy:.2f} % ± {100 * self.accuracy_se:.2f} (95 %: {low:.2f} to {high:.2f}), AUC {self.auc:.4f}, "
      f"EER {100 * self.eer:.2f} %, {rates}, threshold cosine {self.threshold_cosine:.4f} "
      f"(L2² {self.threshold_l2_squared:.4f}), {len(self.pairs)} pairs"
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
) -> Verification:
  """Scores pairs by cosine and evaluates them by folds.

  Every pair is computed separately in float64, so the figures do not depend on the order of the embeddings, on
  batch sizes or on chunking.

  Args:
    embedding_nd: [N, D] float, not necessarily normalised.
    names: N names, as used in the pairs.
    pairs: pairs with folds.
    train: pairs on which the threshold for all folds is chosen (LFW view 1: the development training list);
      by default the threshold of a fold is chosen on the other folds.
  Returns:
    `Verification`.
  Raises:
    ValueError: a pair refers to a missing name, or to an embedding with a duplicate name, zero or not finite.
  """
  pairs, score_p = score_pairs(embedding_nd, names, pairs)
  other = None
  if train is not None:
    train, train_score_p = score_pairs(embedding_nd, names, train)
    other = (train_score_p, train.same)
  folds = fold_accuracy(score_p, pairs.same, pairs.fold, train=other)
  notes = (*list_notes(pairs), *threshold_notes(pairs, folds.threshold_from, train))
  result = Verification(pairs, score_p, folds, notes)
  result.roc  # noqa: B018 - raise here for a list of only mated pairs, not in the middle of a report
  return result


def score_pairs(embedding_nd: np.ndarray, names: Sequence[str], pairs: Pairs) -> tuple[Pairs, np.ndarray]:
  """The pairs with the names of the embeddings, and the cosine of each.

  Args:
    embedding_nd: [N, D] float, not necessarily normalised.
    names: N names.
    pairs: the pairs; a name may have a suffix that the embeddings' names lack, see `matched`.
  Returns:
    (pairs, [P] float64).
  Raises:
    ValueError: as `verify_pairs`.
  """
  row_of = _rows(embedding_nd, names)
  pairs = matched(pairs, names)
  return pairs, _score(embedding_nd, names, row_of, pairs)


def cosine_of_pairs(embedding_nd: np.ndarray, left_p: np.ndarray, right_p: np.ndarray) -> np.ndarray:
  """Cosine of pairs of rows.

  Args:
    embedding_nd: [N, D] float.
    left_p: [P] int, rows.
    right_p: [P] int, rows.
  Returns:
    [P] float64 in [-1, 1], NaN if a row is zero or not finite.
  """
  cosine_p = np.empty(len(left_p))
  for start in range(0, len(left_p), CHUNK):
    here = slice(start, start + CHUNK)
    left_pd = np.asarray(embedding_nd[left_p[here]], np.float64)
    right_pd = np.asarray(embedding_nd[right_p[here]], np.float64)
    # A sum along the last axis adds every row in the same order for any number of rows; a matrix product
    # does not.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
      square_p = (left_pd * left_pd).sum(1) * (right_pd * right_pd).sum(1)
      cosine_p[here] = np.clip((left_pd * right_pd).sum(1) / np.sqrt(square_p), -1.0, 1.0)
  return cosine_p


def _rows(embedding_nd: np.ndarray, names: Sequence[str]) -> dict[str, int]:
  if embedding_nd.ndim != 2 or len(embedding_nd) != len(names):
    raise ValueError(
      f"embeddings {embedding_nd.shape} with {len(names)} names: they must be [N, D] with N names"
    )
  return {name: row for row, name in enumerate(names)}


def _score(
  embedding_nd: np.ndarray, names: Sequence[str], row_of: dict[str, int], pairs: Pairs
) -> np.ndarray:
  absent = [
    pair for pair in range(len(pairs)) if pairs.left[pair] not in row_of or pairs.right[pair] not in row_of
  ]
  if absent:
    first = pairs.left[absent[0]] if pairs.left[absent[0]] not in row_of else pairs.right[absent[0]]
    have = ", ".join(repr(name) for name in list(names)[:3]) or "none at all"
    raise ValueError(
      f"{pairs.where(absent[0])}: no embedding is named {first!r} ({len(absent)} of {len(pairs)} pairs "
      f"lack one). The {len(names)} embeddings are named like {have}"
    )
  check_unique(names, {*pairs.left, *pairs.right})
  left_p = np.array([row_of[name] for name in pairs.left], np.int64)
  right_p = np.array([row_of[name] for name in pairs.right], np.int64)
  score_p = cosine_of_pairs(embedding_nd, left_p, right_p)
  for pair in np.flatnonzero(~np.isfinite(score_p))[:1]:
    row = next((row for row in (left_p[pair], right_p[pair]) if not _sound(embedding_nd[row])), left_p[pair])
    raise ValueError(
      f"embedding {row} ({names[row]!r}) is zero or not finite: its direction is undefined"
    )
  return score_p


def _sound(embedding_d: np.ndarray) -> bool:
  return bool(np.isfinite(embedding_d).all() and embedding_d.any())


__all__ = ["TARGETS", "Verification", "cosine_of_pairs", "l2_squared", "score_pairs", "verify_pairs"]
