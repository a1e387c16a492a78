"""Where faces lie, opened as a network takes them."""

from pathlib import Path

from jaxface.data.config import open_records
from jaxface.data.folder import FolderSource
from jaxface.data.source import Source
from jaxface.formats.manifest import FILE, UNKNOWN_TEMPLATE
from jaxface.geometry.templates import check_template_name
from jaxface.models.preprocess import Preprocess


def folder_size(preprocess: Preprocess) -> tuple[int, int] | None:
  """The size to which images of a folder are cropped for a network; None where it scales them and sees them whole."""
  return preprocess.size if preprocess.fit == "crop" else None


def open_faces(faces: Path | str | Source, preprocess: Preprocess, template: str = "") -> Source:
  """Packed records, a folder of images, or one image.

  Args:
    faces: the path; a `Source` is returned as it is.
    preprocess: the network's convention. What it scales is read whole, as it is in packed records; what it crops may have any
      size.
    template: how the faces of a folder are aligned, where that is known, "none" for aligned to none.
  Raises:
    ValueError: an unknown template, or one beside packed records, which carry theirs.
    FileNotFoundError: there is nothing at the path.
  """
  check_template_name("template", template)
  folder = isinstance(faces, (str, Path)) and not (Path(faces) / FILE).is_file()
  if template and not folder:
    raise ValueError("template says how the faces of a folder are aligned; packed records carry theirs (pack --template)")
  if not isinstance(faces, (str, Path)):
    return faces
  if folder:
    return FolderSource(faces, size=folder_size(preprocess), template=template or UNKNOWN_TEMPLATE)
  return open_records(faces)


__all__ = ["folder_size", "open_faces"]
