"""LFW's own lists: `pairs.txt`, `pairsDevTrain.txt`, `pairsDevTest.txt`, `people.txt`.

Lines are `name n1 n2` (the same person) and `name1 n1 name2 n2` (different people). View 2 begins with `folds pairs`,
followed by that many same and as many different pairs for each fold. View 1 has no header, or only a count.
"""

from pathlib import Path

import numpy as np

from jaxface.formats.pairs_base import FORMS, Pairs, Rows, cut, lines_of, whole, wrong


def lfw_like(row: list[str]) -> bool:
  """Whether a line could be one of LFW's pairs."""
  numbers = {3: row[1:], 4: row[1::2]}.get(len(row))
  return numbers is not None and all(part.isascii() and part.isdecimal() for part in numbers)


def read_lfw_pairs(path: str | Path) -> Pairs:
  """Reads LFW's `pairs.txt` (view 2: ten folds) or `pairsDevTrain.txt`, `pairsDevTest.txt` (view 1: all in
  fold 0).

  Args:
    path: text file, UTF-8.
  Returns:
    `Pairs` in the file's order.
  Raises:
    DamagedData: an invalid line, or a number of pairs that differs from the header.
  """
  return lfw_pairs(path, cut(path, lines_of(path)))


def read_people(path: str | Path, *, folds: bool = True) -> list[dict[str, int]]:
  """Reads LFW's `people.txt`: a number of folds, and for each its size and lines `name images`.

  Args:
    path: text file, UTF-8.
    folds: false for view 1's `peopleDevTrain.txt` and `peopleDevTest.txt`, which have one fold and no number of folds.
  Returns:
    Per fold, images by person.
  Raises:
    DamagedData: an invalid line, named with the file.
  """
  rows = cut(path, lines_of(path))
  if not rows or len(rows[0][1]) != 1:
    raise wrong(path, rows[0][0] if rows else 1, f"the first line must be the number of {'folds' if folds else 'people'}")
  if not folds:
    rows = [(rows[0][0], ["1"]), *rows]
  found: list[dict[str, int]] = []
  expected, at = 0, rows[0][0]
  for at, row in rows[1:]:
    if len(row) == 1:
      if found and len(found[-1]) != expected:
        raise wrong(
          path, at, f"fold {len(found) - 1} has {len(found[-1])} people, expected {expected}"
        )
      found.append({})
      expected = whole(path, at, row[0])
    elif len(row) == 2 and found and row[0] not in found[-1]:
      found[-1][row[0]] = whole(path, at, row[1])
    else:
      raise wrong(path, at, f"{row}: expected a new `name images`, or the size of a fold before it")
  if len(found) != whole(path, rows[0][0], rows[0][1][0]) or (found and len(found[-1]) != expected):
    raise wrong(
      path, at, f"ends after {len(found)} folds, the last with {len(found[-1]) if found else 0} people"
    )
  return found


def lfw_pairs(path: str | Path, rows: Rows) -> Pairs:
  """The pairs of LFW's lines, of view 1 or 2."""
  header = rows[0][1] if rows else []
  folds, half = 1, None
  if len(header) in (1, 2) and all(part.isdecimal() for part in header):
    counts = [whole(path, rows[0][0], part) for part in header]
    folds, half = (counts[0], counts[1]) if len(counts) == 2 else (1, counts[0])
    rows = rows[1:]
  if not rows:
    raise wrong(path, 1, "no pairs")
  if half is not None and len(rows) != 2 * folds * half:
    raise wrong(
      path,
      rows[-1][0],
      f"{len(rows)} pairs, but the header {' '.join(header)} means {folds} × "
      f"({half} same + {half} different)",
    )
  left, right, same = [], [], np.empty(len(rows), np.bool_)
  for index, (at, row) in enumerate(rows):
    if len(row) == 3:
      person, other, numbers = row[0], row[0], row[1:]
    elif len(row) == 4:
      person, other, numbers = row[0], row[2], [row[1], row[3]]
      if person == other:
        raise wrong(path, at, f"a pair of different people names {person!r} twice")
    else:
      raise wrong(path, at, f"{len(row)} fields; expected `name n1 n2` or `name1 n1 name2 n2`. {FORMS}")
    left.append(_lfw_name(path, at, person, numbers[0]))
    right.append(_lfw_name(path, at, other, numbers[1]))
    same[index] = len(row) == 3
    if half is not None and len(header) == 2 and same[index] != (index % (2 * half) < half):
      expected = "different people" if same[index] else "the same person"
      raise wrong(
        path, at, f"expected a pair of {expected}: folds have {half} same, then {half} different pairs"
      )
  fold = np.arange(len(rows)) // (2 * half) if half is not None else np.zeros(len(rows), np.int64)
  return Pairs(
    left, right, same, fold.astype(np.int64), str(path), np.array([at for at, _ in rows], np.int64)
  )


def _lfw_name(path: str | Path, at: int, person: str, number: str) -> str:
  if not person or person in (".", "..") or any(mark in person for mark in "/\\\0"):
    raise wrong(path, at, f"{person!r} is not a valid person name: it must be the name of one folder")
  return f"{person}/{person}_{whole(path, at, number):04d}"


__all__ = ["lfw_like", "lfw_pairs", "read_lfw_pairs", "read_people"]
