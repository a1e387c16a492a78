"""Pair lists as a table: two names, whether they show one person, and a fold where there is one."""

import re
from pathlib import Path

import numpy as np

from jaxface.formats.pairs_base import FORMS, Pairs, Rows, whole, wrong

SAME = {"1": True, "true": True, "same": True, "0": False, "-1": False, "false": False, "different": False}
# What a header may call the columns; capitals, blanks and punctuation do not count.
COLUMNS = {
  "left": ("left", "path1", "image1", "img1", "file1", "name1", "first", "firstname", "a"),
  "right": ("right", "path2", "image2", "img2", "file2", "name2", "second", "secondname", "b"),
  "same": ("same", "issame", "label", "match", "target", "mated"),
  "fold": ("fold", "split", "splitnumber"),
}
# Without a header, by their number: left right same, and a fold behind them; YTF's fold and number before them.
PLAIN = {3: {"left": 0, "right": 1, "same": 2}, 4: {"left": 0, "right": 1, "same": 2, "fold": 3},
         5: {"fold": 0, "left": 2, "right": 3, "same": 4}}

PLAIN_NAMES = "left right same fold"


def header_columns(row: list[str]) -> dict[str, int] | None:
  """Which column is which by a header; None if the row is no header with two names and their truth."""
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
  """The pairs of a table with a header or without; pairs without a fold are all in fold 0.

  Args:
    path: for messages.
    rows: of the file, header included.
  Raises:
    DamagedData: a line that does not fit, named with the file.
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
      what = f"{row}: expected `{shown}` with same 1 or 0 and a whole fold where there is one"
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
