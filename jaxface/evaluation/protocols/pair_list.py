"""A protocol that is one pair list: its counts, its official digest, and its figures."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.measures.folds import fold_accuracy
from jaxface.evaluation.pairs.list_figures import Evaluation, evaluate_pairs
from jaxface.evaluation.pairs.pair_names import images_of, list_notes, threshold_notes
from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import Protocol, check_counts, find_file
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs, read_pairs


@dataclass(frozen=True)
class PairProtocol(Protocol):
  """Pairs of images with folds.

  Attributes:
    pairs: the list.
    train: pairs that set the threshold; None uses the other folds.
  """

  pairs: Pairs
  train: Pairs | None = None

  @property
  def images(self) -> tuple[str, ...]:
    return images_of(self.pairs, *([] if self.train is None else [self.train]))

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False, **options: Any) -> Evaluation:
    """Verification figures.

    Args:
      embeddings: named embeddings.
      skip_missing: see `Protocol.evaluate`.
      **options: `normalise`, `save_fit`, `threshold_from` and `score` of `evaluate_pairs`.
    Returns:
      `Evaluation`.
    """
    if self.train is not None and options.get("threshold_from") is None:
      options["threshold_from"] = self.train
    found = evaluate_pairs(embeddings, self.pairs, skip_missing=skip_missing, **options)
    return with_protocol(found, self)


def of_scores(pairs: Pairs, score_p: np.ndarray, score_name: str = COSINE) -> Evaluation:
  """The figures of scores that are not the cosine of two embeddings, such as those of sets of images.

  Raises:
    ValueError: no mated or no non-mated pairs.
  """
  folds = fold_accuracy(score_p, pairs.same, pairs.fold)
  notes = (*list_notes(pairs), *threshold_notes(pairs, folds.threshold_from))
  found = Verification(pairs, score_p, folds, notes, score_name)
  return Evaluation(pairs, score_p, found, found.to_json(), notes)


def with_protocol(found: Evaluation, protocol: Protocol, notes: Sequence[str] = (), **more: Any) -> Evaluation:
  """The figures with the protocol's name, counts and notes, with further `notes`, and `more`."""
  all_notes = (*protocol.notes, *notes, *found.notes)
  about = {"protocol": protocol.name, "counts": dict(protocol.counts), **more}
  return replace(found, figures={**about, **found.figures, "notes": list(all_notes)}, notes=all_notes)


def read_any_pairs(lists: str | Path) -> PairProtocol:
  """A pair list of any form, without official counts; in a folder, `pairs.tsv` or `pairs.txt`."""
  pairs = read_pairs(lists if Path(lists).is_file() else find_file(lists, ("pairs.tsv", "pairs.txt"), "pair list"))
  return PairProtocol("pairs", pair_counts(pairs), (), pairs)


def pair_counts(pairs: Pairs, person: Callable[[str], str] | None = None) -> dict[str, int]:
  """Numbers of pairs, of each kind, folds, images, and people if `person` gives the person of an image."""
  images = set(pairs.left) | set(pairs.right)
  mated = int(pairs.same.sum())
  counts = {
    "pairs": len(pairs), "mated": mated, "nonmated": len(pairs) - mated, "folds": len(np.unique(pairs.fold)), "images": len(images),
  }
  return counts if person is None else {**counts, "people": len({person(name) for name in images})}


def check_pairs(
  pairs: Pairs, official: Mapping[str, int], *, person: Callable[[str], str], digest: str = "",
) -> tuple[dict[str, int], list[str]]:
  """Counts a list and compares it with the official one.

  Args:
    pairs: the list.
    official: official counts, see `pair_counts`.
    person: gives the person of an image by its name.
    digest: `pairs_digest` of the official list, if known.
  Returns:
    (counts, notes).
  Raises:
    DamagedData: other counts than those of a subset, or a pair whose label contradicts the names.
  """
  counts = pair_counts(pairs, person)
  notes = check_counts(pairs.file or "the list", counts, official)
  check_people(pairs, person)
  notes += fold_notes(pairs, person)
  if digest and not notes and pairs_digest(pairs) != digest:
    notes.append(f"{pairs.file or 'the list'}: has the official numbers of pairs and images, but not the official pairs.")
  return counts, notes


def check_people(pairs: Pairs, person: Callable[[str], str]) -> None:
  """Rejects a mated pair of two people and a non-mated pair of one.

  Raises:
    DamagedData: names the first one.
  """
  for pair, (left, right) in enumerate(zip(pairs.left, pairs.right)):
    if (person(left) == person(right)) != pairs.same[pair]:
      label = "the same person" if pairs.same[pair] else "different people"
      raise DamagedData(f"{pairs.where(pair)}: {left!r} and {right!r} are listed as {label}, their names say otherwise")


def fold_notes(pairs: Pairs, person: Callable[[str], str]) -> list[str]:
  """A line if people stand in several folds: the threshold of a fold is then chosen on its own people too."""
  folds: dict[str, set[int]] = {}
  for left, right, fold in zip(pairs.left, pairs.right, pairs.fold.tolist()):
    folds.setdefault(person(left), set()).add(fold)
    folds.setdefault(person(right), set()).add(fold)
  shared = [name for name, where in folds.items() if len(where) > 1]
  if not shared:
    return []
  return [f"{len(shared):,} of {len(folds):,} people are in several folds (first: {shared[0]!r}): folds are not independent."]


def pairs_digest(pairs: Pairs) -> str:
  """First 16 hex digits of the SHA-256 of the pairs: names, label and fold, in order."""
  text = "".join(
    f"{left}\t{right}\t{int(same)}\t{int(fold)}\n"
    for left, right, same, fold in zip(pairs.left, pairs.right, pairs.same, pairs.fold)
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_of(name: str) -> str:
  """The person of an image in a folder per person: the first folder of its path."""
  return name.split("/", 1)[0]


__all__ = [
  "PairProtocol", "check_pairs", "check_people", "fold_notes", "folder_of", "of_scores", "pair_counts", "pairs_digest",
  "read_any_pairs", "with_protocol",
]
