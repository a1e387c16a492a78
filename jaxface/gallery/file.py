"""A gallery as one file: plain arrays in `.npz` form, with a checksum of each, written atomically."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import npz_array, reading_npz
from jaxface.gallery.gallery import Gallery, Maker

FORMAT_VERSION = 1
_ARRAYS = ("people", "photo", "person", "quality", "embedding")


def write_gallery(path: str | Path, gallery: Gallery) -> None:
  """Writes a gallery atomically; equal galleries give equal bytes.

  Args:
    path: file to write; an existing one is replaced.
    gallery: what to write.
  """
  maker = {name: value for name, value in asdict(gallery.maker).items() if value or name != "verifier"}
  about = {"format_version": FORMAT_VERSION, "kind": "gallery", "maker": maker}
  with atomic_file(path) as file:
    np.savez(
      file, allow_pickle=False, meta=np.array(json.dumps(about)), people=np.array(gallery.people, np.str_),
      photo=np.array(gallery.photos, np.str_), person=gallery.person_n, quality=gallery.quality_n, embedding=gallery.embedding_nd,
    )


def read_gallery(path: str | Path) -> Gallery:
  """Reads a gallery. Nothing is unpickled.

  Args:
    path: file of `write_gallery` or `jaxface enrol`.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: the file is not complete, or is not a gallery of this version.
  """
  path = Path(path)
  with reading_npz(path) as archive:
    present = {name.removesuffix(".npy") for name in archive.namelist()}
    if missing := [name for name in ("meta", *_ARRAYS) if name not in present]:
      raise DamagedData(f"not a gallery: it has no array {missing[0]!r}. `jaxface enrol` makes galleries", file=str(path))
    maker = _maker(path, str(npz_array(archive, "meta")[()]))
    people_p, photo_n, person_n, quality_n, embedding_nd = (npz_array(archive, name) for name in _ARRAYS)
  fits = (
    people_p.dtype.kind == photo_n.dtype.kind == "U" and people_p.ndim == photo_n.ndim == 1 and embedding_nd.ndim == 2
    and person_n.dtype == np.int64 and quality_n.dtype == embedding_nd.dtype == np.float32
    and person_n.shape == quality_n.shape == photo_n.shape == embedding_nd.shape[:1]
  )
  gallery = Gallery(maker, tuple(people_p.tolist()), tuple(photo_n.tolist()), person_n, embedding_nd, quality_n) if fits else None
  if gallery is None or not _complete(gallery):
    raise DamagedData("its arrays do not fit together: enrol the people again", file=str(path))
  return gallery


def _complete(gallery: Gallery) -> bool:
  """Whether everybody has a photo, all is in order and once, and embeddings and qualities are in their ranges."""
  if set(gallery.person_n.tolist()) != set(range(len(gallery))) or list(gallery.people) != sorted(set(gallery.people)):
    return False
  entries = list(zip(gallery.person_n.tolist(), gallery.photos))
  length_n = np.linalg.norm(gallery.embedding_nd.astype(np.float64), axis=1)
  return (
    entries == sorted(set(entries)) and bool((np.abs(length_n - 1) < 1e-4).all())
    and bool((np.isfinite(gallery.quality_n) & (gallery.quality_n > 0)).all())
  )


def _maker(path: Path, text: str) -> Maker:
  try:
    about: Any = json.loads(text)
    kind, version, maker = about["kind"], about["format_version"], about["maker"]
  except (json.JSONDecodeError, KeyError, TypeError) as error:
    raise DamagedData("not a gallery: its metadata cannot be read", file=str(path)) from error
  if kind != "gallery" or version != FORMAT_VERSION:
    raise DamagedData(f"it is a {kind} of format {version}; this release reads galleries of format {FORMAT_VERSION}", file=str(path))
  names = {one.name for one in fields(Maker)}
  if not isinstance(maker, dict) or set(maker) | {"verifier"} != names or not all(isinstance(value, str) for value in maker.values()):
    raise DamagedData("not a gallery: its metadata do not say what made it", file=str(path))
  return Maker(**maker)


__all__ = ["read_gallery", "write_gallery"]
