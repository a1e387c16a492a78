"""Embeddings in a `.npy` file, with their names and metadata in files beside it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import write_text
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.embedding_rows import npy_array
from jaxface.formats.errors import DamagedData


def names_file(path: str | Path) -> Path:
  """The text file with the names of a `.npy` file: `faces.txt` of `faces.npy`."""
  return Path(path).with_suffix(".txt")


def meta_file(path: str | Path) -> Path:
  """The file with the metadata of a `.npy` file: `faces.meta.json` of `faces.npy`."""
  return Path(path).with_suffix(".meta.json")


def write_beside(path: Path, names: Sequence[str], label_n: np.ndarray | None, about: Mapping[str, Any]) -> list[Path]:
  """Writes the names, with labels if there are any, and the metadata of a `.npy` file or another file of rows alone.

  Args:
    path: the file of rows.
    names: N names.
    label_n: [N] int, or None.
    about: metadata and a description of the content, JSON values.
  Returns:
    The files.
  Raises:
    ValueError: a name is empty, or has a line break or a tab.
  """
  for name in names:
    if not name or re.search("[\t\n\r]", name):
      raise ValueError(f"{path}: the name {name!r} is empty, or has a line break or a tab, and {path.suffix} has names in lines: take .parquet")
  lines = names if label_n is None else [f"{name}\t{label}" for name, label in zip(names, label_n.tolist(), strict=True)]
  write_text(names_file(path), "".join(f"{line}\n" for line in lines))
  write_checked_json(meta_file(path), about)
  return [names_file(path), meta_file(path)]


def read_npy_columns(path: Path) -> tuple[dict[str, np.ndarray], str]:
  """Embeddings, names, labels if there are any, and the text of the metadata, "{}" if there are none. Embeddings are mapped, not loaded.

  The text file has one line for each row, in UTF-8: the name, or the name, a tab and the identity.

  Args:
    path: the `.npy` file.
  Returns:
    By column: `embedding` [N, D] as stored, `name` [N] text, and `label` [N], int64 if all are whole numbers, otherwise text. The metadata.
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
  column = {name: np.array(values, np.str_) for name, values in zip(("name", "label"), zip(*rows))} | {"embedding": embedding_nd}
  if "label" in column and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", row[1]) for row in rows):
    column["label"] = column["label"].astype(np.int64)
  return column, json.dumps(read_checked_json(meta_file(path))) if meta_file(path).is_file() else "{}"


__all__ = ["meta_file", "names_file", "read_npy_columns", "write_beside"]
