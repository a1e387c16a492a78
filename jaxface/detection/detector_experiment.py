"""The training of MTCNN as an experiment of `jaxface train`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from jaxface.detection.detector_data import annotated_photos, empty_photos, wider_photos
from jaxface.detection.mtcnn_training import MtcnnTraining, TrainedDetector, train_mtcnn
from jaxface.formats.provenance import Ancestor
from jaxface.training.custom import CustomExperiment, expand_path


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
class DetectorExperiment(MtcnnTraining, CustomExperiment):
  """Trains P-Net, R-Net and O-Net, and writes the detector.

  Attributes:
    photos: folder of photos with boxes in WIDER FACE's format (bbx_gt.txt, subsets.json); may contain environment variables.
    held_out: every n-th event of them is left out of the training; 0 leaves none out.
    faces: sets of photos of faces with points.
    no_faces: folder of photos without a face; "" for none.
    licence: of the photos, for the card of the detector.
    origin: of the photos, likewise.
  """

  name: str = "mtcnn"
  photos: str = "$JAXFACE_DATA/photos/wider_dev"
  held_out: int = 3
  faces: tuple[FacePhotos, ...] = ()
  no_faces: str = ""
  licence: str = ""
  origin: str = ""

  def run(self, folder: Path) -> TrainedDetector:
    """Trains the detector, or goes on with an interrupted training; see `train_mtcnn`."""
    root = expand_path(self.photos, "photos")
    photos, lineage = wider_photos(root, self.held_out), [Ancestor("images", Path(root).name, self.licence, self.origin)]
    for number, of in enumerate(self.faces):
      faces, file = (expand_path(getattr(of, field), f"faces.{number}.{field}") for field in ("photos", "annotations"))
      photos += annotated_photos(faces, file, of.points, of.boxes, of.part or None)
      lineage.append(Ancestor("images", Path(faces).name, of.licence, of.origin))
    if self.no_faces:
      photos += empty_photos(expand_path(self.no_faces, "no_faces"))
    return train_mtcnn(photos, folder, self.settings(MtcnnTraining), lineage=tuple(lineage), progress=sys.stderr.isatty())


__all__ = ["DetectorExperiment", "FacePhotos"]
