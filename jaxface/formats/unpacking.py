"""Unpacks a packed set into folders of images."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from jaxface.formats.atomic import atomic_directory, inside
from jaxface.formats.errors import UnsafePath
from jaxface.formats.recordset import RecordSet


def image_path(root: Path, identity: str, name: str) -> Path:
  """Path of a record's image: its name, in its identity's folder.

  Args:
    root: the folder that is written.
    identity: name of the identity.
    name: name of the record; may already begin with that of the identity.
  Returns:
    A path inside root.
  Raises:
    UnsafePath: identity or name would be outside root.
  """
  relative = name if name.startswith(f"{identity}/") else f"{identity}/{name}"
  if name.startswith("/"):
    raise UnsafePath(f"record {name!r} of identity {identity!r} would be written outside {root}")
  return inside(root, f"{relative}.jpg")


def unpack(path: str | Path, folder: str | Path, *, progress: bool = False) -> int:
  """Writes every record's image, as stored.

  Args:
    path: the packed set.
    folder: output folder; must not exist.
    progress: whether to draw a progress bar on the error stream.
  Returns:
    The number of images.
  Raises:
    DamagedData: a damaged record; nothing is left at `folder`.
    UnsafePath: a record's path would be outside `folder`.
    FileExistsError: `folder` exists.
  """
  records = RecordSet.open(path)
  with atomic_directory(folder) as root:
    numbers = range(records.num_records)
    for record in tqdm(numbers, desc="unpacking", unit="img", disable=not progress, file=sys.stderr):
      face = records.face(record)
      target = image_path(root, records.identity_names[face.label], face.name)
      target.parent.mkdir(parents=True, exist_ok=True)
      with open(target, "xb") as file:
        file.write(face.image)
  return records.num_records


__all__ = ["image_path", "unpack"]
