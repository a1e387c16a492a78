"""Random access to the faces of an MXNet record file, such as InsightFace's training sets, without MXNet."""

import os
import sys
import threading
import zlib
from pathlib import Path

import numpy as np

from jaxface.formats.errors import DamagedData
from jaxface.formats.face_set import FaceSet
from jaxface.formats.kept_index import kept_arrays
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.recordio import ARRAYS, RecordIndex, read_frames, read_keys, scan
from jaxface.formats.recordset import map_file

INDEX_VERSION = 2


def find_recordio(path: str | Path) -> Path | None:
  """The `.rec` file at a path: the file itself, or the only one directly in a folder; None if there is none.

  Raises:
    ValueError: a folder has several.
  """
  path = Path(path)
  if path.suffix == ".rec" and path.is_file():
    return path
  found = sorted(path.glob("*.rec")) if path.is_dir() else []
  if len(found) > 1:
    raise ValueError(f"{path}: has {len(found)} record files ({', '.join(file.name for file in found[:5])}): give the path of one")
  return found[0] if found else None


class RecordIOSet(FaceSet):
  """The faces of a record file, in its order; see `RecordSet` for the methods that both have.

  Labels are dense, in the order of the file's numbers of identities. Names are IDENTITY/KEY, such as "17/148".

  Attributes:
    path: the `.rec` file.
    num_records: number of images.
    num_identities: number of identities with images.
    label_n: [N] int32, identity of each image.
    identity_names: the file's numbers of identities as text, by label.
    template: name of the alignment template.
    image_shape: (height, width, 3) of the first image; the others may differ.
    sha256: digest of the file.
    notes: lines for the user, on what was ignored.
  """

  layout = "recordio"

  def __init__(self, path: Path, index: RecordIndex, keys: dict[int, int] | None, template: str = UNKNOWN_TEMPLATE):
    self.path, self.template, self.sha256 = path, template, index.sha256
    self._data, self._lock = map_file(path), threading.Lock()
    key_n = _keys(path, index, keys)
    face_n, self.notes = _faces(path, index, key_n)
    self._index = RecordIndex(**{name: getattr(index, name)[face_n] for name in ARRAYS}, sha256=index.sha256)
    self._key_n = key_n[face_n]
    number_n = self._index.label_n
    wrong = np.flatnonzero(~(np.isfinite(number_n) & (number_n == np.round(number_n)) & (number_n >= 0) & (number_n < 2**53)))
    if len(wrong):
      raise DamagedData(f"label {number_n[wrong[0]]} is not the number of an identity", file=str(path), offset=int(self._index.offset_n[wrong[0]]), record=int(self._key_n[wrong[0]]))
    found, label_n = np.unique(number_n.astype(np.int64), return_inverse=True)
    self.label_n = label_n.astype(np.int32)
    self.identity_names = [str(number) for number in found.tolist()]
    self.num_records, self.num_identities = len(self.label_n), len(found)
    self.image_shape = self.first_shape()

  @classmethod
  def open(cls, path: str | Path, *, template: str = UNKNOWN_TEMPLATE, progress: bool = False) -> "RecordIOSet":
    """Opens a record file; reads it once from end to end and keeps an index beside it, `NAME.rec.index.npz`, or else in the cache folder.

    Args:
      path: the `.rec` file, or a folder with one; a `.idx` file of the same name gives the keys, else they are counted.
      template: alignment template of the faces.
      progress: show a bar while the index is made.
    Raises:
      FileNotFoundError: no record file there.
      DamagedData: a record is cut short or damaged, a label is not the number of an identity, or `.idx` is of another file.
      ValueError: no image is in it, or a folder has several record files.
    """
    file = find_recordio(path)
    if file is None:
      raise FileNotFoundError(f"{path}: no .rec file")
    keys = file.with_suffix(".idx")
    return cls(file, _load_index(file, progress), read_keys(keys) if keys.is_file() else None, template)

  def place(self, record: int) -> tuple[Path, int]:
    """The file, and the offset of a record's first frame."""
    return self.path, int(self._index.offset_n[record])

  def image(self, record: int) -> memoryview:
    """The image file of a record, compared with its checksum in the index.

    Raises:
      DamagedData: its bytes have changed since the index was made; names file, offset and key.
      IndexError: no such record.
    """
    self.check_record(record)
    offset = int(self._index.offset_n[record])
    content, _ = read_frames(self._data, offset, self.path)
    image = memoryview(content)[int(self._index.image_n[record]) :]
    if zlib.crc32(image) != self._index.crc_n[record]:
      raise DamagedData("image does not have the checksum of the index", file=str(self.path), offset=offset, record=int(self._key_n[record]))
    return image

  def names(self) -> list[str]:
    """IDENTITY/KEY of each record."""
    return [f"{self.identity_names[label]}/{key}" for label, key in zip(self.label_n.tolist(), self._key_n.tolist())]


def _keys(path: Path, index: RecordIndex, keys: dict[int, int] | None) -> np.ndarray:
  """[N] int64 key of each record."""
  if keys is None:
    return np.arange(len(index))
  lost = sorted(set(keys) - set(index.offset_n.tolist()))
  if lost:
    raise DamagedData(f"no record of {path.name} begins at {lost[0]:,} ({len(lost):,} of {len(keys):,} offsets): it is of another file", file=str(path.with_suffix(".idx")))
  return np.array([keys.get(offset, -1) for offset in index.offset_n.tolist()], np.int64)


def _faces(path: Path, index: RecordIndex, key_n: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
  """Records that are images of faces, and notes on the others."""
  notes = []
  face_n = index.bytes_n > 0
  first = np.flatnonzero(key_n == 0)
  if len(first) and not face_n[first[0]] and np.isfinite(index.bound_n[first[0]]):
    # InsightFace: keys from 1 to this one are images, the others say which images an identity has.
    end = index.label_n[first[0]]
    images = int((face_n & (key_n > 0) & (key_n < end)).sum())
    if images != end - 1:
      notes.append(f"{path}: record 0 announces {int(end) - 1:,} images, {images:,} are there.")
    face_n &= key_n < end
  unlisted = int((key_n < 0).sum())
  if unlisted:
    notes.append(f"{path}: {unlisted:,} records are not in the .idx file: ignored.")
    face_n &= key_n >= 0
  return np.flatnonzero(face_n), tuple(notes)


def _load_index(file: Path, progress: bool) -> RecordIndex:
  """The index that is kept, made anew if it is missing or of another state of the file."""

  def make() -> dict[str, np.ndarray]:
    from tqdm import tqdm

    with tqdm(total=os.stat(file).st_size, desc=f"index of {file.name}", unit="B", unit_scale=True, disable=not progress, file=sys.stderr) as bar:
      index = scan(map_file(file), file, bar.update)
    return {**{name: getattr(index, name) for name in ARRAYS}, "sha256": np.frombuffer(bytes.fromhex(index.sha256), np.uint8)}

  arrays = kept_arrays(file.with_name(f"{file.name}.index.npz"), [file], version=INDEX_VERSION, names=[*ARRAYS, "sha256"], make=make)
  return RecordIndex(**{name: arrays[name] for name in ARRAYS}, sha256=bytes(arrays["sha256"]).hex())


__all__ = ["RecordIOSet", "find_recordio"]
