"""The training of MTCNN as an experiment of `jaxface train`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from jaxface.detection.mtcnn_training import MtcnnTraining, TrainedDetector, train_mtcnn
from jaxface.detection.photo_sets import PhotoSets
from jaxface.training.custom import CustomExperiment


@dataclass(frozen=True)
class DetectorExperiment(MtcnnTraining, PhotoSets, CustomExperiment):
  """Trains P-Net, R-Net and O-Net, and writes the detector.

  Its fields are those of `MtcnnTraining` and of `jaxface.detection.photo_sets.PhotoSets`.
  """

  name: str = "mtcnn"

  def run(self, folder: Path) -> TrainedDetector:
    """Trains the detector, or goes on with an interrupted training; see `train_mtcnn`."""
    photos, lineage = self.read_sets()
    return train_mtcnn(photos, folder, self.settings(MtcnnTraining), lineage=lineage, progress=sys.stderr.isatty())


__all__ = ["DetectorExperiment"]
