"""Arrays in `.npz` files, read without unpickling and with sizes that are checked before memory is allocated."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.errors import DamagedData


@contextlib.contextmanager
def reading_npz(path: Path) -> Iterator[zipfile.ZipFile]:
  """An open `.npz` file; faults of its content become `DamagedData`.

  Raises:
    FileNotFoundError: no such file.
    DamagedData: the file is not complete, or an array cannot be read.
  """
  try:
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
      yield archive
  except FileNotFoundError:
    raise
  except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
    raise DamagedData(f"not a complete .npz file: {error}. Copy it again, or make it anew", file=str(path)) from error
  except ValueError as error:
    if isinstance(error, DamagedData):
      raise
    raise DamagedData(f"cannot read an array: {error}", file=str(path)) from error


def array_header(archive: zipfile.ZipFile, name: str, file: Any) -> tuple[tuple[int, ...], np.dtype]:
  """Shape and dtype of an array in an `.npz` file, whose size in the archive must match; `file` is then at its data.

  Raises:
    DamagedData: it has Python objects.
    ValueError: another format, order or size.
  """
  shape, fortran, dtype = _header(archive, name, file)
  if fortran:
    raise ValueError(f"{name}.npy is in column order, which cannot be read in parts")
  return shape, dtype


def npz_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
  """One array; its size is checked against the archive before memory is allocated, its CRC afterwards."""
  with archive.open(f"{name}.npy") as file:
    shape, fortran, dtype = _header(archive, name, file)
    data = file.read()
  return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(archive: zipfile.ZipFile, name: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
  version = np.lib.format.read_magic(file)
  if version not in ((1, 0), (2, 0)):
    raise ValueError(f"{name}.npy has format version {version}, supported are 1.0 and 2.0")
  read_header = (
    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
  )
  shape, fortran, dtype = read_header(file)
  size = int(np.prod(shape, dtype=object)) * dtype.itemsize
  if dtype.hasobject:
    raise DamagedData(
      f"{name}.npy holds Python objects, which would have to be unpickled and is rejected. If the file is your own, "
      "rewrite it: old = np.load(FILE, allow_pickle=True); np.savez(FILE, "
      "embedding=np.stack(list(old['EMBEDDING'])).astype('float32'), name=old['NAME'].astype(str))",
      file=str(archive.filename or ""),
    )
  if size != archive.getinfo(f"{name}.npy").file_size - file.tell():
    raise ValueError(f"{name}.npy declares {dtype} {shape}, which does not match its size")
  return shape, fortran, dtype


__all__ = ["array_header", "npz_array", "reading_npz"]
