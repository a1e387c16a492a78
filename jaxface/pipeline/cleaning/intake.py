"""Stage intake: a folder, an archive or a list of photos becomes a folder of faces, by a detector or by given boxes."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.detection import Detector
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, table
from jaxface.formats.atomic import atomic_directory, inside, write_text
from jaxface.formats.bounded import read_bounded
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image, encode_jpeg, fit_image
from jaxface.formats.walk import record_names, walk
from jaxface.pipeline.cleaning.archives import copy_listed, is_archive, unpack_archive
from jaxface.pipeline.photos.align_folder import align_photos

_COLUMNS = ("path", "x0", "y0", "x1", "y1")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intake:
  """Result of `clean_intake`.

  Attributes:
    folder: of the faces.
    photos: number of photos.
    faces: number of faces.
    refused: (photo, why) of photos without a face.
    page: the report page.
  """

  folder: Path
  photos: int
  faces: int
  refused: tuple[tuple[str, str], ...]
  page: Path

  def summary(self) -> str:
    """One line for a terminal."""
    return f"{self.folder}: {self.faces:,} faces of {self.photos:,} photos, {len(self.refused):,} photos without a face; {self.page}"


def clean_intake(
  photos: str | Path, out: str | Path, *, list_file: str | Path | None = None, boxes: str | Path | None = None, margin: float = 0.2,
  size: int = 112, detector: Detector | str | Path | None = None, which: str = "main", template: str = "arcface112", progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> Intake:
  """Makes a folder of faces, a folder per person, from photos; the photos are not changed.

  An archive, or what a list names, is first copied to OUT.photos, beside OUT. With a detector each face is aligned; with boxes it is the
  square around the box. An interrupted run is resumed by the same call.

  Args:
    photos: a folder per person, an archive (.zip, .tar, also compressed) of one, or any folder with `list_file`.
    out: folder of the faces.
    list_file: path and identity per line.
    boxes: CSV with the columns path, x0, y0, x1, y1 in pixels; the first box of a photo is taken. None detects faces.
    margin: by how much of its side a given box is made larger on each side.
    size: side of the faces in pixels, with boxes.
    detector: a detector, or the folder or name of one.
    which: which of several faces, see `find_faces`.
    template: alignment template, with a detector.
    progress: draw a progress bar.
    say: called with each line for the user.
  Raises:
    FileNotFoundError: no such folder or file.
    UnsafePath: a path of an archive or a list leaves its folder.
    DamagedData: a damaged archive.
    ValueError: no photos; a line of the boxes that is none.
  """
  photos, out = Path(photos), Path(out)
  if list_file is not None or is_archive(photos):
    copied = out.with_name(out.name + ".photos")
    if not copied.is_dir():
      count = copy_listed(photos, Path(list_file), copied) if list_file is not None else unpack_archive(photos, copied)
      say(f"{copied}: {count:,} photos")
    photos = copied
  page = out.with_name(out.name + ".intake.html")
  if boxes is None:
    made = align_photos(photos, out, template=template, which=which, detector=detector, progress=progress, say=say)
    refused = tuple((row.photo, row.refused) for row in made.rows if row.refused)
    found = Intake(out, len({row.photo for row in made.rows}), sum(bool(row.image) for row in made.rows), refused, page)
  else:
    found = _crop(photos, out, Path(boxes), margin, size, page, say)
  rows = [("photos", [f"{found.photos:,}"]), ("faces", [f"{found.faces:,}"]), ("photos without a face", [f"{len(found.refused):,}"])]
  write_text(page, document("Intake", [
    f'<header>\n<h1>Intake</h1>\n<p class="lead">{escape(found.summary())}</p>\n</header>',
    f'<section><div class="card scroll">{table("", ["", "number"], rows)}</div></section>',
    f'<section><h2>Photos without a face</h2><div class="card scroll">'
    f'{table("", ["photo", "why"], [(photo, [escape(why)]) for photo, why in found.refused], numbers=False)}</div></section>' if found.refused else "",
  ]))
  return found


def _crop(photos: Path, out: Path, boxes: Path, margin: float, size: int, page: Path, say: Callable[[str], object]) -> Intake:
  if margin < 0 or size < 8:
    raise ValueError(f"margin {margin} and size {size}: at least 0, and at least 8 pixels")
  box_of = _read_boxes(boxes)
  found = walk(photos)
  for note in found.notes:
    say(note)
  if not found.paths:
    raise ValueError(f"{photos}: no photos below this folder")
  if unknown := sorted(set(box_of) - set(found.paths)):
    raise ValueError(f"{boxes}: {len(unknown):,} of {len(box_of):,} photos are not in {photos} (first: {unknown[0]!r})")
  if out.is_dir() and page.is_file():
    say(f"{out} is already complete")
    faces = len(walk(out).paths)
    return Intake(out, len(found.paths), faces, tuple((path, "no box") for path in found.paths if path not in box_of), page)
  refused, faces = [], 0
  with atomic_directory(out) as folder:
    for path, name in zip(found.paths, record_names(found.paths)):
      if path not in box_of:
        refused.append((path, "no box"))
        continue
      try:
        image_hwc = decode_image(read_bounded(photos / path), where=str(photos / path))
        face_hwc = square_of(image_hwc, box_of[path], margin)
      except ValueError as error:  # DamagedData is one
        refused.append((path, error.what if isinstance(error, DamagedData) else str(error)))
        continue
      target = inside(folder, f"{name}.jpg")
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_bytes(encode_jpeg(fit_image(face_hwc, (size, size))))
      faces += 1
    if not faces:
      raise ValueError(f"{photos}: none of the {len(found.paths):,} photos has a face; {refused[0][0]}: {refused[0][1]}")
  return Intake(out, len(found.paths), faces, tuple(refused), page)


def square_of(image_hwc: np.ndarray, box_4: tuple[float, float, float, float], margin: float) -> np.ndarray:
  """The square around a box with a margin; pixels outside the image repeat its border.

  Raises:
    ValueError: the box is empty or lies outside the image.
  """
  height, width = image_hwc.shape[:2]
  x0, y0, x1, y1 = box_4
  if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < width and y0 < height):
    raise ValueError(f"box {box_4} is empty or outside the {width}×{height} photo")
  side = max(round(max(x1 - x0, y1 - y0) * (1 + 2 * margin)), 1)
  left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
  row_h, column_w = np.clip(np.arange(top, top + side), 0, height - 1), np.clip(np.arange(left, left + side), 0, width - 1)
  return image_hwc[row_h[:, None], column_w[None, :]]


def _read_boxes(file: Path) -> dict[str, tuple[float, float, float, float]]:
  with open(file, encoding="utf-8-sig", newline="") as text:
    table = csv.DictReader(text)
    if not set(_COLUMNS) <= set(table.fieldnames or ()):
      raise ValueError(f"{file}: needs the columns {', '.join(_COLUMNS)}, has {', '.join(table.fieldnames or ())}")
    found: dict[str, tuple[float, float, float, float]] = {}
    for row in table:
      try:
        x0, y0, x1, y1 = (float(row[name]) for name in _COLUMNS[1:])
      except (TypeError, ValueError):
        raise ValueError(f"{file}, line {table.line_num}: a box is four numbers in pixels, not {[row[name] for name in _COLUMNS[1:]]}") from None
      if not np.isfinite([x0, y0, x1, y1]).all():
        raise ValueError(f"{file}, line {table.line_num}: a coordinate is not finite")
      found.setdefault(row["path"], (x0, y0, x1, y1))
  return found


__all__ = ["Intake", "clean_intake", "square_of"]
