"""Opens images or packed records with the input size of a network."""

from pathlib import Path

from jaxface.data.config import has_records, open_records
from jaxface.data.folder import FolderSource
from jaxface.data.source import Source
from jaxface.formats.aligned import known_template
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.geometry.templates import check_template_name
from jaxface.models.preprocess import Preprocess


def folder_size(preprocess: Preprocess) -> tuple[int, int] | None:
  """The size to which images of a folder are cropped; None if the network's convention scales full images."""
  return preprocess.size if preprocess.fit == "crop" else None


def open_faces(faces: Path | str | Source, preprocess: Preprocess, template: str = "") -> Source:
  """Packed records, a folder of images, or one image.

  Args:
    faces: the path; a `Source` is returned as it is.
    preprocess: the network's convention. If it scales, images are read in full, as in packed records; if it crops, they may have
      any size.
    template: alignment template of a folder, if known, "none" for not aligned; "" takes that of `jaxface align`, if it made the folder.
  Raises:
    ValueError: an unknown template, one that differs from aligned.json of the folder, or one given with packed records, which have their own.
    FileNotFoundError: the path does not exist.
  """
  check_template_name("template", template)
  folder = isinstance(faces, (str, Path)) and not has_records(faces)
  if template and not folder:
    raise ValueError("template is for folders of images; packed records have their own (pack --template)")
  if not isinstance(faces, (str, Path)):
    return faces
  if folder:
    return FolderSource(faces, size=folder_size(preprocess), template=known_template(faces, template) or UNKNOWN_TEMPLATE)
  return open_records(faces)


__all__ = ["folder_size", "open_faces"]
