"""Embeddings with names and labels in one file, `.npz` or `.parquet`, written by jaxface or by other programs."""

import contextlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import npz_array, reading_npz

# The first name of a column is the one we write; the others are accepted when reading.
COLUMNS = {
  "embedding": ("embedding", "embeddings", "feature", "features"),
  "name": ("name", "names"),
  "label": ("label", "labels"),
}
META_KEY = b"jaxface"
FORM = "The form: np.savez('FILE.npz', embedding=EMBEDDINGS.astype('float32'), name=np.array(NAMES, dtype=str))"


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
  """Reads `.npz` or `.parquet`, written by jaxface or by other programs.

  Required: `embedding` ([N, D] numbers; in Parquet a list column) and `name` (text, or UTF-8 bytes). Optional: `label`
  (integers, or names of identities, which are numbered in alphabetical order) and metadata.
  Plurals and `feature` are accepted as names. Nothing is unpickled.

  Args:
    path: file to read.
  Returns:
    `Embeddings`, float32.
  Raises:
    DamagedData: the file cannot be read, or lacks a column; the message lists its columns.
    ValueError: another suffix.
  """
  path = Path(path)
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
  """The suffix of a file of embeddings, ".npz" or ".parquet".

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
  import pyarrow as pa
  from pyarrow import parquet

  size = embeddings.embedding_nd.shape[1]
  column = {
    "name": pa.array(embeddings.names, pa.string()),
    "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.embedding_nd.reshape(-1)), size),
  }
  if embeddings.label_n is not None:
    column["label"] = pa.array(embeddings.label_n, pa.int64())
  table = pa.table(column).replace_schema_metadata({META_KEY: meta.encode()})
  parquet.write_table(table, file, use_dictionary=False, compression="zstd", write_page_checksum=True)


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
    raise DamagedData(f"not a complete .parquet file: {error}", file=str(path)) from error


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
    column[ours] = matrix_of(path, theirs, values) if ours == "embedding" else _column(path, theirs, values)
  return column, meta


def refuse_empty(path: Path, name: str, values: Any) -> None:
  """Raises `DamagedData` if a Parquet column has empty cells."""
  if values.null_count:
    raise DamagedData(f"column {name!r} has {values.null_count} empty cells", file=str(path))


def _column(path: Path, name: str, values: Any) -> np.ndarray:
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


__all__ = [
  "FORM", "Embeddings", "embedding_meta", "embeddings_suffix", "matrix_of", "member_meta", "meta_text", "pick_columns",
  "read_embeddings", "reading_parquet", "refuse_empty", "write_embeddings",
]
