"""Embeddings in every form that other programs take, written part by part: `.npz`, `.parquet`, `.npy` with names, and a FAISS index."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.embedding_npy import write_beside
from jaxface.formats.embedding_parquet import write_parquet_parts
from jaxface.formats.embedding_parts import checked_parts, write_embedding_parts
from jaxface.formats.embeddings import FORM, meta_text

FORMS = (".npz", ".parquet", ".npy", ".faiss")


def check_form(path: str | Path) -> str:
  """The suffix of a file to write.

  Raises:
    ValueError: none of `FORMS`.
    ModuleNotFoundError: a FAISS index without FAISS.
  """
  suffix = Path(path).suffix.lower()
  if suffix not in FORMS:
    raise ValueError(f"{path}: embeddings are stored in {', '.join(FORMS[:-1])} or {FORMS[-1]}, not {suffix or 'a file without suffix'}. {FORM}")
  if suffix == ".faiss":
    _faiss()
  return suffix


def write_embedding_file(
  path: str | Path, names: Sequence[str], label_n: np.ndarray | None, size: int, parts: Iterable[np.ndarray],
  meta: Mapping[str, Any] | None = None,
) -> list[Path]:
  """Writes embeddings with memory for one part (a FAISS index: for all), by the suffix.

  .npz and .parquet are one file each. X.npy and X.faiss have other files beside them, written before: X.txt, a line for each row with its name
  and, if there are labels, a tab and the label; and X.meta.json, the metadata. `read_embeddings` reads all but a FAISS index. The rows of a
  FAISS index (flat, inner product) have length one, so that its scores are cosines; its numbers are those of the lines, from 0.

  Args:
    path: file to write; existing ones are replaced, each atomically.
    names: N names.
    label_n: [N] int, or None.
    size: D.
    parts: arrays [n, D] of numbers, N rows in total.
    meta: how they were made, plain JSON values.
  Returns:
    The files.
  Raises:
    ValueError: another suffix, parts of another shape or number of rows, a name with a line break or a tab (.npy, .faiss).
    ModuleNotFoundError: a FAISS index without FAISS (extra `search`).
  """
  path, suffix = Path(path), check_form(path)
  if label_n is not None and len(label_n) != len(names):
    raise ValueError(f"{path}: {len(label_n)} labels for {len(names)} names")
  if suffix == ".npz":
    write_embedding_parts(path, names, size, parts, meta, label_n=label_n)
    return [path]
  checked = checked_parts(path, parts, size, len(names))
  text = meta_text(meta or {}, (len(names), size), label=label_n is not None)
  if suffix == ".parquet":
    with atomic_file(path) as file:
      write_parquet_parts(file, names, label_n, size, checked, text)
    return [path]
  beside = write_beside(path, names, label_n, json.loads(text))
  if suffix == ".npy":
    with atomic_file(path) as file:
      np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (len(names), size)})
      for part_nd in checked:
        file.write(part_nd.tobytes())
  else:
    _write_faiss(path, size, checked)
  return [*beside, path]


def _write_faiss(path: Path, size: int, parts: Iterable[np.ndarray]) -> None:
  faiss = _faiss()
  index, first = faiss.IndexFlatIP(size), 0
  for part_nd in parts:
    norm_n1 = np.linalg.norm(part_nd.astype(np.float64), axis=1, keepdims=True)
    bad_n = np.flatnonzero(~np.isfinite(norm_n1[:, 0]) | (norm_n1[:, 0] == 0))
    if len(bad_n):
      raise ValueError(f"{path}: the embedding of row {first + bad_n[0]} is zero or not finite: it has no cosine")
    index.add((part_nd / norm_n1).astype(np.float32))
    first += len(part_nd)
  with atomic_file(path) as file:
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _faiss() -> ModuleType:
  try:
    import faiss
  except ModuleNotFoundError:
    raise ModuleNotFoundError("a .faiss file needs FAISS: pip install 'jaxface[search]', or write .npy or .parquet") from None
  return faiss


__all__ = ["FORMS", "check_form", "write_embedding_file"]
