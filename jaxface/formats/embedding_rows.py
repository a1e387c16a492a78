"""Embeddings in files that are larger than memory, read by consecutive rows: `.npy`, `.npz` and `.parquet`."""

import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.embedding_columns import FORM, matrix_of, pick_columns, reading_parquet, refuse_empty
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import array_header, reading_npz


class EmbeddingRows:
  """Embeddings [N, D] of a file, of which a slice is read when it is asked for.

    rows = EmbeddingRows.open("million.npz")
    evaluation.nearest_embeddings(probe_qd, rows, 20)

  `.npy` and `.npz` files (which `numpy.savez` does not compress) are mapped; of a `.parquet` file the row group that was read last
  is kept. The checksums of `.npz` files are not verified (`read_embeddings` does so), those of Parquet pages are.

  Attributes:
    path: the file.
    shape: (N, D).
  """

  def __init__(self, path: Path, shape: tuple[int, int], source: Any):
    self.path, self.shape, self._source = path, shape, source

  @classmethod
  def open(cls, path: str | Path) -> "EmbeddingRows":
    """Reads the shape of a file's embeddings.

    Args:
      path: a `.npy` with [N, D] numbers, or a file as `read_embeddings` reads it, names or not.
    Raises:
      DamagedData: the file is cut short, compressed, or has no such array; the message says what would be right.
      ValueError: another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
      array_nd = npy_array(path)
    elif suffix == ".npz":
      array_nd = _npz(path)
    elif suffix == ".parquet":
      source = _RowGroups(path)
      return cls(path, source.shape, source)
    else:
      raise ValueError(f"{path}: rows are read from .npy, .npz or .parquet, not {suffix or 'a file without suffix'}. {FORM}")
    return cls(path, (array_nd.shape[0], array_nd.shape[1]), array_nd)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: slice) -> np.ndarray:
    """[n, D], the rows of a slice of step one."""
    start, stop, step = rows.indices(self.shape[0])
    if step != 1:
      raise ValueError(f"{rows}: rows are read one after another")
    return self._source[start : max(start, stop)]


def _numbers(path: Path, what: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
  if len(shape) != 2 or dtype.kind not in "fiu":
    raise DamagedData(f"{what} is {dtype} {shape}, not numbers [N, D]. {FORM}", file=path)


def npy_array(path: Path) -> np.ndarray:
  """The numbers [N, D] of a `.npy` file, mapped.

  Raises:
    FileNotFoundError: no such file.
    DamagedData: the file is cut short, or holds something else.
  """
  try:
    array_nd = np.load(path, mmap_mode="r", allow_pickle=False)
  except FileNotFoundError:
    raise
  except (ValueError, EOFError, OSError) as error:
    raise DamagedData(
      f"not a complete .npy file of numbers: {error}. Copy it again, or write it with np.save(FILE, EMBEDDINGS.astype('float32'))",
      file=path,
    ) from error
  _numbers(path, "the array", array_nd.shape, array_nd.dtype)
  return array_nd


def _npz(path: Path) -> np.ndarray:
  with reading_npz(path) as archive:
    name = pick_columns(path, [member.removesuffix(".npy") for member in archive.namelist()], ("embedding",))["embedding"]
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
      raise DamagedData(
        f"{name!r} is compressed and cannot be mapped: write it with np.savez instead of np.savez_compressed", file=path
      )
    with archive.open(info) as member:
      shape, dtype = array_header(archive, name, member)
      header = member.tell()
  _numbers(path, repr(name), shape, dtype)
  with open(path, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  # The local header repeats the name, with an extra field of its own length.
  name_size, extra_size = struct.unpack_from("<HH", mapped, info.header_offset + 26)
  offset = info.header_offset + 30 + name_size + extra_size + header
  count = int(np.prod(shape))
  if offset + count * dtype.itemsize > len(mapped):
    raise DamagedData(f"the file ends within {name!r}: copy it again", file=path)
  return np.frombuffer(mapped, dtype, count, offset).reshape(shape)


class _RowGroups:
  """The embeddings of a Parquet file; one row group is kept."""

  def __init__(self, path: Path):
    from pyarrow import parquet

    self._path = path
    with reading_parquet(path):
      self._file = parquet.ParquetFile(path, page_checksum_verification=True, memory_map=True)
      schema, meta = self._file.schema_arrow, self._file.metadata
      self._name = pick_columns(path, schema.names, ("embedding",))["embedding"]
      counts = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
    self._first_g = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    self._group, self._rows_nd = -1, np.zeros((0, 0), np.float32)
    size = self._read(0).shape[1] if counts else 0
    self.shape = (int(self._first_g[-1]), size)

  def _read(self, group: int) -> np.ndarray:
    if group != self._group:
      with reading_parquet(self._path):
        values = self._file.read_row_group(group, columns=[self._name]).combine_chunks()[self._name]
      refuse_empty(self._path, self._name, values)
      first = int(self._first_g[group])
      rows_nd = matrix_of(self._path, self._name, values, first)
      if self._group >= 0 and rows_nd.shape[1] != self._rows_nd.shape[1]:
        raise DamagedData(
          f"column {self._name!r} has {rows_nd.shape[1]} numbers where row 0 has {self._rows_nd.shape[1]}: embeddings of one"
          " network have one size",
          file=self._path, record=first,
        )
      self._group, self._rows_nd = group, rows_nd
    return self._rows_nd

  def __getitem__(self, rows: slice) -> np.ndarray:
    """Rows within the file."""
    first, last = (int(np.searchsorted(self._first_g, row, side="right")) - 1 for row in (rows.start, max(rows.start, rows.stop - 1)))
    parts = []
    for group in range(first, min(last, len(self._first_g) - 2) + 1):
      start = int(self._first_g[group])
      parts.append(self._read(group)[max(rows.start - start, 0) : max(rows.stop - start, 0)])
    return np.concatenate(parts) if parts else np.zeros((0, self.shape[1]), np.float32)


__all__ = ["EmbeddingRows", "npy_array"]
