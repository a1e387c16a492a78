"""Embeddings with names and labels, `.npz` or `.parquet`, written by jaxface or by other programs, or `.npy` of others."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.embedding_columns import (
  FORM,
  column_of,
  matrix_of,
  pick_columns,
  reading_parquet,
  refuse_empty,
)
from jaxface.formats.embedding_npy import read_npy_columns
from jaxface.formats.embedding_parquet import META_KEY, write_parquet_parts
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import npz_array, reading_npz


@dataclass(frozen=True)
class Embeddings:
  """Embeddings of named images.

  Attributes:
    embedding_nd: [N, D] float32, as output by the network, not necessarily normalised.
    names: N names of images, as records carry them (`Person/Person_0001`).
    label_n: [N] int64, identity of each; None if the file had none.
    meta: how they were made (model, mirror sum, ...), plain JSON values.
  """

  embedding_nd: np.ndarray
  names: list[str]
  label_n: np.ndarray | None = None
  meta: Mapping[str, Any] = field(default_factory=dict)

  def __post_init__(self) -> None:
    if self.embedding_nd.ndim != 2 or self.embedding_nd.dtype != np.float32:
      raise ValueError(
        f"embeddings are {self.embedding_nd.dtype} {self.embedding_nd.shape}: they must be float32 [N, D]"
      )
    if len(self.names) != len(self.embedding_nd):
      raise ValueError(f"{len(self.names)} names for {len(self.embedding_nd)} embeddings")
    if self.label_n is not None and self.label_n.shape != (len(self.names),):
      raise ValueError(f"labels {self.label_n.shape} for {len(self.names)} embeddings")


def write_embeddings(path: str | Path, embeddings: Embeddings) -> None:
  """Writes a file atomically: `.npz` (uncompressed) or `.parquet`, by the suffix; equal data give equal bytes.

  Args:
    path: file to write; an existing one is replaced.
    embeddings: what to write.
  Raises:
    ValueError: another suffix, or metadata that are not JSON values.
  """
  write = {".npz": _write_npz, ".parquet": _write_parquet}[embeddings_suffix(path)]
  meta = meta_text(embeddings.meta, embeddings.embedding_nd.shape, label=embeddings.label_n is not None)
  with atomic_file(path) as file:
    write(file, embeddings, meta)


def read_embeddings(path: str | Path) -> Embeddings:
  """Reads `.npz` or `.parquet`, written by jaxface or by other programs, or a `.npy` with its names in a text file.

  Required: `embedding` ([N, D] numbers; in Parquet a list column) and `name` (text, or UTF-8 bytes). Optional: `label`
  (integers, or names of identities, which are numbered in alphabetical order) and metadata.
  Plurals and `feature` are accepted as names. Nothing is unpickled.

  The names of `faces.npy` are the lines of `faces.txt` beside it, each a name, or a name, a tab and an identity. An array of float32 in
  C order is mapped, not loaded, and may be larger than memory.

  Args:
    path: file to read.
  Returns:
    `Embeddings`, float32.
  Raises:
    DamagedData: the file cannot be read, or lacks a column; the message lists its columns.
    FileNotFoundError: no such file, or a `.npy` without names.
    ValueError: another suffix.
  """
  path = Path(path)
  if path.suffix.lower() == ".npy":
    column, text = read_npy_columns(path)
  else:
    column, text = {".npz": _read_npz, ".parquet": _read_parquet}[embeddings_suffix(path)](path)
  embedding_nd, name_n, label_n = column["embedding"], column["name"], column.get("label")
  if embedding_nd.ndim != 2 or embedding_nd.dtype.kind not in "fiu":
    raise DamagedData(
      f"embeddings are {embedding_nd.dtype} {embedding_nd.shape}, not numbers [N, D]. {FORM}", file=str(path)
    )
  name_n = _text(path, "names", name_n)
  if name_n.dtype.kind != "U" or name_n.ndim != 1:
    raise DamagedData(f"names are {name_n.dtype} {name_n.shape}, not text [N]. {FORM}", file=str(path))
  try:
    return Embeddings(
      np.ascontiguousarray(embedding_nd, np.float32),
      name_n.tolist(),
      None if label_n is None else _numbers(path, label_n),
      embedding_meta(text, embedding_nd.shape, label=label_n is not None),
    )
  except ValueError as error:
    raise DamagedData(str(error), file=str(path)) from error


def _text(path: Path, what: str, array: np.ndarray) -> np.ndarray:
  """Decodes bytes to text; returns other arrays unchanged."""
  if array.dtype.kind != "S":
    return array
  try:
    return np.char.decode(array, "utf-8")
  except UnicodeDecodeError as error:
    raise DamagedData(f"{what} are bytes that are not UTF-8: {error}", file=str(path)) from error


def _numbers(path: Path, label_n: np.ndarray) -> np.ndarray:
  """Labels as integers; names of identities become their index in alphabetical order."""
  label_n = _text(path, "labels", label_n)
  if label_n.dtype.kind == "U":
    return np.unique(label_n, return_inverse=True)[1].astype(np.int64).reshape(label_n.shape)
  if label_n.dtype.kind == "f" and np.isfinite(label_n).all() and (label_n == np.trunc(label_n)).all():
    return label_n.astype(np.int64)
  if label_n.dtype.kind not in "iu":
    raise DamagedData(f"labels are {label_n.dtype}, not whole numbers or names. {FORM}", file=str(path))
  return label_n.astype(np.int64)


def embeddings_suffix(path: str | Path) -> str:
  """The suffix of a file of embeddings to write, ".npz" or ".parquet".

  Raises:
    ValueError: another one; says what to do.
  """
  suffix = Path(path).suffix.lower()
  if suffix not in (".npz", ".parquet"):
    what = f"{path}: embeddings are stored in .npz or .parquet, not {suffix or 'a file without suffix'}."
    if suffix == ".npy":  # one array, without names
      what += f" Save it with its names: np.savez('{Path(path).with_suffix('.npz').name}', "
      what += f"embedding=np.load('{Path(path).name}'), name=np.array(NAMES, dtype=str))"
      raise ValueError(what)
    raise ValueError(f"{what} {FORM}")
  return suffix


def meta_text(meta: Mapping[str, Any], shape: tuple[int, ...], *, label: bool) -> str:
  """Metadata as stored in a file: JSON with a description of the content.

  Raises:
    ValueError: they are not JSON values.
  """
  about = {"meta": dict(meta), "content": {"shape": list(shape), "label": label}}
  return json.dumps(about, sort_keys=True, allow_nan=False)


def embedding_meta(text: str, shape: tuple[int, ...], *, label: bool) -> dict[str, Any]:
  """Our metadata, after checking its description of the content, since column directories have no checksum.

  Raises:
    ValueError: no metadata of ours, or of other content.
  """
  try:
    about = json.loads(text)
  except (ValueError, RecursionError):
    about = None
  if not isinstance(about, dict) or not isinstance(about.get("meta", {}), dict):
    raise ValueError(
      f"its metadata (in an .npz file the array 'meta') is {text[:60]!r}, but must be one text that is a JSON object, as jaxface"
      f" writes it: omit it, or rename it. {FORM}"
    )
  content = {"shape": list(shape), "label": label}
  if about.get("content", content) != content:
    raise ValueError(f"it was written with {about['content']}, but has {content}")
  return about.get("meta", {})


def _write_npz(file: Any, embeddings: Embeddings, meta: str) -> None:
  # In this order a damaged directory entry that hides the next ones always hides a required array.
  array = {"meta": np.array(meta)}
  if embeddings.label_n is not None:
    array["label"] = embeddings.label_n.astype(np.int64)
  array |= {"name": np.array(embeddings.names, np.str_), "embedding": embeddings.embedding_nd}
  np.savez(file, allow_pickle=False, **array)


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], str]:
  with reading_npz(path) as archive:
    members = [name.removesuffix(".npy") for name in archive.namelist()]
    column = {ours: npz_array(archive, theirs) for ours, theirs in pick_columns(path, members).items()}
    return column, member_meta(archive)


def member_meta(archive: zipfile.ZipFile) -> str:
  """Metadata of an `.npz` file; "{}" if there are none."""
  return str(npz_array(archive, "meta")[()]) if "meta.npy" in archive.namelist() else "{}"


def _write_parquet(file: Any, embeddings: Embeddings, meta: str) -> None:
  write_parquet_parts(file, embeddings.names, embeddings.label_n, embeddings.embedding_nd.shape[1], [embeddings.embedding_nd], meta)


def _read_parquet(path: Path) -> tuple[dict[str, np.ndarray], str]:
  from pyarrow import parquet

  with reading_parquet(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
    picked = pick_columns(path, file.schema_arrow.names)
    table = file.read(columns=list(picked.values())).combine_chunks()
    meta = (file.schema_arrow.metadata or {}).get(META_KEY, b"{}").decode()
  column = {}
  for ours, theirs in picked.items():
    values = table[theirs]
    refuse_empty(path, theirs, values)
    column[ours] = matrix_of(path, theirs, values) if ours == "embedding" else column_of(path, theirs, values)
  return column, meta


__all__ = ["Embeddings", "embedding_meta", "embeddings_suffix", "member_meta", "meta_text", "read_embeddings", "write_embeddings"]
