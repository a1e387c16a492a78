"""Figures of one group of pairs: at thresholds shared by all pairs, and at its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.figure_intervals import FigureIntervals
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.intervals.rates import rate_interval, size_note
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.measures.folds import Folds, fold_accuracy
from jaxface.evaluation.slices.differences import Change, drawn_changes, rate_change, take_units


@dataclass(frozen=True, eq=False)
class Scored:
  """The scores of some pairs of a list.

  Attributes:
    score_p: [P] float64.
    same_p: [P] bool.
    fold_p: [P] int.
    units: identities, with the numbers of the whole list.
  """

  score_p: np.ndarray
  same_p: np.ndarray
  fold_p: np.ndarray
  units: Units

  def take(self, kind_p: np.ndarray) -> "Scored":
    """Some of the pairs."""
    return Scored(self.score_p[kind_p], self.same_p[kind_p], self.fold_p[kind_p], take_units(self.units, kind_p))

  @property
  def mated(self) -> int:
    return int(self.same_p.sum())

  @property
  def nonmated(self) -> int:
    return len(self.same_p) - self.mated

  @cached_property
  def folds(self) -> Folds:
    return fold_accuracy(self.score_p, self.same_p, self.fold_p)

  @cached_property
  def roc(self) -> measures.Roc:
    return measures.roc(self.score_p, self.same_p)

  @cached_property
  def own(self) -> dict[str, float]:
    """AUC and EER, which choose their own threshold."""
    return {"auc": measures.auc(self.roc), "eer": measures.eer(self.roc).far}

  @cached_property
  def tar(self) -> dict[str, float]:
    return {name: measures.tar_at_far(self.roc, target).tar for name, target in self.near.targets.items()}

  @cached_property
  def near(self) -> FigureIntervals:
    from jaxface.evaluation.pairs.verification import TARGETS

    return FigureIntervals(self.score_p, self.same_p, self.fold_p, self.folds, self.units, TARGETS)


def shared_rates(pairs: Scored, threshold: float) -> dict[str, Any]:
  """FMR and FNMR at a threshold with their intervals; None without pairs of the kind."""
  plain: dict[str, Any] = {}
  for name, kind_p, errors_p in _kinds(pairs, threshold):
    some = bool(kind_p.any())
    plain[name] = float(errors_p[kind_p].mean()) if some else None
    plain[f"{name}_95"] = list(rate_interval(errors_p[kind_p], take_units(pairs.units, kind_p))) if some else None
  return plain


def shared_changes(pairs: Scored, group_p: np.ndarray, threshold: float) -> dict[str, Any]:
  """Differences of FMR and FNMR of a group to the other pairs; None where one of the two has no pairs of the kind."""
  plain: dict[str, Any] = {}
  for name, kind_p, errors_p in _kinds(pairs, threshold):
    part_p = group_p[kind_p]
    change = rate_change(errors_p[kind_p], part_p, take_units(pairs.units, kind_p)) if part_p.any() and not part_p.all() else None
    _put(plain, name, change)
  return plain


def own_figures(pairs: Scored) -> dict[str, Any]:
  """Accuracy, AUC, EER and TAR at FAR with thresholds chosen on these pairs, which are of both kinds."""
  plain: dict[str, Any] = {}
  for name, value in {"accuracy": pairs.folds.mean, **pairs.own}.items():
    plain[name], plain[f"{name}_95"] = value, list(getattr(pairs.near, name))
  plain["tar_at_far"] = pairs.tar
  plain["tar_at_far_95"] = {name: list(ends) for name, ends in pairs.near.tar_at_far.items()}
  plain["threshold_cosine"] = float(pairs.folds.threshold.mean())
  return plain


def own_changes(group: Scored, rest: Scored) -> dict[str, Any]:
  """Differences of AUC and EER, each with its own thresholds; None where one of the two lacks a kind of pairs."""
  plain: dict[str, Any] = {}
  if not all((group.mated, group.nonmated, rest.mated, rest.nonmated)):
    for name in ("auc", "eer"):
      _put(plain, name, None)
    return plain
  for name, change in drawn_changes((group.own, rest.own), (group.near.drawn, rest.near.drawn)).items():
    _put(plain, name, change)
  return plain


def size_notes(name: str, pairs: Scored, targets: Mapping[str, float]) -> list[str]:
  """Lines on a group that is too small: without a kind of pairs, or by the rules of 3 and of 30."""
  if not (pairs.mated and pairs.nonmated):
    return [f"{name}: {pairs.mated:,} mated and {pairs.nonmated:,} non-mated pairs: figures with a threshold of its own need both kinds."]
  notes = [f"{name}: {note}" for note in (size_note(target, pairs.nonmated) for target in targets.values()) if note]
  people = len(np.unique(np.concatenate([pairs.units.left_p, pairs.units.right_p])))
  if people < 30:
    notes.append(f"{name}: {people:,} identities: intervals over so few are themselves uncertain.")
  return notes


def _kinds(pairs: Scored, threshold: float) -> list[tuple[str, np.ndarray, np.ndarray]]:
  accepted_p = pairs.score_p >= threshold
  return [("fmr", ~pairs.same_p, accepted_p), ("fnmr", pairs.same_p, ~accepted_p)]


def _put(plain: dict[str, Any], name: str, change: Change | None) -> None:
  plain[name], plain[f"{name}_95"] = (None, None) if change is None else (change.value, [change.low, change.high])


__all__ = ["Scored", "own_changes", "own_figures", "shared_changes", "shared_rates", "size_notes"]
