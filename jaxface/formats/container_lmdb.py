"""The images of an LMDB of image files, by one of two rules of keys; pickled values are refused.

```
numbered  num-samples, image-000000001 … : an image file; label-000000001 … : its label as text
paths     IDENTITY/NAME: an image file
```
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.formats.member_index import Member, label_text, number_or_name

COUNT = b"num-samples"
_STARTS = (b"\xff\xd8", b"\x89PNG", b"BM", b"RIFF", b"GIF8", b"II*\0", b"MM\0*", b"P5", b"P6")


def lmdb_members(files: list[Path], notes: list[str]) -> Iterator[Member]:
  """The images of a database, in the order of its keys.

  Args:
    files: `data.mdb`.
    notes: gets a line on keys that are no images.
  Raises:
    DamagedData: the file is damaged, a sample is missing, or a value is pickled.
  """
  (file,) = files
  lmdb = _library()
  try:
    with _environment(file).begin() as reading:
      count = reading.get(COUNT)
      yield from (_paths(file, reading, notes) if count is None else _numbered(file, reading, bytes(count)))
  except lmdb.Error as error:
    raise DamagedData(f"not a complete LMDB: {error}", file=str(file)) from error


def lmdb_value(file: Path, key: str) -> bytes:
  """The value of a key.

  Raises:
    DamagedData: it is not there, or the file is damaged.
  """
  lmdb = _library()
  try:
    with _environment(file).begin() as reading:
      value = reading.get(key.encode())
  except lmdb.Error as error:
    raise DamagedData(f"not a complete LMDB: {error}", file=str(file)) from error
  if value is None:
    raise DamagedData(f"no key {key!r}", file=str(file))
  return value


def _numbered(file: Path, reading: Any, count: bytes) -> Iterator[Member]:
  if not count.strip().isdigit():
    raise DamagedData(f"{COUNT.decode()} is {count[:20]!r}, should be a number", file=str(file))
  for number in range(1, int(count) + 1):
    found = None
    for width in (9, 6, 8):
      key, label = f"image-{number:0{width}d}", f"label-{number:0{width}d}"
      found = reading.get(key.encode()), reading.get(label.encode())
      if found[0] is not None:
        break
    if found is None or found[0] is None or found[1] is None:
      raise DamagedData(f"{COUNT.decode()} is {int(count):,}, but sample {number} has no {'image' if found is None or found[0] is None else 'label'}", file=str(file), record=number)
    identity = number_or_name(bytes(found[1]).decode("utf-8", "replace").strip(), f"{file}, {label}")
    yield Member(f"{identity}/{number}", identity, found[0], key=key)


def _paths(file: Path, reading: Any, notes: list[str]) -> Iterator[Member]:
  others = []
  for raw, value in reading.cursor():
    key = bytes(raw).decode("utf-8", "replace")
    if key.count("/") and value.startswith(_STARTS):
      identity = key.split("/", 1)[0]
      yield Member(key, label_text(identity, f"{file}, {key}"), value, key=key)
    elif value[:1] == b"\x80" and value[-1:] == b".":
      raise DamagedData(f"the value of {key!r} is pickled, which is not read: write image files under IDENTITY/NAME", file=str(file))
    else:
      others.append(key)
  if others:
    notes.append(f"{len(others):,} keys of {file} are not IDENTITY/NAME with an image: ignored (first: {others[0]!r}).")


def _library() -> Any:
  try:
    import lmdb
  except ImportError as error:
    raise ModuleNotFoundError("reading LMDB needs the package lmdb: pip install 'jaxface[lmdb]'") from error
  return lmdb


# By device, inode and process: LMDB must not open a file twice in a process, nor use it after a fork.
_open: dict[tuple[int, int, int], Any] = {}


def _environment(file: Path) -> Any:
  """An open database."""
  status = os.stat(file)
  key = (status.st_dev, status.st_ino, os.getpid())
  if key not in _open:
    _open[key] = _opened(file)
  return _open[key]


def _opened(file: Path) -> Any:
  return _library().open(str(file), subdir=False, readonly=True, lock=False, readahead=False, meminit=False, max_readers=126)


__all__ = ["lmdb_members", "lmdb_value"]
