"""`aligned.json`: how the faces of a folder were aligned; everything that reads the folder takes the template from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData

ALIGNED_FILE = "aligned.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Aligned:
  """How the faces of a folder were aligned.

  Attributes:
    template: one of `jaxface.geometry.TEMPLATES`.
    which: which faces of a photo were taken: "main", "largest", "central" or "all".
    detector: its name.
    digest: of its parameters, in hex.
    quality: of the JPEG files.
    photos: folder of the photos.
    frontal: digest of the landmark model by which the faces were turned to the front; "" if they were not.
  """

  template: str
  which: str
  detector: str
  digest: str
  quality: int
  photos: str
  frontal: str = ""


def write_aligned(folder: str | Path, aligned: Aligned) -> None:
  """Writes the file into a folder, atomically."""
  write_checked_json(Path(folder) / ALIGNED_FILE, {"format_version": FORMAT_VERSION, **asdict(aligned)})


def read_aligned(folder: str | Path) -> Aligned:
  """Reads the file of a folder.

  Raises:
    FileNotFoundError: the folder has none.
    DamagedData: a damaged file, or one of another version.
  """
  file = Path(folder) / ALIGNED_FILE
  plain = read_checked_json(file)
  if plain.get("format_version") != FORMAT_VERSION:
    raise DamagedData(f"format_version {plain.get('format_version')!r}, this release reads {FORMAT_VERSION}", file=file)
  plain.setdefault("frontal", "")  # not in files of older releases
  kinds = {one.name: int if one.name == "quality" else str for one in fields(Aligned)}
  if wrong := [name for name, kind in kinds.items() if not isinstance(plain.get(name), kind)]:
    raise DamagedData(f"entry {wrong[0]!r} is absent or of another kind", file=file)
  return Aligned(**{name: plain[name] for name in kinds})


def folder_template(folder: str | Path) -> str:
  """The template to which `jaxface align` aligned the faces of a folder; "" if the folder does not say.

  Raises:
    DamagedData: the folder has a damaged file.
  """
  return read_aligned(folder).template if (Path(folder) / ALIGNED_FILE).is_file() else ""


def known_template(folder: str | Path, given: str = "") -> str:
  """The template of the faces of a folder: the given one, or that of `jaxface align`; "" if neither is known.

  Args:
    folder: folder of images, or one image.
    given: what the user says; "none" for aligned to no template.
  Raises:
    ValueError: the folder says otherwise.
    DamagedData: the folder has a damaged file.
  """
  recorded = folder_template(folder) if Path(folder).is_dir() else ""
  if given and recorded and given != recorded:
    raise ValueError(f"{folder}: `jaxface align` aligned these faces to {recorded} ({ALIGNED_FILE}), but the given template is {given}")
  return given or recorded


__all__ = ["ALIGNED_FILE", "Aligned", "folder_template", "known_template", "read_aligned", "write_aligned"]
