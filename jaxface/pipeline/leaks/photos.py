"""Opens sets of photos of any size, and reads them one by one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from jaxface.data.config import has_records, open_records
from jaxface.data.folder import FolderSource
from jaxface.data.source import Source, read_image


def open_photos(path: str | Path) -> Source:
  """Packed records, or a folder of images of any size."""
  return open_records(path) if has_records(path) else FolderSource(path, size=None)


def photo_reader(source: Source) -> Callable[[int], np.ndarray]:
  """A function that reads one whole image [H, W, 3] uint8 by record number."""
  return source.read_whole if isinstance(source, FolderSource) else partial(read_image, source)


__all__ = ["open_photos", "photo_reader"]
