"""MXNet's RecordIO: where the records of a `.rec` file are, and their labels.

```
frame    uint32 0xCED7230A, uint32 kind << 29 | length, length bytes, zeros to a multiple of 4
record   one frame of kind 0, or frames of kinds 1, 2 … 2, 3, joined by the bytes of the magic number
content  uint32 flag, float32 label, uint64 id, uint64 id2, flag × float32 labels, an image file
```

Sources: dmlc-core, `include/dmlc/recordio.h`; MXNet, `python/mxnet/recordio.py` (`IRHeader`); InsightFace, `face2rec2.py`: record 0 has no image, and its two
labels are the key after the last image and the one after the last record.
"""

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from jaxface.formats.errors import DamagedData

MAGIC = struct.pack("<I", 0xCED7230A)
Buffer = bytes | mmap.mmap
WHOLE, FIRST, MIDDLE, LAST = range(4)
_FRAME = struct.Struct("<4sI")
_HEADER = struct.Struct("<IfQQ")
_LENGTH = (1 << 29) - 1
_STEP = 1 << 24  # bytes between two calls of `advance`
MOST_LABELS = 1 << 16


@dataclass(frozen=True, eq=False)
class RecordIndex:
  """The records of a file in its order, with those that have no image.

  Attributes:
    offset_n: [N] int64 offset of the first frame.
    end_n: [N] int64 offset after the last frame.
    image_n: [N] int64 offset of the image file in the content.
    label_n: [N] float64 first label.
    bound_n: [N] float64 second label, NaN if there is one only.
    bytes_n: [N] int64 bytes of the image file, 0 without one.
    crc_n: [N] uint32 CRC-32 of it.
    sha256: digest of the file.
  """

  offset_n: np.ndarray
  end_n: np.ndarray
  image_n: np.ndarray
  label_n: np.ndarray
  bound_n: np.ndarray
  bytes_n: np.ndarray
  crc_n: np.ndarray
  sha256: str

  def __len__(self) -> int:
    return len(self.offset_n)


# The arrays of `RecordIndex`, in its order.
ARRAYS = {"offset_n": "<i8", "end_n": "<i8", "image_n": "<i8", "label_n": "<f8", "bound_n": "<f8", "bytes_n": "<i8", "crc_n": "<u4"}


def read_frames(data: Buffer, offset: int, file: Path | str) -> tuple[bytes, int]:
  """The content of the record at an offset, and the offset after it.

  Args:
    data: the file, such as a memory map.
    offset: where its first frame begins.
    file: for messages.
  Raises:
    DamagedData: another magic number, an unknown order of frames, or an end within a frame.
  """
  parts: list[bytes] = []
  begin, size = offset, len(data)
  while True:
    if offset + _FRAME.size > size:
      raise DamagedData("the file ends within a record", file=str(file), offset=begin)
    magic, word = _FRAME.unpack_from(data, offset)
    if magic != MAGIC:
      raise DamagedData("no record of RecordIO begins here", file=str(file), offset=offset)
    kind, length = word >> 29, word & _LENGTH
    if kind not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
      raise DamagedData(f"frame of kind {kind} {'within' if parts else 'at the beginning of'} a record", file=str(file), offset=offset)
    start, offset = offset + _FRAME.size, offset + _FRAME.size + (length + 3) // 4 * 4
    if start + length > size:
      raise DamagedData("the file ends within a record", file=str(file), offset=begin)
    parts.append(bytes(data[start : start + length]))
    if kind in (WHOLE, LAST):
      return MAGIC.join(parts), min(offset, size)


def read_header(content: bytes, file: Path | str, offset: int) -> tuple[list[float], int]:
  """Labels of a record, and the offset of its image file in the content.

  Raises:
    DamagedData: shorter than its header says.
  """
  if len(content) < _HEADER.size:
    raise DamagedData(f"content of {len(content)} bytes, a header alone has {_HEADER.size}", file=str(file), offset=offset)
  flag, label, _, _ = _HEADER.unpack_from(content)
  if not flag:
    return [label], _HEADER.size
  if flag > MOST_LABELS or _HEADER.size + 4 * flag > len(content):
    raise DamagedData(f"header has {flag:,} labels, but the content {len(content):,} bytes", file=str(file), offset=offset)
  return list(struct.unpack_from(f"<{min(flag, 2)}f", content, _HEADER.size)), _HEADER.size + 4 * flag


def scan(data: Buffer, file: Path | str, advance: Callable[[int], object] = lambda count: None) -> RecordIndex:
  """Reads a file from end to end.

  Args:
    data: the file, such as a memory map.
    file: for messages.
    advance: called with numbers of bytes just read.
  Raises:
    DamagedData: see `read_frames` and `read_header`; names the offset.
  """
  rows, total, told = [], sha256(), 0
  for offset, content, end in _records(data, file):
    labels, at = read_header(content, file, offset)
    image = memoryview(content)[at:]
    rows.append((offset, end, at, labels[0], labels[1] if len(labels) > 1 else np.nan, len(image), zlib.crc32(image)))
    if end - told >= _STEP:
      total.update(data[told:end])
      advance(end - told)
      told = end
  total.update(data[told:])
  advance(len(data) - told)
  columns = list(zip(*rows)) or [()] * len(ARRAYS)
  arrays = {name: np.array(column, kind) for column, (name, kind) in zip(columns, ARRAYS.items())}
  return RecordIndex(**arrays, sha256=total.hexdigest())


def _records(data: Buffer, file: Path | str) -> Iterator[tuple[int, bytes, int]]:
  offset = 0
  while offset < len(data):
    content, end = read_frames(data, offset, file)
    yield offset, content, end
    offset = end


def read_keys(file: Path) -> dict[int, int]:
  """The keys of records by offset, from an `.idx` file with a key and an offset per line.

  Raises:
    DamagedData: a line is not two numbers, or an offset or a key stands twice; names the line.
  """
  keys: dict[int, int] = {}
  seen: set[int] = set()
  for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
    cells = line.split()
    if len(cells) != 2 or not all(cell.isascii() and cell.isdecimal() for cell in cells):
      raise DamagedData(f"line {number} is {line[:60]!r}, should be a key and an offset", file=str(file))
    key, offset = map(int, cells)
    if offset in keys or key in seen:
      raise DamagedData(f"line {number}: {'offset' if offset in keys else 'key'} {offset if offset in keys else key} stands twice", file=str(file))
    keys[offset] = key
    seen.add(key)
  return keys


__all__ = ["ARRAYS", "MAGIC", "RecordIndex", "read_frames", "read_header", "read_keys", "scan"]
