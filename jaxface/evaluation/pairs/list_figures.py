"""Verification figures from a file of embeddings and a pair list, in one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.measures.folds import best_threshold
from jaxface.evaluation.pairs.normalisation import LargestFeatures
from jaxface.evaluation.pairs.pair_names import list_notes, matched, scores_of_one_kind, without_missing
from jaxface.evaluation.pairs.pair_score import COSINE, PairScore, score_pairs
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs, read_pairs

SHOWN = 10


@dataclass(frozen=True)
class Evaluation:
  """Result of embeddings on a pair list; `print` shows the figures, or the scores if there are no figures.

  Attributes:
    pairs: the list, under the names of the embeddings.
    score_p: [P] float64, cosine of each pair, or another score.
    verification: the figures; None for a list without mated or without non-mated pairs, which has scores only.
    figures: everything as plain JSON values.
    notes: caveats of the figures, a line each.
    meta: how the embeddings were made, and `title` if the evaluation has one; plain JSON values.
  """

  pairs: Pairs
  score_p: np.ndarray
  verification: Verification | None
  figures: Mapping[str, Any]
  notes: tuple[str, ...]
  meta: Mapping[str, Any] = field(default_factory=dict)

  def __str__(self) -> str:
    if self.verification:
      return f"{self.verification.summary()}\n{self.verification.threshold_table()}{_at_shipped(self.figures)}"
    pairs, score_p, name = self.pairs, self.score_p, str(self.figures.get("score", COSINE))
    lines = [f"{name}  pair"]
    lines += [f"{score:.4f}  {left}  {right}" for score, left, right in zip(score_p[:SHOWN], pairs.left, pairs.right)]
    if "accepted" in self.figures:
      threshold = self.figures["threshold_cosine" if name == COSINE else "threshold"]
      lines.append(
        f"{self.figures['accepted']:,} of {len(pairs):,} accepted at the threshold {threshold:.4f} of the other list"
      )
    if len(pairs) > SHOWN:
      lines.append(f"… and {len(pairs) - SHOWN:,} more, in the JSON; {name} {score_p.min():.4f} to {score_p.max():.4f}")
    return "\n".join(lines)


def evaluate_pairs(
  embeddings: Embeddings | str | Path, pairs: Pairs | str | Path, *,
  normalise: LargestFeatures | str | Path | None = None, save_fit: str | Path | None = None,
  threshold_from: Pairs | str | Path | None = None, score: PairScore | None = None, skip_missing: bool = False,
  out: str | Path | None = None,
) -> Evaluation:
  """Verification figures of embeddings, made here or elsewhere, on a pair list.

  `verify` computes the figures only, also from arrays. This function reads files, and accepts lists that `verify` rejects:
  with missing images, or with pairs of one kind.

  Args:
    embeddings: an `Embeddings`, or a file of them (.npz, .parquet).
    pairs: a `Pairs`, or the file of a pair list.
    normalise: divides each feature by its maximum over a training set: a `LargestFeatures`, a file of one (.json), or
      embeddings of that set (.npz, .parquet) to fit it on.
    save_fit: file to write that fit to.
    threshold_from: another list, which sets the threshold; None uses the other folds, or, for a list without folds, its own
      pairs, which is optimistic.
    score: what scores the pairs, such as a `jaxface.verifiers.Verifier`; None is the cosine.
    skip_missing: ignore pairs of images without an embedding, of both lists, with a note; otherwise they raise an error.
    out: JSON file for every figure.
  Returns:
    `Evaluation`.
  Raises:
    ValueError: a pair has no embedding, or no pair is left; embeddings of length one where `normalise`
      needs the network's own numbers; `save_fit` without `normalise`; `score` with `normalise`, or of another model.
    DamagedData: a file that cannot be read.
  """
  if score is not None and normalise is not None:
    raise ValueError(f"normalise changes the embeddings that {score.name} was fitted on: give one of both")
  if save_fit and normalise is None:
    raise ValueError("save_fit needs normalise, the embeddings to fit on")
  pairs = pairs if isinstance(pairs, Pairs) else read_pairs(pairs)
  where = "these embeddings" if isinstance(embeddings, Embeddings) else str(embeddings)
  embeddings = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  embedding_nd = embeddings.embedding_nd
  if score is not None:
    score.check_meta(embeddings.meta, where)
  if normalise is not None:
    fit = normalise if isinstance(normalise, LargestFeatures) else _fitted(Path(normalise))
    embedding_nd = fit.apply(_network_numbers(where, embeddings))
    if save_fit:
      fit.save(save_fit)
  train = threshold_from if isinstance(threshold_from, Pairs | None) else read_pairs(threshold_from)
  notes: list[str] = []
  if skip_missing:
    pairs, notes = _present(pairs, embeddings.names)
    if train is not None:
      train, more = _present(train, embeddings.names)
      notes += [f"the list that sets the threshold: {line}" for line in more]
  notes += _unreadable(embeddings)
  found = _judged(embedding_nd, embeddings.names, pairs, train, score)
  notes += found.notes
  found = Evaluation(
    found.pairs, found.score_p, found.verification, {**found.figures, "notes": notes}, tuple(notes), embeddings.meta
  )
  if out:
    write_json(out, found.figures)
  return found


def _at_shipped(figures: Mapping[str, Any]) -> str:
  """A line on the figures at the threshold of the model's folder, if there are any."""
  if not (shipped := figures.get("shipped_threshold")):
    return ""
  low, high = (100 * end for end in shipped["accuracy_interval"])
  return (
    f"\nat the model's threshold {shipped['threshold_cosine']:.4f}: accuracy {100 * shipped['accuracy']:.2f} % (95 %: {low:.2f} to"
    f" {high:.2f}), FAR {100 * shipped['far']:.3g} %, TAR {100 * shipped['tar']:.2f} %"
  )


def _present(pairs: Pairs, names: list[str]) -> tuple[Pairs, list[str]]:
  """The pairs of a list whose images have embeddings, and a note on the others.

  Raises:
    ValueError: there are none.
  """
  pairs, notes = without_missing(matched(pairs, names), names)
  if not len(pairs):
    raise ValueError(f"{pairs.file or 'the list'}: no pair is left. {notes[0]}")
  return pairs, notes


def _judged(embedding_nd: np.ndarray, names: list[str], pairs: Pairs, train: Pairs | None, score: PairScore | None) -> Evaluation:
  """The figures of a list; only the scores if it has no mated or no non-mated pairs."""
  if pairs.same.any() and not pairs.same.all():
    result = verify_pairs(embedding_nd, names, pairs, train=train, score=score)
    return Evaluation(result.pairs, result.score_p, result, result.to_json(), result.notes)
  pairs, score_p = score_pairs(embedding_nd, names, pairs, score)
  key = COSINE if score is None else "score"
  figures = scores_of_one_kind(pairs, score_p, key) | ({} if score is None else {"score": score.name})
  missing = "non-mated" if pairs.same.any() else "mated"
  note = f"the list has no {missing} pair: accuracy, rates and thresholds need pairs of both kinds, only scores are given."
  if train is not None:
    train, train_score_p = score_pairs(embedding_nd, names, train, score)
    threshold = best_threshold(train_score_p, train.same)
    figures |= {
      "threshold_cosine" if score is None else "threshold": threshold, "threshold_from": "train pairs", "accepted": int((score_p >= threshold).sum()),
    }
  return Evaluation(pairs, score_p, None, figures, (*list_notes(pairs), note))


def _unreadable(embeddings: Embeddings) -> list[str]:
  """A line on images that could not be read when the embeddings were made, or none."""
  lost = embeddings.meta.get("unreadable", [])
  return [f"{len(lost):,} images could not be read when the embeddings were made (first: {lost[0]})."] if lost else []


def _fitted(path: Path) -> LargestFeatures:
  """The fit in a `.json` file, or fitted on the embeddings of another file."""
  if path.suffix == ".json":
    return LargestFeatures.load(path)
  return LargestFeatures.fit(_network_numbers(str(path), read_embeddings(path)))


def _network_numbers(where: str, embeddings: Embeddings) -> np.ndarray:
  """The embeddings [N, D], unless their metadata records that they were scaled to length one.

  Raises:
    ValueError: they were: without the lengths, features of different faces cannot be compared.
  """
  if not embeddings.meta.get("raw", True):
    raise ValueError(f"{where}: its embeddings were scaled to length one; --normalise needs the output of `jaxface embed --raw`")
  return embeddings.embedding_nd


__all__ = ["Evaluation", "evaluate_pairs"]
