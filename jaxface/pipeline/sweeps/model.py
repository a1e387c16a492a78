"""The levels of one model: images changed, embedded and scored, or embeddings made shorter; finished levels are read."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.data.degrade import DegradedSource
from jaxface.data.fingerprint import digest
from jaxface.data.source import Source, UnreadableRow
from jaxface.evaluation.measures.folds import Folds, fold_accuracy
from jaxface.evaluation.pairs.pair_names import list_notes, threshold_notes
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.evaluation.sweeps.sizes import verify_components, verify_truncated
from jaxface.evaluation.sweeps.table import SweepRow
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs
from jaxface.inference.model import Model
from jaxface.pipeline.sweeps.axes import AXES
from jaxface.pipeline.sweeps.store import PLAIN, Level, Store, level_name

DEGRADE = ("both", "one")


@dataclass(frozen=True, eq=False)
class ModelSweep:
  """The levels of one model.

  Attributes:
    model: the model.
    source: the images of the pairs.
    pairs: the list, with the names of the images.
    train: pairs that set the threshold; None for the other folds.
    store: finished levels.
    degrade: "both" images of a pair, or "one", the left.
    fit: embeddings to fit principal components on; None fits by folds.
    settings: `mirror`, `batch_size`, `devices` of `Model.embed_named`.
    seed: of noise and places.
    progress: draw progress bars.
  """

  model: Model
  source: Source
  pairs: Pairs
  train: Pairs | None
  store: Store
  degrade: str = "both"
  fit: Embeddings | None = None
  settings: Mapping[str, Any] = field(default_factory=dict)
  seed: int = 0
  progress: bool = False

  @cached_property
  def plain(self) -> SweepRow:
    """The figures of the unchanged images."""

    def compute() -> Verification:
      found = self.embeddings
      return verify_pairs(found.embedding_nd, found.names, self.pairs, train=self.train)

    return SweepRow(None, *self._level(PLAIN, {}, compute))

  def rows(self, axis: str, levels: Sequence[float]) -> tuple[SweepRow, ...]:
    """The figures at the levels of an axis.

    Args:
      axis: one of `AXES`.
      levels: its levels.
    """
    if AXES[axis].of_images:
      return tuple(self._degraded(axis, level) for level in levels)
    return tuple(self._shorter(axis, int(level)) for level in levels)

  @cached_property
  def embeddings(self) -> Embeddings:
    """Those of the unchanged images, from the folder if they are there."""
    found = self.store.load_embeddings()
    if found is None:
      found = self._embed(self.source, "unchanged")
      self.store.save_embeddings(found)
    return found

  def _degraded(self, axis: str, level: float) -> SweepRow:
    facts = {"axis": axis, "level": level, "degrade": self.degrade, "seed": self.seed}

    def compute() -> Verification:
      names = self.source.names()
      left = set(self.pairs.left) | set(self.train.left if self.train else ())
      record_n = np.array([record for record, name in enumerate(names) if self.degrade == "both" or name in left], np.int64)
      found = self._embed(DegradedSource(self.source, record_n, axis, level, self.seed), f"{axis} {level:g}")
      if self.degrade == "both":
        return verify_pairs(found.embedding_nd, found.names, self.pairs, train=self.train)
      return _verify_sides(found, self.embeddings, self.pairs, self.train)

    return SweepRow(level, *self._level(level_name(axis, level), facts, compute))

  def _shorter(self, axis: str, size: int) -> SweepRow:
    facts: dict[str, Any] = {"axis": axis, "level": float(size)}
    if axis == "pca":
      facts["fit"] = "other folds" if self.fit is None else digest([*self.fit.names, self.fit.embedding_nd])

    def compute() -> Verification:
      if axis == "size":
        return verify_truncated(self.embeddings, self.pairs, size, train=self.train)
      return verify_components(self.embeddings, self.pairs, [size], fit=self.fit, train=self.train)[size]

    return SweepRow(float(size), *self._level(level_name(axis, size), facts, compute))

  def _level(self, name: str, facts: Mapping[str, Any], compute: Callable[[], Verification]) -> tuple[Verification, str, float]:
    kept = self.store.load(name, facts)
    if kept is not None:
      return self._of(kept), "", kept.seconds
    start = time.perf_counter()
    found = compute()
    kept = Level(found.score_p, found.folds.threshold, found.folds.threshold_from, round(time.perf_counter() - start, 3))
    self.store.save(name, facts, kept)
    return self._of(kept), "", kept.seconds

  def _of(self, level: Level) -> Verification:
    """The figures of a level, computed alike for one that was read and for one that was just made."""
    pairs, score_p = self.pairs, level.score_p
    number, row_p, count = np.unique(pairs.fold, return_inverse=True, return_counts=True)
    correct_p = (score_p >= level.threshold_f[row_p]) == pairs.same
    accuracy = np.array([np.mean(correct_p[row_p == row]) for row in range(len(number))])
    notes = (*list_notes(pairs), *threshold_notes(pairs, level.threshold_from, self.train))
    return Verification(pairs, score_p, Folds(number, count, accuracy, level.threshold_f, level.threshold_from), notes)

  def _embed(self, source: Source, what: str) -> Embeddings:
    with tqdm(total=source.num_records, unit="img", desc=what, disable=not self.progress) as bar:
      return self.model.embed_named(_Counted(source, bar), **self.settings)


class _Counted:
  """A source that moves a progress bar."""

  def __init__(self, source: Source, bar: Any):
    self._source, self._bar = source, bar
    self.num_records, self.num_identities, self.label_n = source.num_records, source.num_identities, source.label_n
    self.image_shape, self.template = source.image_shape, source.template

  def names(self) -> list[str]:
    return self._source.names()

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    errors = self._source.read(record_n, out)
    self._bar.update(min(len(record_n), self._bar.total - self._bar.n))
    return errors


def _verify_sides(left: Embeddings, right: Embeddings, pairs: Pairs, train: Pairs | None) -> Verification:
  """Figures of pairs whose left images have other embeddings than the right ones."""
  row_of = [{name: row for row, name in enumerate(one.names)} for one in (left, right)]
  both_nd = np.concatenate([left.embedding_nd, right.embedding_nd])

  def scores(one: Pairs) -> np.ndarray:
    left_p = np.array([row_of[0][name] for name in one.left], np.int64)
    right_p = np.array([row_of[1][name] + len(left.names) for name in one.right], np.int64)
    score_p = cosine_of_pairs(both_nd, left_p, right_p)
    for pair in np.flatnonzero(~np.isfinite(score_p))[:1]:
      raise ValueError(f"{one.where(pair)}: the embedding of {one.left[pair]!r} or {one.right[pair]!r} is zero or not finite")
    return score_p

  score_p = scores(pairs)
  basis = None if train is None else (scores(train), train.same)
  return Verification(pairs, score_p, fold_accuracy(score_p, pairs.same, pairs.fold, train=basis))


__all__ = ["DEGRADE", "ModelSweep"]
