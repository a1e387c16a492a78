"""The identity table of a packed set: a readable TSV of label, number of images and name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData

FILE = "identities.tsv"
_HEADER = "label\timages\tname"


def check_identity_name(name: str) -> None:
  """Rejects names that the line-based identity table or labels file cannot store.

  Args:
    name: the name of an identity.
  Raises:
    ValueError: empty, with leading or trailing white space, or with a control character.
  """
  if not name or name != name.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
    raise ValueError(f"identity {name!r}: names must not be empty, begin or end with white space, or contain control characters; rename it")


def identity_order(names: set[str]) -> tuple[str, ...]:
  """Identities in numeric order if all are numbers, else in alphabetical order; the same on every machine."""
  if all_numbers(names):
    return tuple(sorted(names, key=lambda name: (int(name), name)))
  return tuple(sorted(names))


def all_numbers(names: set[str]) -> bool:
  """Whether all names are decimal numbers."""
  return all(name.isascii() and name.isdecimal() for name in names)


def write_identities(folder: str | Path, names: Sequence[str], images: Sequence[int]) -> str:
  """Writes the table, atomically.

  Args:
    folder: folder of the packed set.
    names: names of the identities by label.
    images: number of records of each.
  Returns:
    SHA-256 of the file, in hex.
  """
  lines = [_HEADER] + [f"{label}\t{count}\t{name}" for label, (name, count) in enumerate(zip(names, images))]
  text = "\n".join(lines) + "\n"
  write_text(Path(folder) / FILE, text)
  return hashlib.sha256(text.encode()).hexdigest()


def read_identities(folder: str | Path, sha256: str) -> tuple[list[str], list[int]]:
  """Reads the table.

  Args:
    folder: folder of the packed set.
    sha256: of the file, in hex, from the manifest.
  Returns:
    (names by label, number of images by label).
  Raises:
    DamagedData: the table is missing, a line is invalid (names the line), or it is not the one of the manifest.
  """
  path = Path(folder) / FILE
  try:
    content = path.read_bytes()
    lines = content.decode("utf-8").split("\n")
  except (OSError, UnicodeDecodeError) as error:
    raise DamagedData(f"identity table cannot be read: {error}", file=path) from error
  names, images = [], []
  for number, line in enumerate(lines[1:-1], start=2):
    cells = line.split("\t")
    if len(cells) != 3 or cells[0] != str(number - 2) or not cells[1].isdecimal():
      raise DamagedData(f"line {number} is {line!r}, should be label {number - 2}, images, name", file=path)
    images.append(int(cells[1]))
    names.append(cells[2])
  if lines[0] != _HEADER or lines[-1]:
    raise DamagedData(f"identity table must begin with {_HEADER!r} and end with a newline", file=path)
  if hashlib.sha256(content).hexdigest() != sha256:
    what = "identity table does not match the manifest (SHA-256): it was edited or damaged; restore it or pack again"
    raise DamagedData(what, file=path)
  return names, images
