"""The sets of photos that an experiment trains a detector on."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jaxface.detection.crop_sampling import TrainingPhoto
from jaxface.detection.detector_data import annotated_photos, empty_photos, wider_photos
from jaxface.formats.provenance import Ancestor, Lineage
from jaxface.training.custom import expand_path


@dataclass(frozen=True)
class FacePhotos:
  """Photos of faces with points.

  Attributes:
    photos: their folder; may contain environment variables.
    annotations: file of their faces, see `jaxface.formats.read_landmarks`.
    points: the entry of a face in it with the points to learn, 5 or 68 of them.
    boxes: an entry that all faces with a box have.
    part: only photos of this part; "" for all.
    licence: of the photos, for the card of the detector.
    origin: of the photos, likewise.
  """

  photos: str = ""
  annotations: str = ""
  points: str = "points"
  boxes: str = "points"
  part: str = ""
  licence: str = ""
  origin: str = ""


@dataclass(frozen=True)
class PhotoSets:
  """Photos for the training of a detector: fields of its experiment.

  Attributes:
    photos: folder of photos with boxes in WIDER FACE's format (bbx_gt.txt, subsets.json); may contain environment variables.
    held_out: every n-th event of them is left out of the training; 0 leaves none out.
    faces: sets of photos of faces with points.
    no_faces: folder of photos without a face; "" for none.
    licence: of the photos, for the card of the detector.
    origin: of the photos, likewise.
  """

  photos: str = "$JAXFACE_DATA/photos/wider_dev"
  held_out: int = 3
  faces: tuple[FacePhotos, ...] = ()
  no_faces: str = ""
  licence: str = ""
  origin: str = ""

  def sets(self) -> dict[str, Any]:
    """These fields, for an experiment on the same photos."""
    return {each.name: getattr(self, each.name) for each in fields(PhotoSets)}

  def read_sets(self) -> tuple[list[TrainingPhoto], Lineage]:
    """All photos with their faces, and where they are from.

    Raises:
      ValueError: an environment variable is not set, or a set has no photo.
      DamagedData, OSError: a list cannot be read.
    """
    root = expand_path(self.photos, "photos")
    photos, lineage = wider_photos(root, self.held_out), [Ancestor("images", Path(root).name, self.licence, self.origin)]
    for number, of in enumerate(self.faces):
      faces, file = (expand_path(getattr(of, field), f"faces.{number}.{field}") for field in ("photos", "annotations"))
      photos += annotated_photos(faces, file, of.points, of.boxes, of.part or None)
      lineage.append(Ancestor("images", Path(faces).name, of.licence, of.origin))
    if self.no_faces:
      photos += empty_photos(expand_path(self.no_faces, "no_faces"))
    return photos, tuple(lineage)


__all__ = ["FacePhotos", "PhotoSets"]
