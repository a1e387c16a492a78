"""Pair lists as a table: two names, whether they show the same person, and optionally a fold."""

import re
from pathlib import Path

import numpy as np

from jaxface.formats.pairs_base import FORMS, Pairs, Rows, whole, wrong

SAME = {"1": True, "true": True, "same": True, "0": False, "-1": False, "false": False, "different": False}
# Names of columns in a header; case, blanks and punctuation are ignored.
COLUMNS = {
  "left": ("left", "path1", "image1", "img1", "file1", "name1", "first", "firstname", "a"),
  "right": ("right", "path2", "image2", "img2", "file2", "name2", "second", "secondname", "b"),
  "same": ("same", "issame", "label", "match", "target", "mated"),
  "fold": ("fold", "split", "splitnumber"),
}
# Columns without a header, by their number: left right same, then a fold; YTF has fold and number first.
PLAIN = {3: {"left": 0, "right": 1, "same": 2}, 4: {"left": 0, "right": 1, "same": 2, "fold": 3},
         5: {"fold": 0, "left": 2, "right": 3, "same": 4}}

PLAIN_NAMES = "left right same fold"


def header_columns(row: list[str]) -> dict[str, int] | None:
  """Columns by a header; None if the row is not a header with two names and `same`."""
  cells = [re.sub(r"[\W_]", "", cell.lower()) for cell in row]
  found = {}
  for ours, spellings in COLUMNS.items():
    match = [cells.index(name) for name in spellings if name in cells]
    if match:
      found[ours] = match[0]
  return found if {"left", "right", "same"} <= set(found) and len(set(found.values())) == len(found) else None


def table_like(row: list[str]) -> bool:
  """Whether a line without a header could be one of a table."""
  place = PLAIN.get(len(row))
  if place is None or row[place["same"]].lower() not in SAME:
    return False
  numbers = [row[place["fold"]]] if "fold" in place else []
  numbers += row[:2] if len(row) == 5 else []
  return all(part.isascii() and part.isdecimal() for part in numbers)


def table_pairs(path: str | Path, rows: Rows) -> Pairs:
  """The pairs of a table, with or without a header; pairs without a fold are in fold 0.

  Args:
    path: file name for messages.
    rows: rows of the file, including a header.
  Raises:
    DamagedData: an invalid line, named with the file.
  """
  place = header_columns(rows[0][1])
  shown = PLAIN_NAMES
  if place is not None:
    shown, rows, width = " ".join(rows[0][1]), rows[1:], len(rows[0][1])
  else:
    width = len(rows[0][1])
    place = PLAIN.get(width) or {}
  if not rows:
    raise wrong(path, 1, "no pairs")
  for at, row in rows:
    if not place or len(row) != width or row[place["same"]].lower() not in SAME or (
      "fold" in place and not (row[place["fold"]].isascii() and row[place["fold"]].isdecimal())
    ):
      what = f"{row}: expected `{shown}` with same 1 or 0 and an integer fold, if any"
      if (at, row) == rows[0] and shown == PLAIN_NAMES:
        what += f", or a header of names such as {', '.join(name for names in COLUMNS.values() for name in names[:2])}"
      raise wrong(path, at, f"{what}. {FORMS}")
    if not (row[place["left"]] and row[place["right"]]):
      raise wrong(path, at, f"{row}: a name is empty")
  fold = [whole(path, at, row[place["fold"]], least=0) if "fold" in place else 0 for at, row in rows]
  return Pairs(
    [row[place["left"]] for _, row in rows],
    [row[place["right"]] for _, row in rows],
    np.array([SAME[row[place["same"]].lower()] for _, row in rows]),
    np.array(fold, np.int64),
    str(path),
    np.array([at for at, _ in rows], np.int64),
  )


__all__ = ["COLUMNS", "SAME", "header_columns", "table_like", "table_pairs"]
