"""Pair lists; the form is detected from the lines.

A table has two names, 1 or 0 for the same person or not, and optionally a fold: `left right same [fold]`. A header of these or
similar names, in any order, is optional. Columns are separated by tabs, commas (`.csv`, with quotes), semicolons, or blanks if
no name contains one. LFW's `pairs.txt` and view 1's lists (see `pairs_lfw`) and YTF's `splits.txt` are read directly. Empty
lines and those that begin with "#" are ignored.
"""

from collections.abc import Callable
from pathlib import Path

from jaxface.formats.atomic import write_text
from jaxface.formats.pairs_base import FORMS, Pairs, Rows, cut, lines_of, wrong
from jaxface.formats.pairs_lfw import lfw_like, lfw_pairs, read_lfw_pairs, read_people
from jaxface.formats.pairs_table import header_columns, table_like, table_pairs

HEADER = ("left", "right", "same", "fold")
DELIMITERS = (",", ";", None)
LIKE = ((table_like, table_pairs), (lfw_like, lfw_pairs))


def read_pairs(path: str | Path) -> Pairs:
  """Reads a pair list of any form.

  Args:
    path: text file, UTF-8.
  Returns:
    `Pairs` in the file's order.
  Raises:
    DamagedData: an invalid line, named with the file; ambiguous lines.
  """
  lines = lines_of(path)
  if not lines:
    raise wrong(path, 1, f"no pairs: {FORMS}")
  ways = [cut(path, lines, delimiter) for delimiter in DELIMITERS]
  for rows in ways:
    read = _form(path, rows)
    if read is not None:
      return read(path, rows)
  if all(len(row) < 3 for rows in ways for _, row in rows):
    raise wrong(path, lines[0][0], f"{lines[0][1]!r} has fewer than three columns. {FORMS}")
  # Report the first line that does not fit the separator that most lines fit.
  fits = [(sum(like(row) for _, row in rows), read, rows) for rows in ways for like, read in LIKE]
  _, read, rows = max(fits, key=lambda fit: fit[0])
  return read(path, rows)


def _form(path: str | Path, rows: Rows) -> Callable[[str | Path, Rows], Pairs] | None:
  """The reader for the rows; None if they fit no form."""
  if header_columns(rows[0][1]) is not None:
    return table_pairs
  body = rows[1:] if _is_counts(rows[0][1]) else rows
  lfw, table = (all(like(row) for _, row in body) for like in (lfw_like, table_like))
  if body is not rows and lfw:
    return lfw_pairs
  if lfw and table and all(row[0].isdecimal() for _, row in body):
    raise wrong(
      path, body[0][0],
      f"{' '.join(body[0][1])!r} could be LFW's `name n1 n2` and `left right same`: begin the list with the header "
      f"`{' '.join(HEADER[: len(body[0][1])])}` if it is a table",
    )
  return lfw_pairs if lfw else table_pairs if table and body is rows else None


def _is_counts(row: list[str]) -> bool:
  """Whether a row is the header of LFW's lists: numbers of folds and pairs, or of pairs only."""
  return len(row) in (1, 2) and all(part.isdecimal() for part in row)


def write_pairs(path: str | Path, pairs: Pairs) -> None:
  """Writes the plain table, atomically; `read_pairs` reads the same pairs back."""
  lines = ["\t".join(HEADER)]
  for pair, names in enumerate(zip(pairs.left, pairs.right)):
    for name in names:
      if not name or name != name.strip() or any(mark in name for mark in "\t\r\n") or name.startswith("#"):
        raise ValueError(f"{pairs.where(pair)}: the name {name!r} cannot be written to a tab-separated list")
    lines.append(f"{names[0]}\t{names[1]}\t{int(pairs.same[pair])}\t{int(pairs.fold[pair])}")
  write_text(path, "\n".join(lines) + "\n")


__all__ = ["Pairs", "read_lfw_pairs", "read_pairs", "read_people", "write_pairs"]
