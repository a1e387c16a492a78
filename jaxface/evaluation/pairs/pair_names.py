"""Matches the names of pairs and embeddings, and reports peculiarities of a pair list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from jaxface.formats.images import IMAGE_SUFFIXES
from jaxface.formats.pairs import Pairs


def matched(pairs: Pairs, names: Sequence[str]) -> Pairs:
  """The pairs, with their names replaced by those of the embeddings.

  A name without an embedding is looked up again as a path, without a leading "./" and an image suffix, so that a list of files
  ("Ann/1.jpg") matches records ("Ann/1") and vice versa.

  Args:
    pairs: pairs with the names of the list.
    names: names of the embeddings.
  Returns:
    The pairs; names that are not found, or are ambiguous, are unchanged.
  """
  known = set(names)
  if known.issuperset(pairs.left) and known.issuperset(pairs.right):
    return pairs
  find = finder(names)
  return replace(pairs, left=[find(name) for name in pairs.left], right=[find(name) for name in pairs.right])


def finder(names: Collection[str]) -> Callable[[str], str]:
  """A function from the name in a list to the name of its embedding, see `matched`."""
  known = set(names)
  by_path: dict[str, str] = {}
  twice = set()
  for name in known:
    path = _path(name)
    if path in by_path:
      twice.add(path)
    by_path[path] = name

  def find(name: str) -> str:
    if name in known:
      return name
    path = _path(name)
    return name if path in twice else by_path.get(path, name)

  return find


def _path(name: str) -> str:
  path = PurePosixPath(name.replace("\\", "/"))
  return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)


def images_of(*lists: Pairs) -> tuple[str, ...]:
  """Names in pair lists, each once, in order of first use."""
  return tuple(dict.fromkeys(name for pairs in lists for both in zip(pairs.left, pairs.right) for name in both))


def check_unique(names: Sequence[str], used: Collection[str], refers: str = "pairs refer") -> None:
  """Rejects embeddings of one name; names that nothing refers to may occur again.

  Args:
    names: names of the embeddings.
    used: names that are referred to.
    refers: what refers to them, for the message.
  Raises:
    ValueError: names the first one.
  """
  if len(set(names)) == len(names):
    return
  used = set(used)
  seen: dict[str, int] = {}
  for row, name in enumerate(names):
    if name in seen and name in used:
      raise ValueError(
        f"two embeddings are named {name!r}, which {refers} to: names must be unique. They are the rows {seen[name]} and {row}: remove one, or name"
        " them by their paths, as `jaxface embed` does"
      )
    seen[name] = row


def without_missing(pairs: Pairs, names: Sequence[str]) -> tuple[Pairs, list[str]]:
  """The pairs both of whose images have an embedding.

  Args:
    pairs: pairs with the names of the embeddings, see `matched`.
    names: names of the embeddings.
  Returns:
    (the pairs, a line on the ignored ones, or none).
  """
  known = set(names)
  there = np.array([left in known and right in known for left, right in zip(pairs.left, pairs.right)], bool)
  if there.all():
    return pairs, []
  kept, gone = np.flatnonzero(there), np.flatnonzero(~there)
  first = pairs.left[gone[0]] if pairs.left[gone[0]] not in known else pairs.right[gone[0]]
  note = (
    f"{len(gone):,} of {len(pairs):,} pairs are ignored: an image has no embedding (first: {pairs.where(int(gone[0]))}, "
    f"{first!r}). Only the other pairs are used."
  )
  left, right = ([side[pair] for pair in kept] for side in (pairs.left, pairs.right))
  line = None if pairs.line is None else pairs.line[kept]
  return Pairs(left, right, pairs.same[kept], pairs.fold[kept], pairs.file, line), [note]


def list_notes(pairs: Pairs) -> list[str]:
  """Peculiarities of a list: pairs of an image with itself, repeated pairs, contradictory pairs.

  Args:
    pairs: the list, with the names of the embeddings.
  Returns:
    A line for each kind that occurs, with its count and first position.
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
      "for any network."
    )
  for found, what in (
    (again, "that the list already contains: each counts again"),
    (torn, "that the list already contains with the opposite label: one of the two is wrong"),
  ):
    if found:
      pair, before = found[0]
      notes.append(f"{_pairs(len(found), 'is one', 'are some')} {what} (first: {pairs.where(pair)}, as {pairs.where(before)}).")
  return notes


def threshold_notes(pairs: Pairs, threshold_from: str, train: Pairs | None = None) -> list[str]:
  """A note if pairs are classified at a threshold that was chosen on the same pairs.

  Args:
    pairs: the classified pairs.
    threshold_from: `threshold_from` of `Folds`.
    train: the other list, if the threshold was chosen on one.
  Returns:
    A line, or none.
  """
  if train is not None:
    chosen = {tuple(sorted(names)) for names in zip(train.left, train.right)}
    both = sum(tuple(sorted(names)) in chosen for names in zip(pairs.left, pairs.right))
    if not both:
      return []
    return [f"{both:,} of {len(pairs):,} pairs are among those on which the threshold was chosen: the accuracy is biased upwards."]
  if threshold_from != "the same pairs":
    return []
  return [
    "the list has one fold: the threshold was chosen on the same pairs, so the accuracy is biased upwards. Add folds to the "
    "list, or choose the threshold on another one (jaxface evaluate --threshold-from FILE)."
  ]


def scores_of_one_kind(pairs: Pairs, score_p: np.ndarray, name: str = "cosine") -> dict:
  """Figures of a list without mated or without non-mated pairs: its scores.

  Args:
    pairs: the list.
    score_p: [P] float64, cosine or another score of each.
    name: of the score, as a key.
  Returns:
    Plain JSON values: counts, the minimum, mean and maximum score, and the score of each pair.
  """
  return {
    "pairs": len(pairs),
    "mated": int(pairs.same.sum()),
    "nonmated": int((~pairs.same).sum()),
    f"{name}_min": float(score_p.min()),
    f"{name}_mean": float(score_p.mean()),
    f"{name}_max": float(score_p.max()),
    "scores": [
      {"left": left, "right": right, "same": bool(same), name: float(score)}
      for left, right, same, score in zip(pairs.left, pairs.right, pairs.same, score_p)
    ],
  }


def _pairs(count: int, one: str, many: str) -> str:
  return f"1 pair {one}" if count == 1 else f"{count:,} pairs {many}"


__all__ = ["check_unique", "finder", "images_of", "list_notes", "matched", "scores_of_one_kind", "threshold_notes", "without_missing"]
