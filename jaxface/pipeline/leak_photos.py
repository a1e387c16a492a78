"""Opens sets of photos of any size, and reads them one by one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.data.config import open_records
from jaxface.data.folder import FolderSource
from jaxface.data.source import Source
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.formats.manifest import FILE


def open_photos(path: str | Path) -> Source:
  """Packed records, or a folder of images of any size."""
  return open_records(path) if (Path(path) / FILE).is_file() else FolderSource(path, size=None)


def photo_reader(source: Source) -> Callable[[int], np.ndarray]:
  """A function that reads one whole image [H, W, 3] uint8 by record number."""
  if isinstance(source, FolderSource):
    return source.read_whole

  def read(record: int) -> np.ndarray:
    out = np.empty((1, *source.image_shape), np.uint8)
    for error in source.read(np.array([record]), out):
      raise error
    return out[0]

  return read


def pictures_of(source: Source) -> Callable[[str], bytes | None]:
  """Encoded image by name; None if it cannot be read."""
  record_of, read = {name: record for record, name in enumerate(source.names())}, photo_reader(source)

  def encoded(name: str) -> bytes | None:
    try:
      return encode_jpeg(read(record_of[name]))
    except DamagedData:
      return None

  return encoded


__all__ = ["open_photos", "photo_reader", "pictures_of"]
