"""Reads files whose kind and size are checked first."""

import os
import stat
from pathlib import Path

from jaxface.formats.errors import DamagedData

MAX_FILE_BYTES = 256_000_000


def read_bounded(path: Path) -> bytes:
  """Reads a file unless it is huge or not a regular file.

  Args:
    path: the file.
  Returns:
    Its bytes.
  Raises:
    DamagedData: it cannot be read, is huge, or is not a regular file.
  """
  try:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
      raise DamagedData("not a regular file", file=path)
    if status.st_size > MAX_FILE_BYTES:
      raise DamagedData(f"huge file: {status.st_size:,} bytes, at most {MAX_FILE_BYTES:,} are read", file=path)
    return path.read_bytes()
  except OSError as error:
    raise DamagedData(f"cannot be read: {error.strerror}", file=path) from error


__all__ = ["MAX_FILE_BYTES", "read_bounded"]
