"""TFRecord framing: length, masked CRC32C of the length, payload, masked CRC32C of the payload."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxface.formats.errors import DamagedData

HEADER_BYTES = 12
FOOTER_BYTES = 4
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES

_HEADER = struct.Struct("<QI")
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def masked_crc32c(data: bytes) -> int:
  """CRC32C rotated right by 15 bits plus a constant, so that the CRC of data that contain CRCs remains effective.

  Args:
    data: bytes (the C extension takes no writable or wrapped buffers).
  Returns:
    The checksum as an unsigned 32-bit number.
  Source: TensorFlow, `tensorflow/core/lib/hash/crc32c.h`.
  """
  import google_crc32c  # see jaxface/formats/images.py

  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
  """One framed record.

  Args:
    payload: the record's bytes.
  Returns:
    `len(payload) + 16` bytes, ready to be appended to a shard.
  """
  length = _LENGTH.pack(len(payload))
  return b"".join((length, _CRC.pack(masked_crc32c(length)), payload, _CRC.pack(masked_crc32c(payload))))


def frame_fault(framed: bytes, length: int) -> str | None:
  """Describes the fault of a framed record, if any.

  Args:
    framed: the bytes of the frame, as far as the file contains them.
    length: expected length of the payload, from the index or the next record.
  Returns:
    None, or a description that names the damaged part.
  """
  if len(framed) < FRAME_BYTES + length:
    return f"truncated: {FRAME_BYTES + length} bytes expected, {len(framed)} left in the file"
  found, crc = _HEADER.unpack_from(framed)
  if masked_crc32c(framed[:8]) != crc:
    if found == length:
      return "checksum of the length is damaged (the length itself is as expected)"
    return f"length is damaged: {found} read, {length} expected"
  if found != length:
    return f"length is {found}, {length} expected"
  if masked_crc32c(framed[HEADER_BYTES:-FOOTER_BYTES]) != _CRC.unpack_from(framed, HEADER_BYTES + length)[0]:
    return f"payload of {length} bytes does not match its checksum: one of the two is damaged"
  return None


def scan(buffer: Any, *, file: str) -> Iterator[tuple[int, int]]:
  """Walks the frames of a shard by their length headers, without reading payloads.

  Args:
    buffer: the complete shard; anything whose slices are bytes (bytes, mmap).
    file: name for messages.
  Returns:
    An iterator of (offset of the frame, length of the payload).
  Raises:
    DamagedData: a length that does not match its checksum, or a truncated last record; names file, offset, and the
      record's number in this file.
  """
  offset, total, record = 0, len(buffer), 0
  while offset < total:
    header = buffer[offset : offset + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
      what = f"truncated shard: {len(header)} bytes left, but a record header has {HEADER_BYTES}"
      raise DamagedData(what, file=file, offset=offset, record=record)
    length, crc = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != crc:
      what = f"length of a record ({length}) does not match its checksum"
      raise DamagedData(what, file=file, offset=offset, record=record)
    if offset + FRAME_BYTES + length > total:
      what = f"truncated shard: a record of {FRAME_BYTES + length} bytes begins {total - offset} bytes before the end"
      raise DamagedData(what, file=file, offset=offset, record=record)
    yield offset, length
    offset += FRAME_BYTES + length
    record += 1


def offsets(buffer: Any, *, file: str) -> tuple[np.ndarray, np.ndarray]:
  """All frames of a shard.

  Args:
    buffer: as for `scan`.
    file: name for messages.
  Returns:
    offset_n and length_n, both int64.
  Raises:
    DamagedData: as `scan`.
  """
  pairs = np.array(list(scan(buffer, file=file)), dtype=np.int64).reshape(-1, 2)
  return pairs[:, 0], pairs[:, 1]
