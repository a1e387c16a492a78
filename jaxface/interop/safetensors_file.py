"""The safetensors format: a length, a JSON table of names, dtypes, shapes and offsets, and the data.

Nothing in such a file is executed; the table is checked against the file size before the data are read.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from jaxface.formats.errors import DamagedData

MAX_FILE_BYTES = 2**32
MAX_TABLE_BYTES = 2**24
DTYPES = {
  "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
  "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"),
  "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_safetensors(path: Path | str) -> dict[str, np.ndarray]:
  """Arrays by name; views of one buffer with the file's contents.

  Raises:
    DamagedData: too large, truncated, an invalid table, an unknown dtype, arrays that overlap, leave a gap or do not match
      their shape; names file, offset and array.
  """
  path = Path(path)
  with path.open("rb") as file:
    table, start = _table(file, path)
    numbers = file.read()
  table.pop("__metadata__", None)
  places = sorted((_place(name, entry, path), name) for name, entry in table.items())
  arrays, end = {}, 0
  for (first, last, dtype, shape), name in places:
    if first != end or last > len(numbers):
      what = f"array {name!r} is at {first:,}..{last:,} of {len(numbers):,} bytes, expected to begin at {end:,}"
      raise DamagedData(what, file=path, offset=start + min(first, len(numbers)))
    arrays[name] = np.frombuffer(numbers, DTYPES[dtype], math.prod(shape), first).reshape(shape)
    end = last
  if end != len(numbers):
    raise DamagedData(f"{len(numbers) - end:,} bytes after the last array", file=path, offset=start + end)
  return arrays


def read_metadata(path: Path | str) -> dict[str, str]:
  """Metadata of a file, text by key; may be empty.

  Raises:
    DamagedData: an invalid table, or metadata other than text.
  """
  with open(path, "rb") as file:
    found = _table(file, Path(path))[0].get("__metadata__", {})
  if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
    raise DamagedData(f"__metadata__ is not text by key: {found!r:.200}", file=path, offset=8)
  return found


def _table(file: IO[bytes], path: Path) -> tuple[dict[str, Any], int]:
  """The table of a file, and the offset of the data, which is the file's new position."""
  size = os.fstat(file.fileno()).st_size
  if not 8 <= size <= MAX_FILE_BYTES:
    raise DamagedData(f"{size:,} bytes: a safetensors file has 8 to {MAX_FILE_BYTES:,}", file=path)
  length = int.from_bytes(file.read(8), "little")
  if length > min(MAX_TABLE_BYTES, size - 8):
    what = f"a table of {length:,} bytes in a file of {size:,}; a table has at most {MAX_TABLE_BYTES:,}"
    raise DamagedData(what, file=path, offset=0)
  text = file.read(length)
  try:
    table = json.loads(text, object_pairs_hook=_unique)
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"the table is not JSON: {error}", file=path, offset=8) from error
  if not isinstance(table, dict):
    raise DamagedData(f"the table is a {type(table).__name__}, expected an object", file=path, offset=8)
  return table, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  table = dict(pairs)
  if len(table) != len(pairs):
    raise ValueError("a name occurs twice")
  return table


def _place(name: str, entry: Any, path: Path) -> tuple[int, int, str, tuple[int, ...]]:
  """First and last byte, dtype and shape of an array, checked for consistency."""
  try:
    dtype, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
  except (KeyError, TypeError, ValueError) as error:
    raise DamagedData(f"array {name!r} has no dtype, shape and data_offsets: {entry!r:.200}", file=path, offset=8) from error
  if dtype not in DTYPES:
    raise DamagedData(f"array {name!r} has dtype {dtype!r:.50}: supported are {', '.join(DTYPES)}", file=path, offset=8)
  if not all(type(n) is int and n >= 0 for n in (*shape, first, last)):
    raise DamagedData(f"array {name!r} has shape {shape} and offsets {[first, last]}", file=path, offset=8)
  expected = math.prod(shape) * DTYPES[dtype].itemsize
  if last - first != expected:
    what = f"array {name!r} of shape {shape} and dtype {dtype} takes {expected:,} bytes, found {last - first:,}"
    raise DamagedData(what, file=path, offset=8)
  return first, last, dtype, shape


def write_safetensors(file: IO[bytes], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
  """Write arrays in the order given.

  Args:
    file: open for writing bytes.
    arrays: arrays by name, of the dtypes in `DTYPES`.
    metadata: text by key.
  Raises:
    ValueError: an array of another dtype.
  """
  table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
  end = 0
  for name, array in arrays.items():
    if array.dtype not in _NAMES:
      raise ValueError(f"array {name!r} has dtype {array.dtype}: supported are {', '.join(DTYPES)}")
    table[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
    end += array.nbytes
  text = json.dumps(table, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # aligns the data
  file.write(len(text).to_bytes(8, "little") + text)
  for array in arrays.values():
    file.write(np.ascontiguousarray(array).tobytes())


__all__ = ["DTYPES", "MAX_FILE_BYTES", "read_metadata", "read_safetensors", "write_safetensors"]
