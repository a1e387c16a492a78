"""Common parts of pair lists: the pairs, the lines of a file, and errors that name a line."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.formats.errors import DamagedData

MAX_BYTES = 1 << 28
FORMS = (
  "a list of pairs has lines of these forms: `left right same`, `left right same fold` (same 1 or 0; columns separated by "
  "tabs, commas, semicolons, or blanks if no name contains one), LFW's `name n1 n2` and `name1 n1 name2 n2`, or YTF's "
  "`fold number left right same`"
)

Rows = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Pairs:
  """Pairs to compare.

  Attributes:
    left: P names, as records carry them (`Person/Person_0001`).
    right: P names.
    same: [P] bool, true for two images of one identity.
    fold: [P] int64, the fold of each pair.
    file: file of the pairs, for messages; empty if they were made in memory.
    line: [P] int64, line in that file, from 1; None if they were made in memory.
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
        f"pairs differ in length: left {len(self.left)}, right {len(self.right)}, same {len(self.same)}, "
        f"fold {len(self.fold)}"
      )

  def __len__(self) -> int:
    return len(self.left)

  def where(self, pair: int) -> str:
    """Location of a pair, for messages: `pairs.txt, line 7`, or `pair 5`."""
    return f"pair {pair}" if self.line is None else f"{self.file}, line {self.line[pair]}"


def lines_of(path: str | Path) -> list[tuple[int, str]]:
  """The lines of a text file with their numbers, without empty ones and comments ("#").

  Raises:
    DamagedData: not UTF-8, or too large for a pair list.
  """
  with open(path, "rb") as file:
    data = file.read(MAX_BYTES + 1)
  if len(data) > MAX_BYTES:
    raise wrong(path, 1, f"larger than {MAX_BYTES >> 20} MB: too large for a pair list")
  lines = []
  for at, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
    try:
      line = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
      raise wrong(path, at, f"byte {error.start} is not UTF-8") from error
    if line and not line.startswith("#"):
      lines.append((at, line))
  return lines


def cut(path: str | Path, lines: list[tuple[int, str]], delimiter: str | None = None) -> Rows:
  """Lines split at tabs; those without a tab at a delimiter, with quoting, or at blanks (None)."""
  rows = []
  for at, line in lines:
    if "\t" in line:
      parts = line.split("\t")
    elif delimiter is None:
      parts = line.split()
    else:
      try:
        (parts,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
      except csv.Error as error:
        raise wrong(path, at, f"{error}") from error
    rows.append((at, [part.strip() for part in parts]))
  return rows


def whole(path: str | Path, at: int, text: str, least: int = 1) -> int:
  """An integer of a line."""
  if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
    raise wrong(path, at, f"{text!r} where a whole number from {least} is expected")
  return int(text)


def wrong(path: str | Path, at: int, what: str) -> DamagedData:
  """The error of a line."""
  return DamagedData(f"line {at}: {what}", file=str(path))


__all__ = ["FORMS", "Pairs", "Rows", "cut", "lines_of", "whole", "wrong"]
