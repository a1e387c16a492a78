"""Pair lists: LFW's `pairs.txt` and `people.txt`, and a plain table for any other names.

LFW's list has tab-separated lines `name n1 n2` (the same person) and `name1 n1 name2 n2` (different people).
View 2 opens with `folds pairs`, then come that many same and as many different pairs for each fold; view 1
has no header, or a lone count. The plain table opens with `left right same fold`; a line has two names as the
records carry them, 1 or 0, and the fold.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData

HEADER = ("left", "right", "same", "fold")
MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Pairs:
  """Pairs to compare.

  Attributes:
    left: P names, as records carry them (`Person/Person_0001`).
    right: P names.
    same: [P] bool, true for two images of one identity.
    fold: [P] int64, the fold of each pair.
    file: where the pairs come from, for messages; empty when they were made in memory.
    line: [P] int64, line in that file, from 1; None when they were made in memory.
  """

  left: list[str]
  right: list[str]
  same: np.ndarray
  fold: np.ndarray
  file: str = ""
  line: np.ndarray | None = None

  def __post_init__(self) -> None:
    sizes = {len(self.left), len(self.right), len(self.same), len(self.fold)}
    if len(sizes) != 1:
      raise ValueError(
        f"pairs disagree in length: left {len(self.left)}, right {len(self.right)}, same {len(self.same)}, "
        f"fold {len(self.fold)}"
      )

  def __len__(self) -> int:
    return len(self.left)

  def where(self, pair: int) -> str:
    """Where a pair was written, for messages: `pairs.txt, line 7`, or `pair 5`."""
    return f"pair {pair}" if self.line is None else f"{self.file}, line {self.line[pair]}"


def read_pairs(path: str | Path) -> Pairs:
  """Reads a pair list of either kind: the plain table by its header, anything else as LFW's.

  Args:
    path: text file, UTF-8.
  Returns:
    `Pairs` in the file's order.
  Raises:
    DamagedData: a line that does not fit, named with the file.
  """
  rows = _rows(path)
  return _plain(path, rows[1:]) if rows and tuple(rows[0][1]) == HEADER else _lfw(path, rows)


def read_lfw_pairs(path: str | Path) -> Pairs:
  """Reads LFW's `pairs.txt` (view 2: ten folds) or `pairsDevTrain.txt`, `pairsDevTest.txt` (view 1: all in
  fold 0).

  Args:
    path: text file, UTF-8.
  Returns:
    `Pairs` in the file's order.
  Raises:
    DamagedData: a line that does not fit, or another number of pairs than the header says.
  """
  return _lfw(path, _rows(path))


def write_pairs(path: str | Path, pairs: Pairs) -> None:
  """Writes the plain table, whole or not at all; `read_pairs` gives the same pairs back."""
  lines = ["\t".join(HEADER)]
  for pair, names in enumerate(zip(pairs.left, pairs.right)):
    for name in names:
      if not name or name != name.strip() or any(mark in name for mark in "\t\r\n"):
        raise ValueError(f"{pairs.where(pair)}: the name {name!r} cannot stand in a tab-separated list")
    lines.append(f"{names[0]}\t{names[1]}\t{int(pairs.same[pair])}\t{int(pairs.fold[pair])}")
  write_text(path, "\n".join(lines) + "\n")


def read_people(path: str | Path) -> list[dict[str, int]]:
  """Reads LFW's `people.txt`: a number of folds, and for each its size and lines `name images`.

  Args:
    path: text file, UTF-8.
  Returns:
    Per fold, images by person.
  Raises:
    DamagedData: a line that does not fit, named with the file.
  """
  rows = _rows(path)
  if not rows or len(rows[0][1]) != 1:
    raise _wrong(path, rows[0][0] if rows else 1, "the first line must be the number of folds")
  folds: list[dict[str, int]] = []
  expected, at = 0, rows[0][0]
  for at, row in rows[1:]:
    if len(row) == 1:
      if folds and len(folds[-1]) != expected:
        raise _wrong(
          path, at, f"fold {len(folds) - 1} has {len(folds[-1])} people where it announced {expected}"
        )
      folds.append({})
      expected = _count(path, at, row[0])
    elif len(row) == 2 and folds and row[0] not in folds[-1]:
      folds[-1][row[0]] = _count(path, at, row[1])
    else:
      raise _wrong(path, at, f"{row}: expected a new `name images`, or the size of a fold before it")
  if len(folds) != _count(path, rows[0][0], rows[0][1][0]) or (folds and len(folds[-1]) != expected):
    raise _wrong(
      path, at, f"ends after {len(folds)} folds, the last with {len(folds[-1]) if folds else 0} people"
    )
  return folds


def _lfw(path: str | Path, rows: list[tuple[int, list[str]]]) -> Pairs:
  header = rows[0][1] if rows else []
  folds, half = 1, None
  if len(header) in (1, 2) and all(part.isdecimal() for part in header):
    counts = [_count(path, rows[0][0], part) for part in header]
    folds, half = (counts[0], counts[1]) if len(counts) == 2 else (1, counts[0])
    rows = rows[1:]
  if not rows:
    raise _wrong(path, 1, "no pairs")
  if half is not None and len(rows) != 2 * folds * half:
    raise _wrong(
      path,
      rows[-1][0],
      f"{len(rows)} pairs where the header {' '.join(header)} announces {folds} × "
      f"({half} same + {half} different)",
    )
  left, right, same = [], [], np.empty(len(rows), np.bool_)
  for index, (at, row) in enumerate(rows):
    if len(row) == 3:
      person, other, numbers = row[0], row[0], row[1:]
    elif len(row) == 4:
      person, other, numbers = row[0], row[2], [row[1], row[3]]
      if person == other:
        raise _wrong(path, at, f"a pair of different people names {person!r} twice")
    else:
      raise _wrong(path, at, f"{len(row)} fields; expected `name n1 n2` or `name1 n1 name2 n2`")
    left.append(_lfw_name(path, at, person, numbers[0]))
    right.append(_lfw_name(path, at, other, numbers[1]))
    same[index] = len(row) == 3
    if half is not None and len(header) == 2 and same[index] != (index % (2 * half) < half):
      expected = "different people" if same[index] else "the same person"
      raise _wrong(
        path, at, f"a pair of {expected} belongs here: folds are {half} same, then {half} different"
      )
  fold = np.arange(len(rows)) // (2 * half) if half is not None else np.zeros(len(rows), np.int64)
  return Pairs(
    left, right, same, fold.astype(np.int64), str(path), np.array([at for at, _ in rows], np.int64)
  )


def _plain(path: str | Path, rows: list[tuple[int, list[str]]]) -> Pairs:
  if not rows:
    raise _wrong(path, 1, "no pairs")
  for at, row in rows:
    if len(row) != 4 or row[2] not in ("0", "1") or not row[3].isdecimal():
      raise _wrong(path, at, f"{row}: expected `left right same fold` with same 0 or 1 and a whole fold")
  return Pairs(
    [row[0] for _, row in rows],
    [row[1] for _, row in rows],
    np.array([row[2] == "1" for _, row in rows]),
    np.array([_count(path, at, row[3], least=0) for at, row in rows], np.int64),
    str(path),
    np.array([at for at, _ in rows], np.int64),
  )


def _rows(path: str | Path) -> list[tuple[int, list[str]]]:
  """The lines that are not empty, with their numbers, cut at tabs (at any blank in lines without a tab)."""
  with open(path, "rb") as file:
    data = file.read(MAX_BYTES + 1)
  if len(data) > MAX_BYTES:
    raise _wrong(path, 1, f"larger than {MAX_BYTES >> 20} MB: this is no list of pairs")
  rows = []
  for at, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
    try:
      line = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
      raise _wrong(path, at, f"byte {error.start} is not UTF-8") from error
    if line:
      rows.append((at, [part.strip() for part in line.split("\t")] if "\t" in line else line.split()))
  return rows


def _lfw_name(path: str | Path, at: int, person: str, number: str) -> str:
  if not person or person in (".", "..") or any(mark in person for mark in "/\\\0"):
    raise _wrong(path, at, f"{person!r} is no person's name: it must be one folder's name")
  return f"{person}/{person}_{_count(path, at, number):04d}"


def _count(path: str | Path, at: int, text: str, least: int = 1) -> int:
  if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
    raise _wrong(path, at, f"{text!r} where a whole number from {least} is expected")
  return int(text)


def _wrong(path: str | Path, at: int, what: str) -> DamagedData:
  return DamagedData(f"line {at}: {what}", file=str(path))


__all__ = ["Pairs", "read_lfw_pairs", "read_pairs", "read_people", "write_pairs"]
