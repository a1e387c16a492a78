"""Files of face points: iBUG's `.pts`, tables in CSV, and JSON.

  write_pts("face.pts", point_k2); point_k2 = read_pts("face.pts")
  write_landmarks("faces.csv", faces); faces = read_landmarks("faces.json")

In memory a point is (x, y) with pixel centres at whole numbers from 0; `.pts` counts from 1.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData

MAX_POINTS = 10_000
_PTS = re.compile(r"\s*version:\s*1\s*\n\s*n_points:\s*(\d+)\s*\{(.*)\}\s*", re.DOTALL)


@dataclass(frozen=True, eq=False)
class AnnotatedFace:
  """The points of a face in a photo.

  Attributes:
    file: the photo, relative to the folder of photos.
    point_k2: [K, 2] float64, (x, y) in pixels, pixel centres at whole numbers from 0.
    box: (x0, y0, x1, y1) of its detection; None if unknown.
    score: of the detection; None if unknown.
  """

  file: str
  point_k2: np.ndarray
  box: tuple[float, float, float, float] | None = field(default=None)
  score: float | None = None


def read_pts(path: Path | str) -> np.ndarray:
  """Points of an iBUG file.

  Args:
    path: the file.
  Returns:
    [K, 2] float64, counted from 0.
  Raises:
    DamagedData: another format, a number of points other than the header's, or numbers that are not finite.
  """
  text = _text(path)
  found = _PTS.fullmatch(text)
  if not found:
    raise DamagedData('no points file: expected "version: 1", "n_points: K" and K lines of x y in braces', file=str(path))
  rows = [line.split() for line in found[2].strip().splitlines() if line.strip()]
  count = int(found[1])
  if len(rows) != count:
    raise DamagedData(f"n_points is {count}, but there are {len(rows)} lines of points", file=str(path))
  try:
    point_k2 = np.array([[float(x), float(y)] for x, y in rows]).reshape(-1, 2)
  except ValueError as error:
    raise DamagedData(f"a line is not two numbers: {error}", file=str(path)) from error
  _check_points(point_k2, str(path))
  return point_k2 - 1


def write_pts(path: Path | str, point_k2: np.ndarray) -> None:
  """Writes an iBUG file, atomically.

  Args:
    path: the file.
    point_k2: [K, 2], counted from 0.
  Raises:
    ValueError: other shapes, or numbers that are not finite.
  """
  point_k2 = _own_points(point_k2, str(path)) + 1
  lines = [f"{x:.6f} {y:.6f}" for x, y in point_k2.tolist()]
  write_text(Path(path), "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""]))


def read_landmarks(path: Path | str, *, points: str = "points", part: str | None = None) -> list[AnnotatedFace]:
  """Faces of a `.json` or `.csv` file.

  JSON: a list of photos {"file", "faces": [{"points": [[x, y], ...], "box": [x0, y0, x1, y1], "score"}]}; other entries are ignored, as are
  faces without points. CSV: a header "file,x0,y0,x1,y1,..." and a line for each face, all with the same number of points.

  Args:
    path: the file.
    points: the entry of a face with its points, such as "points68" where a file has several sets; JSON only.
    part: only photos whose entry "part" is this, such as "train"; JSON only; None for all.
  Returns:
    The faces, in the file's order.
  Raises:
    DamagedData: the file, its entries or numbers are not as described; names photo and face, or line.
    ValueError: another suffix, or a part of a table.
  """
  suffix = Path(path).suffix.lower()
  if suffix == ".json":
    return _from_json(_text(path), str(path), points, part)
  if suffix == ".csv":
    if part is not None:
      raise ValueError(f"{path}: a table has no parts, but part {part!r} is asked for")
    return _from_csv(_text(path), str(path))
  raise ValueError(f"{path}: faces are read from .json or .csv; a single face from .pts by read_pts")


def write_landmarks(path: Path | str, faces: Iterable[AnnotatedFace]) -> None:
  """Writes faces to a `.json` or `.csv` file, atomically.

  Args:
    path: the file; its suffix gives the format. CSV has points only, JSON also boxes and scores.
    faces: the faces; in CSV all with the same number of points.
  Raises:
    ValueError: another suffix, points that are not finite, or numbers of points that differ in CSV.
  """
  faces = list(faces)
  each = [_own_points(face.point_k2, face.file) for face in faces]
  suffix = Path(path).suffix.lower()
  if suffix == ".json":
    photos: dict[str, list[dict[str, Any]]] = {}
    for face, point_k2 in zip(faces, each):
      entry: dict[str, Any] = {"points": point_k2.round(4).tolist()}
      if face.box is not None:
        entry["box"] = list(face.box)
      if face.score is not None:
        entry["score"] = face.score
      photos.setdefault(face.file, []).append(entry)
    write_text(Path(path), json.dumps([{"file": file, "faces": found} for file, found in photos.items()], ensure_ascii=False) + "\n")
    return
  if suffix != ".csv":
    raise ValueError(f"{path}: faces are written to .json or .csv; a single face to .pts by write_pts")
  counts = sorted({len(point_k2) for point_k2 in each})
  if len(counts) > 1:
    raise ValueError(f"{path}: faces have {counts} points; a table needs the same number for all: write .json")
  out = io.StringIO()
  table = csv.writer(out, lineterminator="\n")
  table.writerow(["file", *(f"{axis}{index}" for index in range(counts[0] if counts else 0) for axis in "xy")])
  for face, point_k2 in zip(faces, each):
    table.writerow([face.file, *(f"{number:.4f}" for number in point_k2.reshape(-1).tolist())])
  write_text(Path(path), out.getvalue())


def _text(path: Path | str) -> str:
  try:
    return Path(path).read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise DamagedData(f"not a text file in UTF-8: {error}", file=str(path)) from error


def _from_json(text: str, path: str, points: str, part: str | None) -> list[AnnotatedFace]:
  try:
    photos = json.loads(text)
  except ValueError as error:
    raise DamagedData(f"no valid JSON: {error}", file=path) from error
  if not isinstance(photos, list):
    raise DamagedData('expected a list of photos {"file", "faces"}', file=path)
  found = []
  for number, photo in enumerate(photos):
    where = f"{path}, photo {number}"
    if not isinstance(photo, dict) or not isinstance(photo.get("file"), str) or not isinstance(photo.get("faces"), list):
      raise DamagedData('expected {"file": NAME, "faces": [...]}', file=where)
    if part is not None and photo.get("part") != part:
      continue
    for index, face in enumerate(photo["faces"]):
      where_face = f"{where} ({photo['file']}), face {index}"
      if not isinstance(face, dict):
        raise DamagedData("a face is not an object", file=where_face)
      if points not in face:
        continue
      point_k2 = _numbers(face[points], where_face, points)
      if point_k2.ndim != 2 or point_k2.shape[1:] != (2,):
        raise DamagedData(f"{points} has shape {point_k2.shape}, should be a list of [x, y]", file=where_face)
      _check_points(point_k2, where_face)
      box, score = face.get("box"), face.get("score")
      if box is not None:
        edges = _numbers(box, where_face, "box")
        if edges.shape != (4,) or not np.isfinite(edges).all():
          raise DamagedData(f"box is {box}, should be [x0, y0, x1, y1]", file=where_face)
        box = tuple(edges.tolist())
      if score is not None and not (isinstance(score, (int, float)) and math.isfinite(score)):
        raise DamagedData(f"score is {score!r}, should be a number", file=where_face)
      found.append(AnnotatedFace(photo["file"], point_k2, box, score))
  return found


def _from_csv(text: str, path: str) -> list[AnnotatedFace]:
  rows = list(csv.reader(io.StringIO(text)))
  if not rows or rows[0][:1] != ["file"] or len(rows[0]) % 2 != 1:
    raise DamagedData('expected a header "file,x0,y0,x1,y1,..."', file=path)
  found = []
  for line, row in enumerate(rows[1:], 2):
    where = f"{path}, line {line}"
    if not row:
      continue
    if len(row) != len(rows[0]) or not row[0]:
      raise DamagedData(f"{len(row)} columns, should be a file and {len(rows[0]) - 1} numbers", file=where)
    point_k2 = _numbers(row[1:], where, "the line").reshape(-1, 2)
    _check_points(point_k2, where)
    found.append(AnnotatedFace(row[0], point_k2))
  return found


def _numbers(value: Sequence[Any], where: str, name: str) -> np.ndarray:
  try:
    return np.array(value, dtype=np.float64)
  except (TypeError, ValueError) as error:
    raise DamagedData(f"{name} has entries that are no numbers: {error}", file=where) from error


def _check_points(point_k2: np.ndarray, where: str) -> None:
  if not 1 <= len(point_k2) <= MAX_POINTS:
    raise DamagedData(f"{len(point_k2)} points, should be 1 to {MAX_POINTS:,}", file=where)
  if not np.isfinite(point_k2).all():
    raise DamagedData("a coordinate is not finite", file=where)


def _own_points(point_k2: np.ndarray, where: str) -> np.ndarray:
  point_k2 = np.asarray(point_k2, np.float64)
  if point_k2.ndim != 2 or point_k2.shape[1] != 2 or not len(point_k2) or not np.isfinite(point_k2).all():
    raise ValueError(f"{where}: points have shape {point_k2.shape} or are not finite; needs [K, 2] finite numbers")
  return point_k2


__all__ = ["AnnotatedFace", "read_landmarks", "read_pts", "write_landmarks", "write_pts"]
