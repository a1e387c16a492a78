"""The training of MTCNN as an experiment of `jaxface train`."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path

from jaxface.detection.detector_data import annotated_photos, wider_photos
from jaxface.detection.mtcnn_training import MtcnnTraining, TrainedDetector, train_mtcnn
from jaxface.formats.provenance import Ancestor
from jaxface.training.custom import CustomExperiment, expand_path


@dataclass(frozen=True)
class DetectorExperiment(MtcnnTraining, CustomExperiment):
  """Trains P-Net, R-Net and O-Net, and writes the detector.

  Attributes:
    photos: folder of photos with boxes in WIDER FACE's format (bbx_gt.txt, subsets.json); may contain environment variables.
    held_out: every n-th event of them is left out of the training; 0 leaves none out.
    faces: folder of photos of faces with points; "" for none.
    annotations: file of their faces, see `jaxface.formats.read_landmarks`.
    entry: the entry of a face in it with the points to learn, 5 or 68 of them.
    boxes_entry: an entry that all faces with a box have.
    licence: of the photos, for the card of the detector.
    origin: of the photos, likewise.
  """

  name: str = "mtcnn"
  photos: str = "$JAXFACE_DATA/photos/wider_dev"
  held_out: int = 3
  faces: str = "$JAXFACE_DATA/photos/helen_train"
  annotations: str = "$JAXFACE_DATA/photos/helen_train.json"
  entry: str = "points68"
  boxes_entry: str = "points5"
  licence: str = ""
  origin: str = ""

  def run(self, folder: Path) -> TrainedDetector:
    """Trains the detector, or goes on with an interrupted training; see `train_mtcnn`."""
    root = expand_path(self.photos, "photos")
    photos, lineage = wider_photos(root, self.held_out), [Ancestor("images", Path(root).name, self.licence, self.origin)]
    if self.faces:
      faces, file = expand_path(self.faces, "faces"), expand_path(self.annotations, "annotations")
      photos += annotated_photos(faces, file, self.entry, self.boxes_entry)
      lineage.append(Ancestor("images", Path(faces).name, self.licence, self.origin))
    config = MtcnnTraining(**{field.name: getattr(self, field.name) for field in fields(MtcnnTraining)})
    return train_mtcnn(photos, folder, config, lineage=tuple(lineage), progress=sys.stderr.isatty())


__all__ = ["DetectorExperiment"]
