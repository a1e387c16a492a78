"""Labelled photos in the formats of WIDER FACE and of CMU+MIT; every number is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.formats.atomic import inside
from jaxface.formats.errors import DamagedData


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
  """The faces of one photo.

  Attributes:
    name: path of the photo below the folder of the set.
    box_n4: [N, 4] float64: x0, y0, x1, y1 in pixels.
    subsets: name of a subset to [N] bool, the faces that it counts; others are neither missed nor found in it.
  """

  name: str
  box_n4: np.ndarray
  subsets: dict[str, np.ndarray]


def read_wider(folder: str | Path, *, boxes: str = "bbx_gt.txt", subsets: str = "subsets.json") -> list[LabelledPhoto]:
  """WIDER FACE: a file of boxes in the official format, and the faces of each subset.

  Boxes are given as x, y, width, height. A photo without faces has one line of zeros after its count 0.

  Args:
    folder: of the set; names of photos are below it.
    boxes: name of the file of boxes: per photo its name, the number of faces, and ten numbers per face.
    subsets: name of the JSON file: per photo, per subset, the 0-based faces that count.
  Returns:
    `LabelledPhoto` per photo, in the order of the file.
  Raises:
    DamagedData: a line that is not of the format, or a face that does not exist; names file and line or photo.
    UnsafePath: a name leaves the folder.
  """
  folder = Path(folder)
  file, lists = folder / boxes, folder / subsets
  try:
    counted = json.loads(lists.read_text(encoding="utf-8"))
  except ValueError as error:
    raise DamagedData(f"not JSON: {error}", file=lists) from error
  if not isinstance(counted, dict):
    raise DamagedData("takes an object of photos", file=lists)
  photos, seen = [], set()
  for name, box_n4 in _wider_photos(file):
    inside(folder, name)
    if name in seen:
      raise DamagedData(f"photo {name!r} occurs twice", file=file)
    seen.add(name)
    photos.append(LabelledPhoto(name, box_n4, _masks(counted.get(name), len(box_n4), lists, name)))
  if set(counted) != seen:
    raise DamagedData(f"its photos are not those of {boxes}: {sorted(set(counted) ^ seen)[0]!r} is in one of them", file=lists)
  return photos


def _wider_photos(file: Path) -> Iterator[tuple[str, np.ndarray]]:
  lines = file.read_text(encoding="utf-8").splitlines()
  at = 0
  while at < len(lines):
    name = lines[at].strip()
    if not name:
      at += 1
      continue
    count = _numbers(lines, at + 1, 1, file)[0]
    if count != int(count) or count < 0:
      raise DamagedData(f"line {at + 2}: {count} faces", file=file)
    rows = [_numbers(lines, at + 2 + row, 10, file) for row in range(max(int(count), 1))]
    # A photo without faces has a row of zeros.
    box_n4 = np.array([row[:4] for row in rows[: int(count)]], np.float64).reshape(-1, 4)
    box_n4[:, 2:] += box_n4[:, :2]
    yield name, box_n4
    at += 2 + len(rows)


def _numbers(lines: list[str], at: int, count: int, file: Path) -> list[float]:
  text = lines[at] if at < len(lines) else ""
  try:
    numbers = [float(word) for word in text.split()]
  except ValueError:
    numbers = []
  if len(numbers) != count or not all(map(math.isfinite, numbers)):
    raise DamagedData(f"line {at + 1}: {text[:60]!r}, expected {count} number{'s' if count > 1 else ''}", file=file)
  return numbers


def _masks(lists: object, count: int, file: Path, name: str) -> dict[str, np.ndarray]:
  if not isinstance(lists, dict):
    raise DamagedData(f"photo {name!r} has no lists of faces", file=file)
  masks = {}
  for subset, faces in lists.items():
    if not isinstance(faces, list) or not all(type(face) is int and 0 <= face < count for face in faces):
      raise DamagedData(f"photo {name!r}, {subset!r}: faces {faces!r:.60}, it has 0 to {count - 1}", file=file)
    masks[subset] = np.isin(np.arange(count), faces)
  return masks


def read_box_list(folder: str | Path, *, boxes: str = "test_images_gt.txt") -> list[LabelledPhoto]:
  """A list of boxes, one a line: name x0 y0 x1 y1, as for the CMU+MIT photos; every face counts, in the subset "all".

  Args:
    folder: of the set.
    boxes: name of the list.
  Returns:
    `LabelledPhoto` per photo that has a face, by name.
  Raises:
    DamagedData: a line that is not of the format, or a box that ends before it begins; names file and line.
    UnsafePath: a name leaves the folder.
  """
  folder = Path(folder)
  file = folder / boxes
  found: dict[str, list[list[float]]] = {}
  for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
    if not line.strip():
      continue
    words = line.rsplit(maxsplit=4)
    x0, y0, x1, y1 = box = _numbers([" ".join(words[1:])], 0, 4, file) if len(words) == 5 else [0.0] * 4
    if not (x0 < x1 and y0 < y1):
      raise DamagedData(f"line {number}: {line[:60]!r}, expected NAME x0 y0 x1 y1 with x0 < x1 and y0 < y1", file=file)
    inside(folder, words[0])
    found.setdefault(words[0], []).append(box)
  return [
    LabelledPhoto(name, np.array(rows), {"all": np.ones(len(rows), bool)}) for name, rows in sorted(found.items())
  ]


__all__ = ["LabelledPhoto", "read_box_list", "read_wider"]
