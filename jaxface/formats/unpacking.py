"""A packed set becomes folders of images again."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from jaxface.formats.atomic import atomic_directory, inside
from jaxface.formats.errors import UnsafePath
from jaxface.formats.recordset import RecordSet


def image_path(root: Path, identity: str, name: str) -> Path:
  """Where a record's image goes: its name, below its identity's folder.

  Args:
    root: the folder that is written.
    identity: name of the identity.
    name: name of the record; often begins with that of the identity already.
  Returns:
    A path inside root.
  Raises:
    UnsafePath: identity or name would leave root.
  """
  relative = name if name.startswith(f"{identity}/") else f"{identity}/{name}"
  if name.startswith("/"):
    raise UnsafePath(f"record {name!r} of identity {identity!r} would leave {root}")
  return inside(root, f"{relative}.jpg")


def unpack(path: str | Path, folder: str | Path, *, progress: bool = False) -> int:
  """Writes every record's image, as stored.

  Args:
    path: the packed set.
    folder: where to; must not exist.
    progress: whether to draw a progress bar on the error stream.
  Returns:
    The number of images.
  Raises:
    DamagedData: a damaged record; nothing is left at `folder`.
    UnsafePath: a record's name would leave `folder`.
    FileExistsError: something stands at `folder`.
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
