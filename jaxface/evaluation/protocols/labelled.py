"""Lists of images with identities and roles: `name identity role`, for closed-set classification and for sets with distractors.

Columns are separated by tabs, commas or blanks. A distractor's identity is ignored; `-` is usual.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.evaluation.protocols.base import find_file
from jaxface.formats.pairs_base import cut, lines_of, wrong


@dataclass(frozen=True)
class Labelled:
  """Images by role.

  Attributes:
    names: images by role, in the order of the list.
    identity: identities by role, of each image.
  """

  names: dict[str, list[str]]
  identity: dict[str, np.ndarray]


def read_labelled(lists: str | Path, file: str, roles: tuple[str, ...]) -> Labelled:
  """Reads a list.

  Args:
    lists: file, or a folder with `file`.
    file: usual name of the list.
    roles: the roles; each must occur.
  Raises:
    DamagedData: an invalid line, an image listed twice, or a role without images.
    FileNotFoundError: no list.
  """
  path = find_file(lists, (file,), "list of images")
  names: dict[str, list[str]] = {role: [] for role in roles}
  identity: dict[str, list[str]] = {role: [] for role in roles}
  seen: dict[str, int] = {}
  rows = cut(path, lines_of(path), "," if path.suffix == ".csv" else None)
  for at, row in rows:
    if len(row) != 3 or row[2] not in names:
      raise wrong(path, at, f"{row}: expected `name identity role`, with the role {' or '.join(roles)}")
    if row[0] in seen:
      raise wrong(path, at, f"{row[0]!r} is listed twice, first in line {seen[row[0]]}")
    seen[row[0]] = at
    names[row[2]].append(row[0])
    identity[row[2]].append(row[1])
  for role in roles:
    if not names[role]:
      raise wrong(path, rows[-1][0] if rows else 1, f"no image has the role {role!r}")
  return Labelled(names, {role: np.array(people) for role, people in identity.items()})


__all__ = ["Labelled", "read_labelled"]
