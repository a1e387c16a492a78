"""Random access to the faces of tars, ZIP files, Parquet files, LMDB and TFDS folders, with one index."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.container_lmdb import lmdb_members, lmdb_value
from jaxface.formats.container_parquet import parquet_members
from jaxface.formats.container_tar import tar_members
from jaxface.formats.container_tfds import FEATURES, INFO, tfds_files, tfds_members
from jaxface.formats.container_zip import inflate, zip_members
from jaxface.formats.errors import DamagedData
from jaxface.formats.face_set import FaceSet
from jaxface.formats.kept_index import cache_file, kept_arrays
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.member_index import ARRAYS, Member, index_members, lines
from jaxface.formats.recordset import map_file

INDEX_VERSION = 1
READERS: dict[str, Callable[[list[Path], list[str]], Iterator[Member]]] = {
  "webdataset": tar_members, "zip": zip_members, "parquet": parquet_members, "lmdb": lmdb_members, "tfds": tfds_members,
}


class ContainerSet(FaceSet):
  """The faces of a container, in its order; labels are dense, in numeric order of the identities if all are numbers."""

  def __init__(self, path: str | Path, layout: str, *, template: str = UNKNOWN_TEMPLATE):
    """Opens a container; reads it once from end to end and keeps an index (see `kept_arrays`).

    Args:
      path: the file, `DIR/*.tar` or `DIR/*.parquet` for all such files of a folder, `DIR/features.json` for a TFDS folder.
      layout: "webdataset", "zip", "parquet", "lmdb" or "tfds".
      template: alignment template of the faces.
    Raises:
      DamagedData: a file is cut short or damaged, or a label is not an identity.
      UnsafePath: a path in an archive leaves it.
      ValueError: no image is in it.
    """
    self.path, self.layout, self.template = Path(path), layout, template
    files, chosen = _files(self.path, layout)
    self._files = files
    beside = files[0].parent / f"{_stem(self.path, files)}.index.npz"
    read = [*files, *([files[0].parent / INFO, files[0].parent / FEATURES] if layout == "tfds" else [])]
    # Parquet compresses image bytes: they are copied once into one file, which then has random access.
    self._copy = _copy_place(beside, files) if layout == "parquet" else None
    arrays = kept_arrays(beside, read, version=INDEX_VERSION, names=ARRAYS, make=self._make)
    if self._copy and not (self._copy.is_file() and self._copy.stat().st_size == int(arrays["length_n"].sum())):
      self._make()
    self._arrays = arrays
    self.label_n, self.identity_names = np.array(arrays["label_n"], np.int32), lines(arrays["identities"])
    self._names, self._keys = lines(arrays["names"]), lines(arrays["keys"])
    self.notes, self.sha256 = (*chosen, *lines(arrays["notes"])), bytes(arrays["sha256"]).hex()
    self.num_records, self.num_identities = len(self.label_n), len(self.identity_names)
    self._data = [] if layout == "lmdb" else [map_file(file) for file in ([self._copy] if self._copy else files)]
    self.image_shape = self.first_shape()

  def _make(self) -> dict[str, np.ndarray]:
    notes: list[str] = []
    members = READERS[self.layout](self._files, notes)
    if self._copy is None:
      return index_members(members, self.path, notes)
    with atomic_file(self._copy) as out:
      return index_members(_copied(members, out), self.path, notes)

  def place(self, record: int) -> tuple[Path, int]:
    """The file, and the offset of a record's image there."""
    files = [self._copy] if self._copy else self._files
    return files[int(self._arrays["file_n"][record])], int(self._arrays["offset_n"][record])

  def image(self, record: int) -> memoryview:
    """The image file of a record, compared with its checksum in the index.

    Raises:
      DamagedData: its bytes have changed since the index was made; names file and offset.
      IndexError: no such record.
    """
    self.check_record(record)
    file, offset = self.place(record)
    if self.layout == "lmdb":
      image = lmdb_value(file, self._keys[record])
    else:
      image = self._data[int(self._arrays["file_n"][record])][offset : offset + int(self._arrays["length_n"][record])]
      image = inflate(image, file, offset) if self._arrays["deflated_n"][record] else image
    if zlib.crc32(image) != self._arrays["crc_n"][record]:
      raise DamagedData("image does not have the checksum of the index", file=str(file), offset=offset, record=record)
    return memoryview(image)

  def names(self) -> list[str]:
    """Name of each record, IDENTITY/NAME unless the container has names of its own."""
    return list(self._names)


def _copied(members: Iterator[Member], out) -> Iterator[Member]:  # noqa: ANN001 (a binary file)
  for member in members:
    offset = out.tell()
    out.write(member.image)
    yield Member(member.name, member.identity, member.image, 0, offset, len(member.image))


def _copy_place(beside: Path, files: list[Path]) -> Path:
  """Where the copy of image bytes is: where it was made before, else beside the files, else in the cache folder."""
  # Its name has the state of the files, so that a changed file never meets an old copy.
  cached = cache_file(files, INDEX_VERSION, ".images")
  own = beside.with_name(f"{beside.name.removesuffix('.index.npz')}.{cached.stem[:16]}.images")
  for place in (own, cached):
    if place.is_file():
      return place
  try:
    with atomic_file(own) as file:
      file.write(b"")
    return own
  except OSError:
    return cached


def _stem(path: Path, files: list[Path]) -> str:
  return f"all{path.suffix}" if path.name.startswith("*") else "tfds" if path.name == FEATURES else files[0].name


def _files(path: Path, layout: str) -> tuple[list[Path], tuple[str, ...]]:
  """The files of a container, and notes on those that are left out."""
  if layout == "tfds":
    return tfds_files(path.parent), ()
  if not path.name.startswith("*"):
    return [path], ()
  found = sorted(path.parent.glob(path.name)) or sorted((path.parent / "data").glob(path.name))
  if not found:
    raise FileNotFoundError(f"{path}: no such file")
  train = [file for file in found if file.name.startswith("train")]
  if not train or len(train) == len(found):
    return found, ()
  return train, (f"{len(found) - len(train)} files of {path} do not begin with 'train': ignored (first: {next(file.name for file in found if file not in train)}).",)


__all__ = ["READERS", "ContainerSet"]
