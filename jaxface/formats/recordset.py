"""Random access to a packed set of faces, from any number of threads."""

from __future__ import annotations

import hashlib
import logging
import mmap
import threading
from pathlib import Path

import numpy as np

from jaxface.formats.blocks import BlockFile
from jaxface.formats.errors import DamagedData
from jaxface.formats.face import Face, parse_face
from jaxface.formats.identities import read_identities
from jaxface.formats.index import ShardIndex, build_index, index_bytes, read_index, write_index
from jaxface.formats.manifest import FILE, Manifest, Shard, read_manifest
from jaxface.formats.remote import is_url
from jaxface.formats.remote_set import RemoteFile, RemoteShards, local_copy
from jaxface.formats.tfrecord import FRAME_BYTES, HEADER_BYTES, frame_fault

_log = logging.getLogger(__name__)


def map_file(path: Path) -> mmap.mmap | bytes:
  """Maps a file for reading.

  Args:
    path: the file; an empty one gives empty bytes, since it cannot be mapped.
  Returns:
    A buffer whose slices are bytes.
  """
  with open(path, "rb") as file:
    if path.stat().st_size == 0:
      return b""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def small_files(path: str | Path) -> Path:
  """The folder with manifest, identities and indexes of a packed set: the set itself, or copies from a URL."""
  return local_copy(str(path)) if is_url(path) else Path(path)


def _rebuilt_index(folder: Path, shard: Shard, why: str) -> ShardIndex:
  """Rebuilds a lost index; keeps it in memory only if the folder is read-only."""
  _log.warning("%s: index %s; rebuilding it from %s", folder / shard.index, why, shard.file)
  index = build_index(map_file(folder / shard.file), file=str(folder / shard.file))
  if hashlib.sha256(index_bytes(index)).hexdigest() != shard.index_sha256:
    what = f"{shard.file} has {len(index.names)} records, which are not those of the manifest"
    raise DamagedData(f"manifest disagrees: {what}; pack the set again", file=folder / FILE)
  try:
    write_index(folder / shard.index, index)
  except OSError as error:
    _log.warning("%s: cannot be written (%s): the index is kept in memory", folder / shard.index, error)
  return index


def load_index(folder: Path, shard: Shard) -> ShardIndex:
  """The index of a shard, rebuilt with a warning if it is missing or damaged.

  Args:
    folder: folder of the packed set.
    shard: the shard.
  Returns:
    The index that matches the manifest.
  Raises:
    DamagedData: it is lost, and the shard is damaged or does not match the manifest.
  """
  path = folder / shard.index
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    return _rebuilt_index(folder, shard, "is missing")
  if hashlib.sha256(content).hexdigest() != shard.index_sha256:
    return _rebuilt_index(folder, shard, "does not match the manifest")
  return read_index(content, file=str(path))


class LocalShards:
  """The shards of a set in a folder, mapped."""

  def __init__(self, folder: Path):
    self.folder = folder

  def size(self, file: str) -> int | None:
    """Bytes of a file; None if it is not there."""
    path = self.folder / file
    return path.stat().st_size if path.is_file() else None

  def open(self, file: str) -> mmap.mmap | bytes:
    """A file for reading by slices."""
    return map_file(self.folder / file)

  def place(self, file: str) -> Path:
    """The path of a file."""
    return self.folder / file


class RecordSet:
  """A packed set of faces. Records are numbered 0 … N-1 over all shards in order.

  Attributes:
    path: its folder; for a set at a URL that of the copies of its small files.
    shards: its shards.
    manifest: its manifest.
    num_records: number of faces.
    num_identities: number of identities.
    label_n: [N] int32, identity of each record.
    id_n: [N] int64, id of each record.
    shard_n: [N] int32, the shard of each record.
    identity_names: names of the identities by label.
    template: name of the alignment template, "unknown" or "none", see `Manifest`.
    image_shape: (height, width, channels) of every image.
  """

  def __init__(
    self, path: Path, manifest: Manifest, indexes: list[ShardIndex], identity_names: list[str], shards: LocalShards | RemoteShards | None = None,
  ):
    self.path = path
    self.shards = shards or LocalShards(path)
    self.manifest = manifest
    self.num_records = manifest.num_records
    self.num_identities = manifest.num_identities
    self.identity_names = identity_names
    self.template = manifest.template
    self.image_shape = manifest.image_size
    entry_n = np.concatenate([index.entry_n for index in indexes])
    self.label_n = np.ascontiguousarray(entry_n["label"])
    self.id_n = np.ascontiguousarray(entry_n["id"])
    self._offset_n = np.ascontiguousarray(entry_n["offset"])
    self._length_n = np.ascontiguousarray(entry_n["length"])
    self._image_at_n = np.ascontiguousarray(entry_n["image_at"])
    self._image_length_n = np.ascontiguousarray(entry_n["image_length"])
    self.shard_n = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index.names) for index in indexes])
    self._names = [name for index in indexes for name in index.names]
    self._maps: list[mmap.mmap | bytes | RemoteFile | BlockFile | None] = [None] * len(indexes)
    self._lock = threading.Lock()

  @classmethod
  def open(cls, path: str | Path, *, memory: int = 0) -> RecordSet:
    """Opens a packed set; missing indexes are rebuilt.

    A truncated shard gives a warning; reading a lost record raises an error that names it.

    Args:
      path: folder of the packed set, or its URL, see `jaxface.formats.remote_set`.
      memory: bytes of blocks that are kept of a set at a URL, for `StreamOrder`; 0 reads each record by a request of its own.
    Returns:
      The set.
    Raises:
      FileNotFoundError: no packed set there.
      DamagedData: a part is missing, or manifest, identities, indexes and shards disagree.
      OSError: a URL that cannot be reached.
    """
    folder = small_files(path)
    shards = RemoteShards(str(path), memory) if is_url(path) else LocalShards(folder)
    manifest = read_manifest(folder)
    for shard in manifest.shards:
      size = shards.size(shard.file)
      if size is None:
        raise DamagedData(f"shard with {shard.records} records is missing", file=shards.place(shard.file))
      if size != shard.bytes:
        _log.warning("%s: shard has %d bytes, %d in the manifest: verify it", shards.place(shard.file), size, shard.bytes)
    indexes = [load_index(folder, shard) for shard in manifest.shards]
    names, images = read_identities(folder, manifest.identities_sha256)
    for shard, index in zip(manifest.shards, indexes):
      if (len(index.names), index.shard_bytes) != (shard.records, shard.bytes):
        found = f"{shard.records} records, {shard.bytes} bytes; its index {len(index.names)}, {index.shard_bytes}"
        raise DamagedData(f"manifest disagrees: {shard.file} is listed with {found}", file=folder / FILE)
    if len(names) != manifest.num_identities or sum(images) != manifest.num_records:
      found = f"{manifest.num_identities} identities, {manifest.num_records} records"
      what = f"manifest disagrees: {found}; the identity table {len(names)}, {sum(images)}"
      raise DamagedData(what, file=folder / FILE)
    records = cls(folder, manifest, indexes, names, shards)
    label_n = records.label_n
    if not np.array_equal(np.bincount(label_n[label_n >= 0], minlength=len(names)), images):
      raise DamagedData("identity table: images per identity differ from the index", file=folder / FILE)
    return records

  def __len__(self) -> int:
    return self.num_records

  def _map(self, shard: int) -> mmap.mmap | bytes | RemoteFile | BlockFile:
    found = self._maps[shard]
    if found is None:
      with self._lock:
        found = self._maps[shard]
        if found is None:
          found = self._maps[shard] = self.shards.open(self.manifest.shards[shard].file)
    return found

  def place(self, record: int) -> tuple[Path | str, int]:
    """Location of a record.

    Args:
      record: number of the record.
    Returns:
      (the shard's file, offset of the record's frame in it).
    """
    shard = self.manifest.shards[self.shard_n[record]]
    return self.shards.place(shard.file), int(self._offset_n[record])

  def _framed(self, record: int) -> bytes:
    if not 0 <= record < self.num_records:
      raise IndexError(f"record {record}: {self.path} has records 0 to {self.num_records - 1}")
    offset, length = int(self._offset_n[record]), int(self._length_n[record])
    framed = self._map(int(self.shard_n[record]))[offset : offset + FRAME_BYTES + length]
    fault = frame_fault(framed, length)
    if fault:
      raise DamagedData(fault, file=self.place(record)[0], offset=offset, record=record)
    return framed

  def payload(self, record: int) -> memoryview:
    """The serialised record, checked against its checksums.

    Args:
      record: number of the record.
    Returns:
      Its payload.
    Raises:
      DamagedData: bytes are damaged or missing; names file, offset, record.
      IndexError: no such record.
    """
    return memoryview(self._framed(record))[HEADER_BYTES : HEADER_BYTES + int(self._length_n[record])]

  def image(self, record: int) -> memoryview:
    """The bytes of a record's image, checked like `payload`, found through the index without parsing.

    Args:
      record: number of the record.
    Returns:
      A JPEG file's bytes.
    Raises:
      DamagedData, IndexError: as `payload`.
    """
    start = int(self._image_at_n[record])
    return memoryview(self._framed(record))[start : start + int(self._image_length_n[record])]

  def face(self, record: int) -> Face:
    """A record as a face.

    Args:
      record: number of the record.
    Returns:
      Image, label, name and id.
    Raises:
      DamagedData, IndexError: as `payload`.
    """
    payload = self.payload(record)
    try:
      return parse_face(payload)
    except DamagedData as error:
      file, offset = self.place(record)
      raise DamagedData(error.what, file=file, offset=offset, record=record) from error

  def names(self) -> list[str]:
    """Names of all records, in order.

    Returns:
      N names such as "Aaron_Eckhart/Aaron_Eckhart_0001".
    """
    return self._names
