"""Trains the network of DDFD on windows of photos, with the engine of all trainings."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxface.data.augmentation import AugmentConfig, check_still
from jaxface.detection.crop_run import check_steps, crop_run, kept_crops, photos_digest
from jaxface.detection.crop_sampling import TrainingPhoto
from jaxface.detection.ddfd_net import HeatMapNet, WindowNet, dense_side, scaled_channels
from jaxface.detection.mtcnn_training import AUGMENT, TrainedDetector
from jaxface.detection.photo_sets import PhotoSets
from jaxface.detection.sample_files import CropSource
from jaxface.detection.saved import SavedDetector, write_detector
from jaxface.detection.window_sampling import WindowSampling, window_crops
from jaxface.formats import provenance
from jaxface.formats.provenance import Lineage
from jaxface.losses.detection import POSITIVE, FaceScore
from jaxface.losses.ranges import check_range
from jaxface.models.preprocess import Preprocess
from jaxface.training.custom import CustomExperiment
from jaxface.training.loop import train_run
from jaxface.training.parts import Run
from jaxface.training.workdir import Workdir


@dataclass(frozen=True)
class DdfdTraining:
  """Settings of the training.

  Attributes:
    seed: of windows, initial values, order, augmentation and dropout.
    devices: number of devices to use, 0 for all; a run can be resumed on another number.
    window: side of a window in pixels: 40, 48, 56 and so on.
    width: factor on AlexNet's channels.
    dense: numbers of each dense layer.
    dropout: share of them that is dropped in training.
    sampling: how many windows are taken from a photo.
    augment: changes of the windows that leave every pixel in its place.
    mirror: probability of a mirrored window.
    steps: optimizer steps.
    batch_size: windows per step.
    faces_share: share of windows with a face in a batch; the paper has 32 of 128.
    hardest: share of the windows that count in the loss, by falling loss; the paper has all.
    learning_rate: peak of AdamW's rate, with a cosine schedule.
    weight_decay: of AdamW.
    ema: decay of the running average of the parameters, which becomes the network.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two saved states.
  """

  seed: int = 0
  devices: int = 0
  window: int = 48
  width: float = 0.25
  dense: int = 256
  dropout: float = 0.5
  sampling: WindowSampling = field(default_factory=WindowSampling)
  augment: AugmentConfig = AUGMENT
  mirror: float = 0.5
  steps: int = 2500
  batch_size: int = 128
  faces_share: float = 0.25
  hardest: float = 1.0
  learning_rate: float = 1e-3
  weight_decay: float = 1e-3
  ema: float = 0.99
  log_every: int = 50
  checkpoint_every: int = 500

  def __post_init__(self) -> None:
    dense_side(self.window)
    check_steps(self)
    check_range(self, "dense", 1)
    check_range(self, "width", 0.0, open_low=True)
    check_range(self, "mirror", 0.0, 1.0)
    check_range(self, "faces_share", 0.0, 1.0, open_low=True, open_high=True)
    check_range(self, "dropout", 0.0, 1.0, open_high=True)
    check_still(self.augment)


def make_run(source: CropSource, config: DdfdTraining) -> Run:
  """The parts of the run.

  Args:
    source: the windows.
    config: the settings.
  Raises:
    ValueError: there is no window with or without a face, or the batch does not spread over the devices.
  """
  net = HeatMapNet(config.window, scaled_channels(config.width), config.dense, config.dropout)
  preprocess = Preprocess("ddfd", (config.window, config.window), (127.5,), (128.0,), "none")
  fields: dict[str, Any] = asdict(config)
  fields["mesh.devices"] = fields.pop("devices")
  return crop_run(
    "ddfd", WindowNet(net), preprocess, source, (FaceScore(config.hardest),), config, shares=(1 - config.faces_share, config.faces_share),
    seed=config.seed, devices=config.devices, augment=config.augment, mirror=config.mirror, fields=fields,
  )


def train_ddfd(
  photos: Sequence[TrainingPhoto], workdir: Path | str, config: DdfdTraining | None = None, *, lineage: Lineage = (),
  progress: bool = False,
) -> TrainedDetector:
  """Trains the network, or goes on with an interrupted training, and writes the detector.

  Args:
    photos: photos with all their faces, and photos without a face.
    workdir: folder of the run; the windows go to `workdir/crops`, the detector to `workdir/model`.
    config: the settings.
    lineage: where the photos are from, for the card of the detector.
    progress: show a bar while windows are made.
  Returns:
    The detector.
  Raises:
    ValueError: there is no window with or without a face, a batch that does not spread over the devices, or the workdir holds a run
      with other settings or photos.
    DamagedData, OSError: a photo or a file of the workdir cannot be read.
    Interrupted: a signal came; the state is saved, and the same call goes on.
  """
  config = config or DdfdTraining()
  folder = Workdir(workdir)
  settings = {"seed": config.seed, "window": config.window, "sampling": asdict(config.sampling), "photos": photos_digest(photos)}
  with folder.own():
    parts = window_crops(photos, config.sampling, config.seed, config.window, progress=progress)
    source = kept_crops(folder.path / "crops", config.window, parts, settings)
    faces = int((source.kind_n == POSITIVE).sum())
    print(f"ddfd: {faces:,} windows with a face, {source.num_records - faces:,} without", file=sys.stderr)
    trained = train_run(make_run(source, config), Workdir(folder.path / "net"))
    crops = {"face": faces, "other": source.num_records - faces}
    meta = {"experiment": "ddfd", "steps": trained.step, "crops": crops, "photos": len(photos), "lineage": provenance.to_json(lineage)}
    saved = SavedDetector("ddfd", {}, {"net": trained.variables["params"]["net"]}, meta)
    write_detector(folder.model, saved)
  return TrainedDetector(folder.path, saved, crops)


@dataclass(frozen=True)
class DdfdExperiment(DdfdTraining, PhotoSets, CustomExperiment):
  """The training of the detector as an experiment of `jaxface train`.

  Its fields are those of `DdfdTraining` and of `jaxface.detection.photo_sets.PhotoSets`.
  """

  name: str = "ddfd"

  def run(self, folder: Path) -> TrainedDetector:
    """Trains the detector, or goes on with an interrupted training; see `train_ddfd`."""
    photos, lineage = self.read_sets()
    return train_ddfd(photos, folder, self.settings(DdfdTraining), lineage=lineage, progress=sys.stderr.isatty())


__all__ = ["DdfdExperiment", "DdfdTraining", "make_run", "train_ddfd"]
