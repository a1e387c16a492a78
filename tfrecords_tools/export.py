"""export OUT DIR: a packed set becomes folders of images again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from jaxface.formats.atomic import atomic_directory, inside
from jaxface.formats.errors import UnsafePath
from jaxface.formats.recordset import RecordSet

SUMMARY = "write a packed set back as a folder of images per identity"


def image_path(root: Path, identity: str, name: str) -> Path:
  """Where a record's image goes: its name, below its identity's folder.

  Args:
    root: the folder of the export.
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


def export(out: Path, folder: Path, *, progress: bool = False) -> int:
  """Writes every record's image, as stored.

  Args:
    out: the packed set.
    folder: where to; must not exist.
    progress: whether to draw a progress bar on the error stream.
  Returns:
    The number of images.
  Raises:
    DamagedData: a damaged record; nothing is left at `folder`.
    UnsafePath: a record's name would leave `folder`.
    FileExistsError: something stands at `folder`.
  """
  records = RecordSet.open(out)
  with atomic_directory(folder) as root:
    numbers = range(records.num_records)
    for record in tqdm(numbers, desc="exporting", unit="img", disable=not progress, file=sys.stderr):
      face = records.face(record)
      path = image_path(root, records.identity_names[face.label], face.name)
      path.parent.mkdir(parents=True, exist_ok=True)
      with open(path, "xb") as file:
        file.write(face.image)
  return records.num_records


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's arguments.

  Args:
    parser: of the subcommand.
  """
  parser.add_argument("out", type=Path, metavar="OUT", help="packed set")
  parser.add_argument("dir", type=Path, metavar="DIR", help="folder to write, must not exist")


def run(arguments: argparse.Namespace) -> int:
  """Exports, and prints what became of it.

  Args:
    arguments: as declared.
  Returns:
    The exit code.
  """
  count = export(arguments.out, arguments.dir, progress=sys.stderr.isatty())
  print(f"{arguments.dir}: {count:,} images")
  return 0
