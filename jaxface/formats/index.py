"""The index of a shard: position, label, id and name of each record."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.example import locate_bytes
from jaxface.formats.face import parse_face
from jaxface.formats.tfrecord import FRAME_BYTES, HEADER_BYTES, frame_fault, scan

# image_at counts from the start of the frame, so that pixels are one slice away from the shard.
ENTRY = np.dtype(
  [
    ("offset", "<i8"),
    ("length", "<i4"),
    ("label", "<i4"),
    ("id", "<i8"),
    ("image_at", "<i4"),
    ("image_length", "<i4"),
  ]
)


@dataclass(frozen=True)
class ShardIndex:
  """Contents of a shard's index.

  Args:
    entry_n: [N] of `ENTRY`: offset of the frame, length of the payload, label, record id, position of the image.
    names: the records' names.
  """

  entry_n: np.ndarray
  names: list[str]

  @property
  def shard_bytes(self) -> int:
    """Size in bytes of a complete shard with these records."""
    return int(self.entry_n["length"].sum(dtype=np.int64)) + FRAME_BYTES * len(self.entry_n)


def index_entry(payload: bytes, offset: int) -> tuple[tuple[int, int, int, int, int, int], str]:
  """The index entry of one record.

  Args:
    payload: the record's payload.
    offset: offset of its frame in the shard.
  Returns:
    (a row of `ENTRY`, the record's name).
  Raises:
    DamagedData: the payload is not a face.
  """
  face = parse_face(payload)
  start, length = locate_bytes(payload, "image")
  return (offset, len(payload), face.label, face.id, HEADER_BYTES + start, length), face.name


def make_index(lines: Iterable[tuple[tuple[int, int, int, int, int, int], str]]) -> ShardIndex:
  """Collects results of `index_entry`.

  Args:
    lines: one (row, name) per record, in the shard's order.
  Returns:
    The index.
  """
  rows, names = [], []
  for row, name in lines:
    rows.append(row)
    names.append(name)
  return ShardIndex(np.array(rows, dtype=ENTRY), names)


def build_index(buffer: Any, *, file: str) -> ShardIndex:
  """Rebuilds the index from a shard, verifying every byte.

  Args:
    buffer: the complete shard; anything whose slices are bytes (bytes, mmap).
    file: name for messages.
  Returns:
    The index.
  Raises:
    DamagedData: a damaged or truncated record; names file, offset and the record's number in the file.
  """

  def lines():
    for record, (offset, length) in enumerate(scan(buffer, file=file)):
      framed = buffer[offset : offset + FRAME_BYTES + length]
      fault = frame_fault(framed, length)
      if fault:
        raise DamagedData(fault, file=file, offset=offset, record=record)
      try:
        yield index_entry(framed[HEADER_BYTES : HEADER_BYTES + length], offset)
      except DamagedData as error:
        raise DamagedData(error.what, file=file, offset=offset, record=record) from error

  return make_index(lines())


def index_bytes(index: ShardIndex) -> bytes:
  """Serialises an index (an uncompressed .npz without pickles); equal indexes give equal bytes.

  Args:
    index: the index.
  Returns:
    The content of its file.
  """
  encoded = [name.encode() for name in index.names]
  file = io.BytesIO()
  np.savez(
    file,
    entry_n=index.entry_n,
    name_end_n=np.cumsum([len(name) for name in encoded], dtype=np.int64),
    name_bytes=np.frombuffer(b"".join(encoded), np.uint8),
  )
  return file.getvalue()


def write_index(path: str | Path, index: ShardIndex) -> str:
  """Writes an index, atomically.

  Args:
    path: the file, ending in .npz.
    index: the index.
  Returns:
    SHA-256 of the file, in hex.
  """
  content = index_bytes(index)
  with atomic_file(path) as file:
    file.write(content)
  return hashlib.sha256(content).hexdigest()


def read_index(content: bytes, *, file: str) -> ShardIndex:
  """Reads an index and checks its consistency.

  Args:
    content: contents of an index file.
    file: name for messages.
  Returns:
    The index.
  Raises:
    DamagedData: it cannot be read, or its records are not contiguous.
  """
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
      entry_n, end_n = arrays["entry_n"], arrays["name_end_n"]
      text = arrays["name_bytes"].tobytes()
    if entry_n.dtype != ENTRY or end_n.shape != entry_n.shape or (len(end_n) and end_n[-1] != len(text)):
      raise ValueError("arrays have the wrong dtype or size")
    frame_n = entry_n["length"].astype(np.int64) + FRAME_BYTES
    if not np.array_equal(entry_n["offset"], np.cumsum(frame_n) - frame_n):
      raise ValueError("records are not contiguous")
    start_n = np.concatenate([[0], end_n[:-1]])
    names = [text[start:end].decode() for start, end in zip(start_n.tolist(), end_n.tolist())]
  except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise DamagedData(f"index cannot be read: {error}", file=file) from error
  return ShardIndex(entry_n, names)
