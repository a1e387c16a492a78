"""A table of attributes of images or identities, such as age, sex, pose or quality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.evaluation.pairs.pair_names import finder
from jaxface.formats.errors import DamagedData
from jaxface.losses.ranges import check_name

SUFFIXES = {".csv": ",", ".tsv": "\t", ".parquet": ""}


@dataclass(frozen=True)
class Attributes:
  """Columns of a table by name; empty cells are None in text and NaN in numbers.

  Attributes:
    names: N names of images or of identities.
    columns: by name, [N] float64 numbers, or [N] text as objects.
    file: file of the table, for messages.
  """

  names: Sequence[str]
  columns: Mapping[str, np.ndarray]
  file: str = "the table"

  def __post_init__(self) -> None:
    seen: set[str] = set()
    for name in self.names:
      if name in seen:
        raise ValueError(f"{self.file}: {name!r} has two rows: names must be unique")
      seen.add(name)
    for name, column in self.columns.items():
      if len(column) != len(self.names):
        raise ValueError(f"{self.file}: column {name!r} has {len(column)} values for {len(self.names)} names")

  def of(self, column: str, images: Sequence[str]) -> np.ndarray:
    """The values of images: those of their own rows, else those of their identities, which are the folders of their names.

    Args:
      column: name of a column.
      images: I names, as embeddings carry them.
    Returns:
      [I], of the column's type; None or NaN for images that the table lacks.
    Raises:
      ValueError: no such column, or no image is in the table.
    """
    check_name(f"column of {self.file}", column, tuple(self.columns))
    values = self.columns[column]
    row_of = {name: row for row, name in enumerate(self.names)}
    find = finder(row_of)
    row_i = np.array([row_of.get(find(name), _of_identity(row_of, name)) for name in images], np.int64)
    if images and (row_i < 0).all():
      raise ValueError(
        f"{self.file}: has none of the {len(images):,} images of the pairs, nor their identities: its first column is like {self.names[0]!r},"
        f" the images are like {images[0]!r}"
      )
    empty = np.nan if values.dtype.kind == "f" else None
    out = np.full(len(images), empty, values.dtype)
    out[row_i >= 0] = values[row_i[row_i >= 0]]
    return out


def _of_identity(row_of: Mapping[str, int], name: str) -> int:
  """The row of an image's folder, the nearest one first; -1 if there is none."""
  while "/" in name:
    name = name.rsplit("/", 1)[0]
    if name in row_of:
      return row_of[name]
  return -1


def read_attributes(path: str | Path, key: str = "") -> Attributes:
  """Reads a table: .csv, .tsv or .parquet, with a header.

  Args:
    path: the file.
    key: column with the names of images ("Person/Person_0001", with or without suffix) or of identities ("Person"); by default
      the first one.
  Raises:
    ValueError: another suffix, an unknown key, or a name with two rows.
    DamagedData: the file cannot be read, has no rows, or an empty name.
  """
  import pyarrow as pa
  from pyarrow import csv, parquet

  path = Path(path)
  if path.suffix.lower() not in SUFFIXES:
    raise ValueError(f"{path}: tables are {', '.join(SUFFIXES)} files, not {path.suffix or 'files without suffix'}")
  try:
    if path.suffix.lower() == ".parquet":
      table = parquet.read_table(path)
    else:
      cells = csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA", "NaN", "nan", "null"])
      table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=SUFFIXES[path.suffix.lower()]), convert_options=cells)
  except FileNotFoundError:
    raise
  except (pa.ArrowException, OSError) as error:
    raise DamagedData(f"not a table with a header: {error}", file=str(path)) from error
  if not table.num_rows or table.num_columns < 2:
    raise DamagedData(f"{table.num_rows} rows, {table.num_columns} columns: a table has a column of names and at least one other", file=str(path))
  if len(set(table.column_names)) < table.num_columns:
    raise DamagedData(f"two columns have one name: {table.column_names}", file=str(path))
  key = key or table.column_names[0]
  check_name(f"column of {path}", key, tuple(table.column_names))
  names = [None if name is None else str(name) for name in table[key].to_pylist()]
  for row, name in enumerate(names):
    if not name:
      raise DamagedData(f"the name in column {key!r} is empty", file=str(path), record=row)
  columns = {name: _column(table[name]) for name in table.column_names if name != key}
  return Attributes([str(name) for name in names], columns, str(path))


def _column(values: "object") -> np.ndarray:
  import pyarrow as pa

  kind = values.type  # type: ignore[attr-defined]
  plain = values.to_pylist()  # type: ignore[attr-defined]
  if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
    return np.array([np.nan if value is None else value for value in plain], np.float64)
  return np.array([None if value is None else str(value) for value in plain], object)


__all__ = ["Attributes", "read_attributes"]
