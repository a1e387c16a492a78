"""Pairs meet embeddings: names that differ in how a path is written, and what a reader of the figures should know of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from jaxface.formats.images import IMAGE_SUFFIXES
from jaxface.formats.pairs import Pairs


def matched(pairs: Pairs, names: Sequence[str]) -> Pairs:
  """The pairs under the names that embeddings have.

  A name that no embedding has is looked for once more as a path: without "./" before it and an image's suffix behind it, so
  that a list of files ("Ann/1.jpg") finds records ("Ann/1") and the other way round.

  Args:
    pairs: as a list writes them.
    names: of the embeddings.
  Returns:
    The pairs; names that are not found, or that several embeddings could have, stay as they are.
  """
  known = set(names)
  if known.issuperset(pairs.left) and known.issuperset(pairs.right):
    return pairs
  by_path: dict[str, str] = {}
  twice = set()
  for name in known:
    path = _path(name)
    if path in by_path:
      twice.add(path)
    by_path[path] = name

  def find(name: str) -> str:
    path = _path(name)
    return name if name in known or path in twice else by_path.get(path, name)

  return replace(pairs, left=[find(name) for name in pairs.left], right=[find(name) for name in pairs.right])


def _path(name: str) -> str:
  path = PurePosixPath(name.replace("\\", "/"))
  return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)


def without_missing(pairs: Pairs, names: Sequence[str]) -> tuple[Pairs, list[str]]:
  """The pairs both of whose images have an embedding.

  Args:
    pairs: under the names of the embeddings, see `matched`.
    names: of the embeddings.
  Returns:
    (the pairs, a line on those that are left out, or none).
  """
  known = set(names)
  there = np.array([left in known and right in known for left, right in zip(pairs.left, pairs.right)], bool)
  if there.all():
    return pairs, []
  kept, gone = np.flatnonzero(there), np.flatnonzero(~there)
  first = pairs.left[gone[0]] if pairs.left[gone[0]] not in known else pairs.right[gone[0]]
  note = (
    f"{len(gone):,} of {len(pairs):,} pairs are left out: an image has no embedding (first: {pairs.where(int(gone[0]))}, "
    f"{first!r}). The figures are of the others."
  )
  left, right = ([side[pair] for pair in kept] for side in (pairs.left, pairs.right))
  line = None if pairs.line is None else pairs.line[kept]
  return Pairs(left, right, pairs.same[kept], pairs.fold[kept], pairs.file, line), [note]


def list_notes(pairs: Pairs) -> list[str]:
  """What is odd about a list: pairs of an image with itself, pairs that occur more than once, pairs said to be both.

  Args:
    pairs: the list, under the names of the embeddings.
  Returns:
    A line for each kind that occurs, with its count and the first place.
  """
  itself = [pair for pair in range(len(pairs)) if pairs.left[pair] == pairs.right[pair]]
  first: dict[tuple[str, ...], int] = {}
  again: list[tuple[int, int]] = []
  torn: list[tuple[int, int]] = []
  for pair, names in enumerate(zip(pairs.left, pairs.right)):
    key = tuple(sorted(names))
    before = first.setdefault(key, pair)
    if before != pair:
      (again if pairs.same[before] == pairs.same[pair] else torn).append((pair, before))
  notes = []
  if itself:
    notes.append(
      f"{_pairs(len(itself), 'compares', 'compare')} an image with itself (first: {pairs.where(itself[0])}): the cosine is 1 "
      "whatever the network."
    )
  for found, what in (
    (again, "that the list has already: each counts again"),
    (torn, "that the list has already with the other answer: one of both is wrong"),
  ):
    if found:
      pair, before = found[0]
      notes.append(f"{_pairs(len(found), 'is one', 'are some')} {what} (first: {pairs.where(pair)}, as {pairs.where(before)}).")
  return notes


def threshold_notes(pairs: Pairs, threshold_from: str, train: Pairs | None = None) -> list[str]:
  """Whether pairs are judged at a threshold that was chosen on the very same pairs.

  Args:
    pairs: that are judged.
    threshold_from: of `Folds`.
    train: the other list, where the threshold is from one.
  Returns:
    A line, or none.
  """
  if train is not None:
    chosen = {tuple(sorted(names)) for names in zip(train.left, train.right)}
    both = sum(tuple(sorted(names)) in chosen for names in zip(pairs.left, pairs.right))
    if not both:
      return []
    return [f"{both:,} of {len(pairs):,} pairs are among those that the threshold was chosen on: the accuracy flatters."]
  if threshold_from != "the same pairs":
    return []
  return [
    "the list has one fold: the threshold was chosen on the very pairs that it judges, so the accuracy flatters. Give the list "
    "folds, or choose the threshold on another one (jaxface evaluate --threshold-from FILE)."
  ]


def scores_of_one_kind(pairs: Pairs, score_p: np.ndarray) -> dict:
  """What can be said of a list without mated or without non-mated pairs: its scores.

  Args:
    pairs: the list.
    score_p: [P] float64, cosine of each.
  Returns:
    Plain JSON values: counts, the least, mean and greatest cosine, and each pair with its own.
  """
  return {
    "pairs": len(pairs),
    "mated": int(pairs.same.sum()),
    "nonmated": int((~pairs.same).sum()),
    "cosine_min": float(score_p.min()),
    "cosine_mean": float(score_p.mean()),
    "cosine_max": float(score_p.max()),
    "scores": [
      {"left": left, "right": right, "same": bool(same), "cosine": float(score)}
      for left, right, same, score in zip(pairs.left, pairs.right, pairs.same, score_p)
    ],
  }


def _pairs(count: int, one: str, many: str) -> str:
  return f"1 pair {one}" if count == 1 else f"{count:,} pairs {many}"


__all__ = ["list_notes", "matched", "scores_of_one_kind", "threshold_notes", "without_missing"]
