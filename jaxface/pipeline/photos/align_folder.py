"""A folder of photos to a folder of aligned faces, resumable, with a table and a contact sheet."""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from jaxface.alignment import LandmarkFinder
from jaxface.detection import Detector, load_detector
from jaxface.formats.aligned import ALIGNED_FILE, Aligned, read_aligned, write_aligned
from jaxface.formats.atomic import atomic_file, remove_leftovers, write_text
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.formats.lock import FolderLock
from jaxface.formats.walk import record_names, walk
from jaxface.models.digests import variables_digest
from jaxface.pipeline.photos.faces import Face, PhotoFaces, find_faces

TABLE, SHEET = "faces.csv", "contact_sheet.html"
_JOURNAL = ".faces.jsonl"
_log = logging.getLogger(__name__)


class OtherSettings(ValueError):
  """The folder has faces that were aligned in another way."""


@dataclass(frozen=True)
class Row:
  """A face, or a photo without one, in the table.

  Attributes:
    photo: path below the folder of photos.
    image: path of the aligned face below the output folder; "" if there is none.
    refused: why there is no face; "" if there is one.
    found: number of faces found in the photo.
    face: number of this face among them, by falling score; -1 if there is none.
    score: of the detector.
    quality: see `face_quality`.
    scale: pixels of the aligned image per pixel of the photo.
    x0, y0, x1, y1: box in pixels of the photo.
    yaw, pitch, roll: pose in degrees, if the face was turned to the front; otherwise 0.
    visible: share of the face that the photo shows, likewise; otherwise 1.
  """

  photo: str
  image: str = ""
  refused: str = ""
  found: int = 0
  face: int = -1
  score: float = 0.0
  quality: float = 0.0
  scale: float = 0.0
  x0: float = 0.0
  y0: float = 0.0
  x1: float = 0.0
  y1: float = 0.0
  yaw: float = 0.0
  pitch: float = 0.0
  roll: float = 0.0
  visible: float = 1.0


@dataclass(frozen=True)
class AlignedFolder:
  """Result of `align_photos`.

  Attributes:
    folder: the output folder.
    rows: a row for each face and for each photo without one, in order of the photos.
    template: of the faces.
    notes: what was ignored in the folder of photos, a line each.
  """

  folder: Path
  rows: tuple[Row, ...]
  template: str
  notes: tuple[str, ...] = ()

  def summary(self) -> str:
    """Lines for a terminal: the counts, and the reasons of refusal."""
    refused = Counter(_kind(row.refused) for row in self.rows if row.refused)
    photos, faces = len({row.photo for row in self.rows}), sum(bool(row.image) for row in self.rows)
    several = len({row.photo for row in self.rows if row.image and row.found > 1})
    lines = [f"{self.folder}: {faces:,} faces of {photos:,} photos, aligned to {self.template}; {sum(refused.values()):,} photos refused"]
    lines += [f"  {count:,} × {reason}" for reason, count in refused.most_common()]
    if several:
      lines.append(f"  {several:,} {'photo has' if several == 1 else 'photos have'} more than one face")
    return "\n".join(lines)


def align_photos(
  photos: str | Path, out: str | Path, *, template: str = "arcface112", which: str = "main",
  detector: Detector | str | Path | None = None, frontal: LandmarkFinder | str | Path | None = None, quality: int = 95, sheet: bool = True,
  progress: bool = False,
  say: Callable[[str], object] = _log.info, done: Callable[[], object] | None = None,
) -> AlignedFolder:
  """Aligns the faces of a folder of photos.

  Folders are kept: `Person/photo.png` becomes `Person/photo.jpg`; with `which="all"` `Person/photo_0.jpg`, `Person/photo_1.jpg`, by
  falling score. `faces.csv` has a row for each face and each photo without one, `contact_sheet.html` shows them. A photo that cannot be
  read is refused, and the others go on. After an interruption the same call continues where it stopped.

  Args:
    photos: folder of photos, searched to any depth.
    out: folder to write, apart from `photos`.
    template: one of `jaxface.geometry.TEMPLATES`.
    which: "main", "largest", "central" or "all", see `find_faces`.
    detector: a detector, or the folder or name of one.
    frontal: a landmark model of 68 points, or its folder: faces are turned to the front (`jaxface.alignment.frontalise_faces`), and their poses
      are in the table. None aligns in the plane.
    quality: of the JPEG files, 1 to 100.
    sheet: write the contact sheet.
    progress: draw a progress bar.
    say: called with each line for the user.
    done: called after each photo.
  Returns:
    `AlignedFolder`.
  Raises:
    FileNotFoundError: no such folder, or no weights of the detector.
    ValueError: no photos in it, one of the folders is inside of the other, an unknown `which`, a quality out of range.
    OtherSettings: `out` has faces of other photos, or aligned in another way.
    FolderInUse: another process writes there.
    KeyError: an unknown template.
  """
  source, folder = Path(photos), Path(out)
  if not 1 <= quality <= 100:
    raise ValueError(f"quality is {quality}: JPEG has 1 to 100")
  if folder.resolve() == source.resolve() or folder.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(folder.resolve()):
    raise ValueError(f"{folder}: one of the folders is inside of the other; write the faces elsewhere than {source}")
  found = walk(source)
  if not found.paths:
    raise ValueError(f"{source}: no photos below this folder" + "".join(f". {note}" for note in found.notes))
  for note in found.notes:
    say(note)
  turner = LandmarkFinder(frontal) if isinstance(frontal, (str, Path)) else frontal
  finder = load_detector(detector) if detector is None or isinstance(detector, (str, Path)) else detector
  about = Aligned(
    template, which, finder.name, variables_digest(finder.params), quality, str(source.resolve()), turner.saved.digest if turner else "",
  )
  names = dict(zip(found.paths, record_names(found.paths)))
  folder.mkdir(parents=True, exist_ok=True)
  with FolderLock(folder, say=say):
    _check_settings(folder, about)
    rows_of = _read_journal(folder / _JOURNAL)
    waiting = [path for path in found.paths if path not in rows_of]
    for place in {(folder / names[path]).parent for path in waiting} if rows_of else ():
      remove_leftovers(place / "*")
    if rows_of and waiting:
      say(f"{folder}: {len(rows_of):,} photos are done; {len(waiting):,} are left")
    with open(folder / _JOURNAL, "a", encoding="utf-8") as journal, tqdm(
      total=len(found.paths), initial=len(found.paths) - len(waiting), unit="photo", desc="align", disable=not progress
    ) as bar:
      results = find_faces(
        [source / path for path in waiting], template=template, which=which, detector=finder, frontal=turner, done=bar.update
      )
      for path, result in zip(waiting, results):
        rows_of[path] = _write(folder, path, names[path], result, which, quality)
        journal.write(json.dumps([asdict(row) for row in rows_of[path]]) + "\n")
        journal.flush()
        if done:
          done()
    rows = tuple(row for path in found.paths for row in rows_of[path])
    _write_table(folder / TABLE, rows)
    made = AlignedFolder(folder, rows, template, found.notes)
    if sheet:
      from jaxface.pipeline.photos.contact_sheet import write_contact_sheet

      write_contact_sheet(folder / SHEET, made, source)
  return made


def _write(folder: Path, path: str, name: str, result: PhotoFaces, which: str, quality: int) -> list[Row]:
  if not result.faces:
    return [Row(path, refused=result.refused, found=result.found)]
  rows = []
  for face in result.faces:
    image = f"{name}_{face.number}.jpg" if which == "all" else f"{name}.jpg"
    with atomic_file(folder / PurePosixPath(image)) as file:
      file.write(encode_jpeg(face.image_hwc, quality=quality))
    rows.append(_row(path, image, result.found, face))
  return rows


def _row(path: str, image: str, found: int, face: Face) -> Row:
  x0, y0, x1, y1 = (round(float(value), 2) for value in face.box_4)
  pose = (0.0, 0.0, 0.0, 1.0) if face.pose is None else tuple(round(value, 2) for value in face.pose)
  return Row(path, image, "", found, face.number, round(face.score, 6), round(face.quality, 4), round(face.scale, 4), x0, y0, x1, y1, *pose)


def _check_settings(folder: Path, about: Aligned) -> None:
  """Writes the settings into a new folder; refuses a folder with others."""
  if not (folder / ALIGNED_FILE).is_file():
    write_aligned(folder, about)
    return
  before, now = asdict(read_aligned(folder)), asdict(about)
  differ = [f"{name} was {before[name]!r}, now {now[name]!r}" for name in now if before[name] != now[name]]
  if differ:
    raise OtherSettings(f"{folder}: its faces were aligned with other settings: {'; '.join(differ)}. Choose another folder, or delete it")


def _read_journal(path: Path) -> dict[str, list[Row]]:
  """Finished photos; a last line that a crash cut off is dropped."""
  if not path.is_file():
    return {}
  text = path.read_bytes()
  if text and not text.endswith(b"\n"):
    text = text[: text.rfind(b"\n") + 1]
    with atomic_file(path) as file:
      file.write(text)
  done: dict[str, list[Row]] = {}
  names = {one.name for one in fields(Row)}
  for number, line in enumerate(text.splitlines()):
    try:
      rows: list[Any] = json.loads(line)
      if not rows or any(set(row) != names for row in rows):
        raise ValueError("other entries")
      done[rows[0]["photo"]] = [Row(**row) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
      raise DamagedData(f"line {number + 1} cannot be read ({error}): delete the folder, and align again", file=path) from error
  return done


def _write_table(path: Path, rows: tuple[Row, ...]) -> None:
  text = io.StringIO()
  table = csv.DictWriter(text, [one.name for one in fields(Row)], lineterminator="\n")
  table.writeheader()
  table.writerows(asdict(row) for row in rows)
  write_text(path, text.getvalue())


def _kind(reason: str) -> str:
  """A reason without what differs from photo to photo."""
  return "the photo cannot be read" if reason and not reason.startswith(("no face", "the crop", "points")) else reason.partition(" of the ")[0]


def iter_faces(made: AlignedFolder) -> Iterator[tuple[str, Path]]:
  """(photo, file of the aligned face) of each face."""
  return ((row.photo, made.folder / row.image) for row in made.rows if row.image)


__all__ = ["AlignedFolder", "OtherSettings", "Row", "align_photos", "iter_faces"]
