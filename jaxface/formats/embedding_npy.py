"""Embeddings in a `.npy` file, with their names in a text file beside it."""

from pathlib import Path

import numpy as np

from jaxface.formats.embedding_rows import npy_array
from jaxface.formats.errors import DamagedData


def names_file(path: str | Path) -> Path:
  """The text file with the names of a `.npy` file: `faces.txt` of `faces.npy`."""
  return Path(path).with_suffix(".txt")


def read_npy_columns(path: Path) -> dict[str, np.ndarray]:
  """Embeddings, names, and labels if there are any. Embeddings are mapped, not loaded.

  The text file has one line for each row, in UTF-8: the name, or the name, a tab and the identity.

  Args:
    path: the `.npy` file.
  Returns:
    By column: `embedding` [N, D] as stored, `name` [N] text, and `label` [N] text.
  Raises:
    FileNotFoundError: either file; the message says what the text file must be.
    DamagedData: a file that is not complete, a line that is empty or has other columns than the first, or another number of lines.
  """
  embedding_nd, beside = npy_array(path), names_file(path)
  if not beside.is_file():
    raise FileNotFoundError(
      f"{path}: has no names: write them to {beside}, one line for each of its {len(embedding_nd):,} rows, as NAME or as NAME, a tab and IDENTITY"
    )
  try:
    # Not splitlines: a name may contain what Unicode calls a line separator.
    lines = [line.removesuffix("\r") for line in beside.read_bytes().decode("utf-8").removesuffix("\n").split("\n")]
  except UnicodeDecodeError as error:
    raise DamagedData(f"names are not UTF-8: {error}", file=str(beside)) from error
  rows = [line.split("\t") for line in lines]
  for number, row in enumerate(rows, 1):
    if len(row) != len(rows[0]) or len(row) > 2 or not all(row):
      raise DamagedData(f"line {number}: {lines[number - 1][:60]!r}: expected NAME, or NAME, a tab and IDENTITY, the same on all lines", file=str(beside))
  if len(rows) != len(embedding_nd):
    raise DamagedData(f"{len(rows):,} names for the {len(embedding_nd):,} rows of {path.name}", file=str(beside))
  return {column: np.array(values, np.str_) for column, values in zip(("name", "label"), zip(*rows))} | {"embedding": embedding_nd}


__all__ = ["names_file", "read_npy_columns"]
