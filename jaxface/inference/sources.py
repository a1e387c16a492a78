"""Where faces lie, opened as a network takes them."""

from pathlib import Path

from jaxface.data.folder import FolderSource
from jaxface.data.records import RecordSource
from jaxface.data.source import Source
from jaxface.formats.manifest import FILE, UNKNOWN_TEMPLATE
from jaxface.formats.recordset import RecordSet
from jaxface.models.preprocess import Preprocess


def open_folder(path: Path | str, preprocess: Preprocess, template: str = UNKNOWN_TEMPLATE) -> FolderSource:
  """A folder of images, or one image.

  Args:
    path: the folder.
    preprocess: the network's convention. What it scales is read whole, as it is in packed records; what it crops may have any
      size.
    template: how the faces are aligned, where that is known.
  """
  return FolderSource(path, size=preprocess.size if preprocess.fit == "crop" else None, template=template)


def open_faces(path: Path | str, preprocess: Preprocess, template: str = UNKNOWN_TEMPLATE) -> Source:
  """Packed records, which state their template themselves, or what `open_folder` opens."""
  if (Path(path) / FILE).is_file():
    return RecordSource(RecordSet.open(path))
  return open_folder(path, preprocess, template)


__all__ = ["open_faces", "open_folder"]
