"""Trains MTCNN: P-Net, R-Net and O-Net in turn, each with the engine of all trainings, on crops of photos.

R-Net and O-Net also learn from what the networks before them take for a face. The crops of a stage are written once; a stage that was
interrupted goes on from its last checkpoint, and one that is complete is only read.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxface.data.augmentation import AugmentConfig, check_still
from jaxface.detection.crop_network import crop_network, crop_side, detector_params
from jaxface.detection.crop_run import check_steps, crop_run, kept_crops, params_digest, photos_digest
from jaxface.detection.crop_sampling import Sampling, TrainingPhoto
from jaxface.detection.detector_data import stage_crops
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.detection.sample_files import CropSource
from jaxface.detection.saved import SavedDetector, write_detector
from jaxface.formats import provenance
from jaxface.formats.provenance import Lineage
from jaxface.losses.detection import BoxOffsets, FacePoints, FaceScore
from jaxface.training.loop import train_run
from jaxface.training.parts import Run
from jaxface.training.workdir import Workdir

STAGES = ("pnet", "rnet", "onet")
AUGMENT = AugmentConfig(
  mirror=0, shift=0, low_resolution=0.2, low_resolution_least=0.4, jitter=0.8, brightness=0.15, contrast=0.3, grey=0.15
)


@dataclass(frozen=True)
class StageTraining:
  """Settings of the training of one network.

  Attributes:
    steps: optimizer steps.
    batch_size: crops per step.
    learning_rate: peak of AdamW's rate, with a cosine schedule.
    weight_decay: of AdamW.
    hardest: share of the crops with and without a face that count in the score's loss, by falling loss.
    score_weight: weight of the loss of the score.
    offset_weight: weight of the loss of the box.
    point_weight: weight of the loss of the points.
    shares: proportion of crops without a face, with a face, with a part of one, and with points, in a batch.
    ema: decay of the running average of the parameters, which becomes the network.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two saved states.
  """

  steps: int = 4000
  batch_size: int = 448
  learning_rate: float = 2e-3
  weight_decay: float = 1e-3
  hardest: float = 0.7
  score_weight: float = 1.0
  offset_weight: float = 0.5
  point_weight: float = 0.5
  shares: tuple[float, ...] = (3, 1, 1, 2)
  ema: float = 0.99
  log_every: int = 50
  checkpoint_every: int = 500

  def __post_init__(self) -> None:
    check_steps(self)
    if len(self.shares) != 4:
      raise ValueError(f"shares are {self.shares}: needs four numbers: no face, face, part, points")


@dataclass(frozen=True)
class MtcnnTraining:
  """Settings of a training of MTCNN.

  Attributes:
    seed: of squares, initial values, order and augmentation.
    devices: number of devices to use, 0 for all; a run can be resumed on another number.
    thresholds: least scores of P-Net and of R-Net with which candidates for the next network are mined.
    sampling: how many squares are taken from a photo.
    augment: changes of the crops that leave every pixel in its place.
    pnet: training of P-Net.
    rnet: training of R-Net.
    onet: training of O-Net.
  """

  seed: int = 0
  devices: int = 0
  thresholds: tuple[float, ...] = (0.5, 0.5)
  sampling: Sampling = field(default_factory=Sampling)
  augment: AugmentConfig = AUGMENT
  pnet: StageTraining = field(default_factory=StageTraining)
  rnet: StageTraining = field(default_factory=lambda: StageTraining(batch_size=252))
  onet: StageTraining = field(default_factory=lambda: StageTraining(batch_size=126, point_weight=1.0))

  def __post_init__(self) -> None:
    if len(self.thresholds) != 2 or not all(0 <= number <= 1 for number in self.thresholds):
      raise ValueError(f"thresholds are {self.thresholds}: needs two numbers in 0..1")
    check_still(self.augment)


@dataclass(frozen=True)
class TrainedDetector:
  """Result of a finished training.

  Attributes:
    workdir: folder of the run; the detector is in `workdir/model`.
    saved: the detector.
    crops: number of crops by network.
  """

  workdir: Path
  saved: SavedDetector
  crops: dict[str, int] = field(default_factory=dict)

  def __str__(self) -> str:
    counts = ", ".join(f"{net} {count:,}" for net, count in self.crops.items())
    return f"model {self.workdir / 'model'} · {self.saved.num_parameters:,} parameters, crops: {counts}"


def train_mtcnn(
  photos: Sequence[TrainingPhoto], workdir: Path | str, config: MtcnnTraining | None = None, *, lineage: Lineage = (),
  progress: bool = False,
) -> TrainedDetector:
  """Trains the three networks, or goes on with an interrupted training, and writes the detector.

  Args:
    photos: photos with faces, some of them with points.
    workdir: folder of the run, with a folder for each network; the detector goes to `workdir/model`.
    config: the settings.
    lineage: where the photos are from, for the card of the detector.
    progress: show a bar while crops are made.
  Returns:
    The detector.
  Raises:
    ValueError: a kind of crops is missing, a batch that does not spread over the devices, or the workdir holds a run with other
      settings or photos.
    DamagedData, OSError: a photo or a file of the workdir cannot be read.
    Interrupted: a signal came; the state is saved, and the same call goes on.
  """
  config = config or MtcnnTraining()
  folder = Workdir(workdir)
  params: dict[str, Any] = {}
  crops, steps = {}, {}
  with folder.own():
    for net in STAGES:
      source = _crops(net, photos, folder.path / net / "crops", config, params, progress=progress)
      print(f"{net}: {source.num_records:,} crops of {source.image_shape[0]} pixels", file=sys.stderr)
      trained = train_run(make_stage_run(net, source, config), Workdir(folder.path / net))
      params[net] = detector_params(trained.variables["params"])
      crops[net], steps[net] = source.num_records, trained.step
    meta = {"experiment": "mtcnn", "steps": steps, "crops": crops, "photos": len(photos), "lineage": provenance.to_json(lineage)}
    saved = SavedDetector("mtcnn", {}, params, meta)
    write_detector(folder.model, saved)
  return TrainedDetector(folder.path, saved, crops)


def _crops(
  net: str, photos: Sequence[TrainingPhoto], folder: Path, config: MtcnnTraining, params: dict[str, Any], *, progress: bool
) -> CropSource:
  """The crops of a stage, made if the folder does not have them yet."""
  thresholds = config.thresholds[: STAGES.index(net)]
  settings: dict[str, Any] = {
    "seed": config.seed, "sampling": asdict(config.sampling), "thresholds": list(thresholds),
    "photos": photos_digest(photos),
    "networks": params_digest(params),
  }
  first, second, *_ = (*thresholds, 0.0, 0.0)  # of networks that are not there yet
  before = Mtcnn(params, MtcnnConfig(thresholds=(first, second, 0.0))) if params else None
  return kept_crops(folder, crop_side(net), stage_crops(net, photos, config.sampling, config.seed, before, progress=progress), settings)


def make_stage_run(net: str, source: CropSource, config: MtcnnTraining) -> Run:
  """The parts of the run of one network.

  Args:
    net: "pnet", "rnet" or "onet".
    source: its crops.
    config: the settings of all.
  Raises:
    ValueError: a kind of crops is missing, or the batch does not spread over the devices.
  """
  stage: StageTraining = getattr(config, net)
  module, preprocess = crop_network(net)
  fields = {**asdict(stage), "seed": config.seed, "mesh.devices": config.devices, "augment": asdict(config.augment)}
  terms = (FaceScore(stage.hardest, stage.score_weight), BoxOffsets(stage.offset_weight), FacePoints(stage.point_weight))
  return crop_run(
    net, module, preprocess, source, terms, stage, shares=stage.shares, seed=config.seed, devices=config.devices, augment=config.augment,
    # Crops of P-Net are stored in both forms.
    mirror=0.0 if net == "pnet" else 0.5, fields=fields,
  )


__all__ = ["STAGES", "MtcnnTraining", "StageTraining", "TrainedDetector", "make_stage_run", "train_mtcnn"]
