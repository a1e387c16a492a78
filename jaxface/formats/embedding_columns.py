"""Columns of files of embeddings: their names, and what they must contain."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.errors import DamagedData

# The first name of a column is the one we write; the others are accepted when reading.
COLUMNS = {
  "embedding": ("embedding", "embeddings", "feature", "features"),
  "name": ("name", "names"),
  "label": ("label", "labels"),
}
FORM = "The form: np.savez('FILE.npz', embedding=EMBEDDINGS.astype('float32'), name=np.array(NAMES, dtype=str))"


def pick_columns(path: Path, present: Sequence[str], wanted: Sequence[str] = tuple(COLUMNS)) -> dict[str, str]:
  """Maps our column names to the file's.

  Raises:
    DamagedData: a column other than the label is absent.
  """
  found = {}
  for ours in wanted:
    match = [name for name in COLUMNS[ours] if name in present]
    if match:
      found[ours] = match[0]
    elif ours != "label":
      raise DamagedData(f"no {ours!r} among its columns {sorted(present)}. {FORM}", file=str(path))
  return found


@contextlib.contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
  """Faults of a Parquet file become `DamagedData`.

  Raises:
    FileNotFoundError: no such file.
    DamagedData: the file is not complete.
  """
  import pyarrow as pa

  try:
    yield
  except FileNotFoundError:
    raise
  except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
    if isinstance(error, DamagedData):
      raise
    raise DamagedData(f"not a complete .parquet file: {error}. Copy it again, or make it anew", file=str(path)) from error


def refuse_empty(path: Path, name: str, values: Any) -> None:
  """Raises `DamagedData` if a Parquet column has empty cells."""
  if values.null_count:
    raise DamagedData(f"column {name!r} has {values.null_count} empty cells", file=str(path))


def column_of(path: Path, name: str, values: Any) -> np.ndarray:
  """Names or labels: text, bytes and categories as text, numbers unchanged."""
  import pyarrow as pa

  if pa.types.is_dictionary(values.type):
    values = values.cast(values.type.value_type)
  kind = values.type
  if kind in (pa.string(), pa.large_string(), pa.string_view()):
    return np.array(values.to_pylist(), np.str_)
  if kind in (pa.binary(), pa.large_binary(), pa.binary_view()) or pa.types.is_fixed_size_binary(kind):
    try:
      return np.array([value.decode() for value in values.to_pylist()], np.str_)
    except UnicodeDecodeError as error:
      raise DamagedData(f"column {name!r} has bytes that are not UTF-8: {error}", file=str(path)) from error
  return values.to_numpy()


def matrix_of(path: Path, name: str, values: Any, first: int = 0) -> np.ndarray:
  """[N, D] from a Parquet column of lists, whose first row is the row `first` of the file.

  Raises:
    DamagedData: something else than lists, an empty number, or lists of unequal length.
  """
  import pyarrow as pa
  from pyarrow import compute

  if not (
    pa.types.is_list(values.type)
    or pa.types.is_large_list(values.type)
    or pa.types.is_fixed_size_list(values.type)
  ):
    raise DamagedData(f"column {name!r} is {values.type}, not lists of numbers", file=str(path))
  size_n = compute.list_value_length(values).to_numpy()
  if size_n.size and (size_n != size_n[0]).any():
    row = int(np.flatnonzero(size_n != size_n[0])[0])
    raise DamagedData(
      f"column {name!r} has {size_n[row]} numbers where row {first} has {size_n[0]}", file=str(path), record=first + row
    )
  flat = compute.list_flatten(values)
  if flat.null_count:
    raise DamagedData(f"column {name!r} has {flat.null_count} empty numbers", file=str(path))
  fixed = values.type.list_size if pa.types.is_fixed_size_list(values.type) else 0
  return flat.to_numpy().reshape(len(size_n), size_n[0] if size_n.size else fixed)


__all__ = ["COLUMNS", "FORM", "column_of", "matrix_of", "pick_columns", "reading_parquet", "refuse_empty"]
