"""The files of a source: in a folder, or in one record file."""

from pathlib import Path

from jaxface.formats.bounded import read_bounded
from jaxface.formats.recordio_set import opened


def in_container(root: Path) -> bool:
  """Whether the root of a source is a record file, whose members are named by their number."""
  return root.suffix == ".rec" and root.is_file()


def read_member(root: Path, path: str) -> bytes:
  """The bytes of an image of a source.

  Args:
    root: the folder, or a `.rec` file.
    path: relative to the folder, or the number of the record.
  Raises:
    DamagedData: it cannot be read, is huge or not a regular file, or its bytes have changed.
  """
  return bytes(opened(root).image(int(path))) if in_container(root) else read_bounded(root / path)


__all__ = ["in_container", "read_member"]
