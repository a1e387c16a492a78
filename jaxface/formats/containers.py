"""Finds the container of faces at a path, and opens it."""

import os
from functools import lru_cache
from pathlib import Path

from jaxface.formats.container_set import ContainerSet
from jaxface.formats.container_tfds import FEATURES, INFO, PREFIX, tfds_folder
from jaxface.formats.face_set import FaceSet
from jaxface.formats.manifest import FILE, UNKNOWN_TEMPLATE
from jaxface.formats.recordio_set import RecordIOSet, find_recordio

# Layouts, and the file or files that each has.
PATTERNS = {"recordio": "*.rec", "lmdb": "data.mdb", "tfds": FEATURES, "webdataset": "*.tar", "parquet": "*.parquet", "zip": "*.zip"}
CONTAINERS = tuple(PATTERNS)


def layout_of(path: Path) -> str | None:
  """The layout of a container by its name, or None: `X.rec`, `X.tar`, `X.zip`, `X.parquet`, `DIR/data.mdb`, `DIR/features.json`; `DIR/*.tar` is all of them."""
  if path.name == FEATURES:
    return "tfds"
  return {".rec": "recordio", ".mdb": "lmdb", ".tar": "webdataset", ".parquet": "parquet", ".zip": "zip"}.get(path.suffix)


def in_container(root: Path) -> bool:
  """Whether the root of a source is a container, whose members are named by their number."""
  return layout_of(root) is not None and (root.name.startswith("*") or root.is_file())


def find_container(path: str | Path, layout: str | None = None) -> Path | None:
  """The container at a path: a file, those of a folder, or `tfds:NAME`; None if there is none.

  Args:
    path: the file or the folder, or `tfds:NAME`.
    layout: one of `CONTAINERS`, None for any.
  Returns:
    A file, or `DIR/*.tar` or `DIR/*.parquet`, which stand for all such files.
  Raises:
    FileNotFoundError: `tfds:NAME` that is not prepared.
    ValueError: a folder has containers of several layouts, or several that do not belong together.
  """
  if str(path).startswith(PREFIX):
    return tfds_folder(str(path)) / FEATURES
  path = Path(path)
  if in_container(path):
    return path if layout in (None, layout_of(path)) else None
  if not path.is_dir():
    return None
  found = {each: file for each in ((layout,) if layout else CONTAINERS) if (file := _in_folder(path, each))}
  if len(found) > 1:
    raise ValueError(f"{path}: has containers of layouts {', '.join(found)}: give the path of one, or its layout")
  return next(iter(found.values()), None)


def _in_folder(folder: Path, layout: str) -> Path | None:
  if layout == "recordio":
    return find_recordio(folder)
  if layout in ("webdataset", "parquet"):
    places = (folder, folder / "data") if layout == "parquet" else (folder,)
    return next((place / PATTERNS[layout] for place in places if any(place.glob(PATTERNS[layout]))), None)
  if layout == "tfds":
    return folder / FEATURES if (folder / FEATURES).is_file() and (folder / INFO).is_file() else None
  files = sorted(folder.glob(PATTERNS[layout]))
  if len(files) > 1:
    raise ValueError(f"{folder}: has {len(files)} files {PATTERNS[layout]} ({', '.join(file.name for file in files[:5])}): give the path of one")
  return files[0] if files else None


def container_without_set(path: str | Path) -> Path | None:
  """The container to read at a path: that of `find_container`, unless a packed set is there."""
  return None if (Path(path) / FILE).is_file() else find_container(path)


def open_container(path: Path, *, template: str = UNKNOWN_TEMPLATE, progress: bool = False) -> FaceSet:
  """Opens what `find_container` found.

  Args:
    path: the container.
    template: alignment template of the faces.
    progress: show a bar while the index of a record file is made.
  """
  layout = layout_of(path)
  if layout == "recordio":
    return RecordIOSet.open(path, template=template, progress=progress)
  assert layout is not None, path
  return ContainerSet(path, layout, template=template)


def opened(path: Path) -> FaceSet:
  """A container that stays open in this process, until it changes."""
  files = sorted(path.parent.glob(path.name)) if path.name.startswith("*") else [path]
  status = [os.stat(file) for file in files]
  return _opened(path, tuple((each.st_size, each.st_mtime_ns) for each in status))


@lru_cache(maxsize=4)
def _opened(path: Path, state: tuple[tuple[int, int], ...]) -> FaceSet:
  return open_container(path)


__all__ = ["CONTAINERS", "PATTERNS", "container_without_set", "find_container", "in_container", "layout_of", "open_container", "opened"]
