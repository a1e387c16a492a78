"""Errors of external files: damaged bytes, full disks, and paths that leave their root."""

from __future__ import annotations

import errno
from pathlib import Path

# Numbers of an `OSError` that say that a disk is full.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class DamagedData(ValueError):
  """Damaged bytes; the message names file, offset and record as far as they are known.

  Args:
    what: what is wrong, and what would be right.
    file: the file.
    offset: position in bytes from the start of that file.
    record: number of the record in its record set.
  """

  def __init__(
    self,
    what: str,
    *,
    file: str | Path | None = None,
    offset: int | None = None,
    record: int | None = None,
  ):
    self.what = what
    self.file = None if file is None else str(file)
    self.offset = None if offset is None else int(offset)
    self.record = None if record is None else int(record)
    parts = [self.file]
    parts += [None if self.offset is None else f"offset {self.offset}"]
    parts += [None if self.record is None else f"record {self.record}"]
    where = ", ".join(part for part in parts if part is not None)
    super().__init__(f"{where}: {what}" if where else what)

  def __reduce__(self):
    return _rebuild, (self.what, self.file, self.offset, self.record)


def _rebuild(what: str, file: str | None, offset: int | None, record: int | None) -> DamagedData:
  return DamagedData(what, file=file, offset=offset, record=record)


class UnsafePath(ValueError):
  """A path from a list or an archive that would leave its root."""
