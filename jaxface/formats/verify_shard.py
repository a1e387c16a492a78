"""Finds all faults of one shard and its index, even if the index is lost and lengths are damaged."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.formats.face import parse_face
from jaxface.formats.images import decode_image
from jaxface.formats.index import ShardIndex
from jaxface.formats.manifest import Shard
from jaxface.formats.recordset import load_index, map_file
from jaxface.formats.tfrecord import FRAME_BYTES, HEADER_BYTES, frame_fault, masked_crc32c

_HASH_BYTES = 1 << 24


@dataclass(frozen=True)
class ShardTask:
  """The task: a shard, the number of its first record, and the expected properties of all records."""

  folder: str
  shard: Shard
  first: int
  num_identities: int
  image_size: tuple[int, ...]


@dataclass
class ShardReport:
  """The result: faults, images by label, ids."""

  faults: list[DamagedData] = field(default_factory=list)
  images: Counter[int] = field(default_factory=Counter)
  ids: list[int] = field(default_factory=list)


def _header(buffer: Any, offset: int) -> int | None:
  """The length of a payload, if there is an undamaged header at the offset."""
  header = buffer[offset : offset + HEADER_BYTES]
  if len(header) < HEADER_BYTES:
    return None
  length, crc = struct.unpack("<QI", header)
  return length if masked_crc32c(header[:8]) == crc else None


def _next_header(buffer: Any, offset: int) -> int:
  """Offset of the next undamaged header, found by the four zero bytes of the upper half of its length."""
  zeros = buffer.find(bytes(4), offset + FRAME_BYTES + 4)
  while zeros >= 0:
    if _header(buffer, zeros - 4) is not None:
      return zeros - 4
    zeros = buffer.find(bytes(4), zeros + 1)
  return len(buffer)


def frames(buffer: Any, index: ShardIndex | None) -> Iterator[tuple[int, int]]:
  """Positions of records: from the index, or from their headers, skipping damaged ones.

  Without an index, consecutive records with damaged headers count as one.

  Args:
    buffer: the complete shard.
    index: index of the shard, if there is one.
  Returns:
    An iterator of (offset, length of the payload); after a damaged header the length extends to the next one.
  """
  if index is not None:
    yield from zip(index.entry_n["offset"].tolist(), index.entry_n["length"].tolist())
    return
  offset = 0
  while offset < len(buffer):
    length = _header(buffer, offset)
    if length is None:
      length = max(0, _next_header(buffer, offset) - offset - FRAME_BYTES)
    yield offset, length
    offset += FRAME_BYTES + length


def check_shard(task: ShardTask) -> ShardReport:
  """Reads and checks a complete shard.

  Args:
    task: the task.
  Returns:
    The report.
  """
  report, folder, shard = ShardReport(), Path(task.folder), task.shard
  path = folder / shard.file
  if not path.is_file():
    report.faults.append(DamagedData(f"shard with {shard.records} records is missing", file=path))
    return report
  buffer = map_file(path)
  index = None
  try:
    index = load_index(folder, shard)
  except DamagedData as fault:
    if fault.file != str(path):  # damage of the shard itself is reported below, record by record
      report.faults.append(fault)
  digest = hashlib.sha256()
  for start in range(0, len(buffer), _HASH_BYTES):
    digest.update(buffer[start : start + _HASH_BYTES])
  if len(buffer) != shard.bytes:
    report.faults.append(DamagedData(f"shard has {len(buffer)} bytes, {shard.bytes} in the manifest", file=path))
  number = 0
  for number, (offset, length) in enumerate(frames(buffer, index), start=1):
    record = task.first + number - 1
    try:
      _check_record(task, report, buffer[offset : offset + FRAME_BYTES + length], index, number - 1)
    except DamagedData as fault:
      report.faults.append(DamagedData(fault.what, file=path, offset=offset, record=record))
  if number != shard.records:
    report.faults.append(DamagedData(f"shard has {number} records, {shard.records} in the manifest", file=path))
  if digest.hexdigest() != shard.sha256 and not report.faults:
    report.faults.append(DamagedData("SHA-256 does not match the manifest, although every record is intact", file=path))
  return report


def _check_record(task: ShardTask, report: ShardReport, framed: bytes, index: ShardIndex | None, number: int) -> None:
  what = frame_fault(framed, max(0, len(framed) - FRAME_BYTES) if index is None else int(index.entry_n["length"][number]))
  if what:
    raise DamagedData(what)
  face = parse_face(framed[HEADER_BYTES : len(framed) - 4])
  if index is not None:
    listed = (int(index.entry_n["label"][number]), int(index.entry_n["id"][number]), index.names[number])
    if listed != (face.label, face.id, face.name):
      raise DamagedData(f"label, id, name are {(face.label, face.id, face.name)}, {listed} in the index")
  if not 0 <= face.label < task.num_identities:
    raise DamagedData(f"label is {face.label}, should be 0 to {task.num_identities - 1}")
  report.ids.append(face.id)
  report.images[face.label] += 1
  try:
    shape = decode_image(face.image, where=face.name).shape
  except DamagedData as fault:
    raise DamagedData(f"image {face.name!r}: {fault.what}") from fault
  if shape != task.image_size:
    raise DamagedData(f"image {face.name!r} has shape {shape}, {task.image_size} in the manifest")
