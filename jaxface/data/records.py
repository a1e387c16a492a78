"""Faces of a packed set: random access, checksums and threaded decoding."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from jaxface.data.fingerprint import digest
from jaxface.data.source import UnreadableRow, shards
from jaxface.formats.errors import DamagedData
from jaxface.formats.face_set import FaceSet
from jaxface.formats.images import decode_image
from jaxface.formats.parallel import num_cores
from jaxface.formats.recordset import RecordSet


class RecordSource:
  """The faces of a packed set, decoded by a thread pool (libjpeg-turbo releases the GIL).

  Args:
    records: the open set.
    threads: number of decoding threads; 0 for one per core that this process may use.
  """

  # What gives the size of all images, and what to do about one of another size.
  size_of = "the manifest"
  advice = "pack the set again"

  def __init__(self, records: RecordSet | FaceSet, threads: int = 0):
    self.records = records
    self.num_records = records.num_records
    self.num_identities = records.num_identities
    self.label_n = records.label_n
    self.image_shape = records.image_shape
    self.template = records.template
    self.shard_n = shards(records)
    self.threads = threads or num_cores()
    self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="jaxface-decode")

  def names(self) -> list[str]:
    """Name of each record: its path in the original folder, without suffix."""
    return self.records.names()

  def fingerprint(self) -> dict[str, Any]:
    """Counts, and digests of shards and identities, from the manifest; independent of the path."""
    manifest = cast(RecordSet, self.records).manifest
    return {
      "records": manifest.num_records, "identities": manifest.num_identities, "image_shape": list(manifest.image_size),
      "template": manifest.template, "shards": len(manifest.shards),
      "shards_sha256": digest(shard.sha256 for shard in manifest.shards), "identities_sha256": manifest.identities_sha256,
    }

  def identity_names(self) -> list[str]:
    """Name of each identity, by label."""
    return self.records.identity_names

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Decodes records into `out`.

    Args:
      record_n: [N] int, record numbers.
      out: [N, H, W, C] uint8, C-contiguous; unreadable rows are undefined afterwards.
    Returns:
      One error per unreadable row, in order of rows: bytes that fail their checksum or are missing, images that cannot be
      decoded or have another size.
    """
    # Threads take rows from one iterator (safe under the GIL), which balances their load.
    row_n = enumerate(np.asarray(record_n).tolist())
    work = [self._pool.submit(self._decode, row_n, out) for _ in range(min(self.threads, len(out)))]
    return sorted((error for each in work for error in each.result()), key=lambda error: error.row)

  def _decode(self, row_n: Iterator[tuple[int, int]], out: np.ndarray) -> list[UnreadableRow]:
    errors = []
    for row, record in row_n:
      try:
        self._read_one(record, out[row])
      except DamagedData as error:
        errors.append(UnreadableRow(error, row))
    return errors

  def _read_one(self, record: int, out_hwc: np.ndarray) -> None:
    import simplejpeg  # training on a machine without it reads no records

    data = self.records.image(record)
    try:
      shape = simplejpeg.decode_jpeg(data, buffer=out_hwc).shape
    except ValueError:  # damaged, larger than the row, or not convertible to RGB by libjpeg: the slow path decides
      shape = self._read_any(data, record, out_hwc)
    if shape != out_hwc.shape:
      file, offset = self.records.place(record)
      what = f"image has shape {shape}, but {self.size_of} has {self.image_shape}: {self.advice}"
      raise DamagedData(what, file=file, offset=offset, record=record)

  def _read_any(self, data: memoryview, record: int, out_hwc: np.ndarray) -> tuple[int, ...]:
    file, offset = self.records.place(record)
    try:
      image_hwc = decode_image(bytes(data), where=str(file))
    except DamagedData as error:
      raise DamagedData(error.what, file=file, offset=offset, record=record) from error
    if image_hwc.shape == out_hwc.shape:
      out_hwc[...] = image_hwc
    return image_hwc.shape

  def close(self) -> None:
    """Ends the threads."""
    self._pool.shutdown()
