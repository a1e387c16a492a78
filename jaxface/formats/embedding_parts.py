"""Embeddings in `.npz` files that are written and read in parts, for tables that are larger than memory.

The files are those of `jaxface.formats.embeddings`.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.embeddings import embedding_meta, member_meta, meta_text
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import array_header, reading_npz

# Names that are converted to an array at once.
_NAMES = 65_536
# As `numpy.savez` writes it: equal data give equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_embedding_parts(
  path: str | Path, names: Sequence[str], size: int, parts: Iterable[np.ndarray], meta: Mapping[str, Any] | None = None, *,
  label_n: np.ndarray | None = None,
) -> None:
  """Writes an `.npz` file of embeddings atomically, with memory for one part.

  Args:
    path: file to write; an existing one is replaced.
    names: N names.
    size: D.
    parts: arrays [n, D], converted to float32, N rows in total.
    meta: how they were made, plain JSON values.
    label_n: [N] int, identity of each, or None.
  Raises:
    ValueError: the parts have another shape or number of rows.
  """
  count = len(names)
  about = meta_text(meta or {}, (count, size), label=label_n is not None)
  width = max(map(len, names), default=1) or 1
  with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
    with _member(archive, "meta") as member:
      np.lib.format.write_array(member, np.array(about), allow_pickle=False)
    if label_n is not None:
      with _member(archive, "label") as member:
        np.lib.format.write_array(member, np.asarray(label_n, np.int64), allow_pickle=False)
    with _member(archive, "name") as member:
      _write_header(member, np.dtype(f"<U{width}"), (count,))
      for start in range(0, count, _NAMES):
        member.write(np.array(names[start : start + _NAMES], f"<U{width}").tobytes())
    with _member(archive, "embedding") as member:
      _write_header(member, np.dtype("<f4"), (count, size))
      for part_nd in checked_parts(path, parts, size, count):
        member.write(part_nd.tobytes())


def checked_parts(path: str | Path, parts: Iterable[np.ndarray], size: int, count: int) -> Iterator[np.ndarray]:
  """Parts as they are written: [n, D] float32, little-endian, in C order.

  Args:
    path: file to write, for messages.
    parts: arrays [n, D] of numbers.
    size: D.
    count: rows of all parts.
  Raises:
    ValueError: another shape or number of rows, the latter after the last part.
  """
  written = 0
  for part_nd in parts:
    if part_nd.ndim != 2 or part_nd.shape[1] != size:
      raise ValueError(f"{path}: a part of embeddings has shape {part_nd.shape}, not [n, {size}]")
    written += len(part_nd)
    yield np.ascontiguousarray(part_nd, "<f4")
  if written != count:
    raise ValueError(f"{path}: {written} embeddings for {count} names")


@dataclass(frozen=True)
class EmbeddingParts:
  """An `.npz` file of embeddings, read in parts.

  Attributes:
    path: the file.
    count: N.
    size: D.
    meta: how they were made.
  """

  path: Path
  count: int
  size: int
  meta: Mapping[str, Any]

  @classmethod
  def open(cls, path: str | Path) -> "EmbeddingParts":
    """Reads shapes and metadata of a file.

    Raises:
      DamagedData: the file cannot be read, or has not the columns `embedding` [N, D] and `name` [N].
    """
    path = Path(path)
    with reading_npz(path) as archive:
      members = set(archive.namelist())
      if not {"embedding.npy", "name.npy"} <= members:
        raise DamagedData(f"needs the arrays embedding and name, has {sorted(members)}", file=str(path))
      with archive.open("embedding.npy") as file:
        shape, dtype = array_header(archive, "embedding", file)
      with archive.open("name.npy") as file:
        names, name_dtype = array_header(archive, "name", file)
      if len(shape) != 2 or dtype.kind != "f" or names != shape[:1] or name_dtype.kind != "U":
        raise DamagedData(
          f"embeddings are {dtype} {shape} and names {name_dtype} {names}, not numbers [N, D] and text [N]", file=str(path)
        )
      try:
        meta = embedding_meta(member_meta(archive), shape, label="label.npy" in members)
      except ValueError as error:
        raise DamagedData(str(error), file=str(path)) from error
    return cls(path, shape[0], shape[1], meta)

  def parts(self, rows: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and embeddings [n, D] float32 of at most `rows` rows at a time, in order.

    The checksum of the file is verified with the last part.

    Raises:
      DamagedData: a byte differs from what was written.
    """
    with reading_npz(self.path) as archive, archive.open("name.npy") as name_file, archive.open("embedding.npy") as file:
      _, name_dtype = array_header(archive, "name", name_file)
      _, dtype = array_header(archive, "embedding", file)
      for start in range(0, self.count, rows):
        count = min(rows, self.count - start)
        name_n = np.frombuffer(_exactly(name_file, count * name_dtype.itemsize), name_dtype)
        part_nd = np.frombuffer(_exactly(file, count * self.size * dtype.itemsize), dtype).reshape(count, self.size)
        yield name_n.tolist(), part_nd.astype(np.float32)


def _exactly(file: IO[bytes], size: int) -> bytes:
  data = file.read(size)
  if len(data) != size:
    raise EOFError("the file ends within an array")
  return data


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
  return archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True)


def _write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
  np.lib.format.write_array_header_1_0(file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})


__all__ = ["EmbeddingParts", "write_embedding_parts"]
