"""The files of a source: in a folder, or in a container."""

from pathlib import Path

from jaxface.formats.bounded import read_bounded
from jaxface.formats.containers import in_container, opened
from jaxface.formats.remote_source import RemoteFolder


def read_member(root: Path, path: str) -> bytes:
  """The bytes of an image of a source.

  Args:
    root: the folder, or a container, see `find_container`.
    path: relative to the folder, or the number of the record.
  Raises:
    DamagedData: it cannot be read, is huge or not a regular file, or its bytes have changed.
  """
  if isinstance(root, RemoteFolder):
    return (root / path).read()
  return bytes(opened(root).image(int(path))) if in_container(root) else read_bounded(root / path)


__all__ = ["read_member"]
