"""Trains Faceness: the part networks on patches, the regions of the parts, and the network that judges, with the engine of all trainings."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.data.augmentation import AugmentConfig, check_still
from jaxface.detection.crop_run import check_steps, crop_run, kept_crops, params_digest, photos_digest
from jaxface.detection.crop_sampling import Sampling, TrainingPhoto, draw_squares, mined_squares
from jaxface.detection.ddfd_net import HeatMapNet, WindowNet, dense_side, scaled_channels
from jaxface.detection.detector_data import training_pixels
from jaxface.detection.faceness import Faceness, FacenessConfig
from jaxface.detection.faceness_score import WINDOW, fit_regions
from jaxface.detection.mtcnn import photo_sums
from jaxface.detection.mtcnn_training import AUGMENT, StageTraining, TrainedDetector
from jaxface.detection.part_nets import PARTS, PATCH, PartNets, PatchNets, part_maps
from jaxface.detection.part_sampling import PatchSampling, patch_crops
from jaxface.detection.photo_sets import PhotoSets
from jaxface.detection.sample_files import CropSource
from jaxface.detection.saved import SavedDetector, write_detector
from jaxface.detection.size_classes import padded_rows, row_class, side_class, stack_photos
from jaxface.detection.square_crops import cut_squares
from jaxface.formats import provenance
from jaxface.formats.provenance import Lineage
from jaxface.losses.detection import BOXES, POSITIVE, BoxOffsets, FaceScore, PartScores
from jaxface.losses.ranges import check_range
from jaxface.models.preprocess import Preprocess
from jaxface.training.custom import CustomExperiment
from jaxface.training.loop import train_run
from jaxface.training.parts import Run
from jaxface.training.workdir import Workdir

_WINDOWS = 256


@dataclass(frozen=True)
class PartTraining:
  """Settings of the training of the part networks.

  Attributes:
    steps: optimizer steps.
    batch_size: patches per step.
    learning_rate: peak of AdamW's rate, with a cosine schedule.
    weight_decay: of AdamW.
    shares: proportion of patches of no part and of each part in a batch.
    ema: decay of the running average of the parameters, which become the networks.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two saved states.
  """

  steps: int = 2000
  batch_size: int = 320
  learning_rate: float = 2e-3
  weight_decay: float = 1e-3
  shares: tuple[float, ...] = (5, 1, 1, 1, 1, 1)
  ema: float = 0.99
  log_every: int = 50
  checkpoint_every: int = 500

  def __post_init__(self) -> None:
    check_steps(self)
    if len(self.shares) != 1 + len(PARTS):
      raise ValueError(f"shares are {self.shares}: needs {1 + len(PARTS)} numbers: no part, {', '.join(PARTS)}")


@dataclass(frozen=True)
class FacenessTraining:
  """Settings of the training.

  Attributes:
    seed: of patches, windows, squares, initial values, order, augmentation and dropout.
    devices: number of devices to use, 0 for all; a run can be resumed on another number.
    patches: how many patches and windows are taken from a photo.
    sampling: how many squares are taken from a photo for the network that judges; `mined` counts the proposals of the part networks.
    proposals: settings with which they make proposals on the photos.
    propose_every: they do so on every n-th photo, which bounds the time.
    augment: changes of patches and squares that leave every pixel in its place.
    parts: training of the part networks.
    judge: training of the network that judges.
    side: side of the squares that it sees, in pixels: 40, 48, 56 and so on.
    width: factor on AlexNet's channels in it.
    dense: numbers of each of its dense layers.
    dropout: share of them that is dropped in training.
  """

  seed: int = 0
  devices: int = 0
  patches: PatchSampling = field(default_factory=PatchSampling)
  sampling: Sampling = field(default_factory=lambda: Sampling(around=20, near=3, anywhere=10, with_points=0, mined=40))
  proposals: FacenessConfig = field(default_factory=FacenessConfig)
  propose_every: int = 2
  augment: AugmentConfig = AUGMENT
  parts: PartTraining = field(default_factory=PartTraining)
  judge: StageTraining = field(default_factory=lambda: StageTraining(steps=2500, batch_size=128, learning_rate=1e-3, hardest=1.0, shares=(3, 1, 1, 0)))
  side: int = 48
  width: float = 0.25
  dense: int = 256
  dropout: float = 0.5

  def __post_init__(self) -> None:
    dense_side(self.side)
    for name in ("dense", "propose_every"):
      check_range(self, name, 1)
    check_range(self, "width", 0.0, open_low=True)
    check_range(self, "dropout", 0.0, 1.0, open_high=True)
    if self.judge.shares[3]:
      raise ValueError(f"judge.shares are {self.judge.shares}: the network has no points, the last share needs to be 0")
    check_still(self.augment)


def part_run(source: CropSource, config: FacenessTraining) -> Run:
  """The parts of the run of the part networks.

  Raises:
    ValueError: a part has no patch, or the batch does not spread over the devices.
  """
  preprocess = Preprocess("faceness", (PATCH, PATCH), (127.5,), (128.0,), "none")
  fields = {**asdict(config.parts), "seed": config.seed, "mesh.devices": config.devices, "augment": asdict(config.augment)}
  return crop_run(
    "parts", PatchNets(PartNets()), preprocess, source, (PartScores(len(PARTS)),), config.parts, shares=config.parts.shares,
    seed=config.seed, devices=config.devices, augment=config.augment, mirror=0.5, fields=fields,
  )


def judge_run(source: CropSource, config: FacenessTraining) -> Run:
  """The parts of the run of the network that judges.

  Raises:
    ValueError: a kind of squares is missing, or the batch does not spread over the devices.
  """
  stage = config.judge
  net = HeatMapNet(config.side, scaled_channels(config.width), config.dense, config.dropout, BOXES)
  preprocess = Preprocess("faceness", (config.side, config.side), (127.5,), (128.0,), "none")
  fields = {
    **asdict(stage), "seed": config.seed, "mesh.devices": config.devices, "augment": asdict(config.augment),
    "side": config.side, "width": config.width, "dense": config.dense, "dropout": config.dropout,
  }
  terms = (FaceScore(stage.hardest, stage.score_weight), BoxOffsets(stage.offset_weight))
  return crop_run(
    "judge", WindowNet(net), preprocess, source, terms, stage, shares=stage.shares[:3], seed=config.seed, devices=config.devices,
    augment=config.augment, mirror=0.5, fields=fields,
  )


def learned_regions(source: CropSource, params: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
  """The regions of the parts from labelled windows: [5, 4] int32, and their areas under the ROC curve [5], see `fit_regions`."""
  maps = []
  for start in range(0, source.num_records, _WINDOWS):
    rows = np.arange(start, min(start + _WINDOWS, source.num_records))
    image_nhwc = np.zeros((len(rows), *source.image_shape), np.uint8)
    source.read(rows, image_nhwc)
    maps.append(np.asarray(part_maps(PartNets(), params, padded_rows(image_nhwc, row_class(len(rows), _WINDOWS))))[: len(rows)])
  regions, area_p = fit_regions(np.concatenate(maps), source.kind_n == POSITIVE)
  return np.array(regions, np.int32), area_p


def judge_crops(
  photos: Sequence[TrainingPhoto], proposer: Faceness, config: FacenessTraining, *, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Squares of each photo for the network that judges: random ones, and proposals of the part networks.

  Yields:
    [N, side, side, 3] uint8 and [N, 15] float32.
  Raises:
    DamagedData, OSError, ValueError: a photo cannot be read.
  """
  for number, photo in enumerate(tqdm(photos, desc="proposals", unit="photo", disable=not progress)):
    image_hwc = training_pixels(photo)
    full = image_hwc.shape[:2]
    draw = np.random.default_rng([config.seed, 2, number])
    size = side_class(full[0]), side_class(full[1])
    image_bhwc, size_b2 = stack_photos([image_hwc], size, 1)
    found = [draw_squares(photo, full, "onet", config.sampling, draw)]
    if number % config.propose_every == 0:
      edge_n4 = proposer.proposals(image_bhwc, size_b2)[1].astype(np.int32)
      found.append(mined_squares(edge_n4, photo, "onet", config.sampling, draw))
    edge_n4, target_nt = (np.concatenate([getattr(each, name) for each in found]) for name in ("edge_n4", "target_nt"))
    yield cut_squares(photo_sums(image_bhwc), size, edge_n4, config.side), target_nt


def train_faceness(
  photos: Sequence[TrainingPhoto], workdir: Path | str, config: FacenessTraining | None = None, *, lineage: Lineage = (),
  progress: bool = False,
) -> TrainedDetector:
  """Trains the networks in turn, or goes on with an interrupted training, and writes the detector.

  Args:
    photos: photos with all their faces, some of them with points, and photos without a face.
    workdir: folder of the run, with a folder for each step; the detector goes to `workdir/model`.
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
  config = config or FacenessTraining()
  folder = Workdir(workdir)
  with folder.own():
    settings: dict[str, Any] = {"seed": config.seed, "sampling": asdict(config.patches), "photos": photos_digest(photos)}
    made = (patch_crops(photos, config.patches, config.seed, what, progress=progress) for what in ("patches", "windows"))
    patches = kept_crops(folder.path / "parts" / "crops", PATCH, next(made), settings)
    counts = ", ".join(f"{name} {(patches.kind_n == kind).sum():,}" for kind, name in enumerate(("no part", *PARTS)))
    print(f"patches: {counts}", file=sys.stderr)
    parts = train_run(part_run(patches, config), Workdir(folder.path / "parts"))
    params: dict[str, Any] = {"parts": parts.variables["params"]["nets"]}
    windows = kept_crops(folder.path / "regions" / "crops", WINDOW, next(made), settings)
    params["regions"], area_p = learned_regions(windows, params["parts"])
    print("regions: " + ", ".join(f"{part} {region} (AUC {area:.3f})" for part, region, area in zip(PARTS, params["regions"].tolist(), area_p)), file=sys.stderr)
    mining = {
      "seed": config.seed, "side": config.side, "sampling": asdict(config.sampling), "proposals": asdict(config.proposals), "propose_every": config.propose_every,
      "photos": settings["photos"],
      "networks": params_digest(params),
    }
    squares = kept_crops(
      folder.path / "judge" / "crops", config.side, judge_crops(photos, Faceness(params, config.proposals), config, progress=progress), mining
    )
    judge = train_run(judge_run(squares, config), Workdir(folder.path / "judge"))
    params["judge"] = judge.variables["params"]["net"]
    crops = {"patches": patches.num_records, "windows": windows.num_records, "squares": squares.num_records}
    meta = {
      "experiment": "faceness", "steps": {"parts": parts.step, "judge": judge.step}, "crops": crops, "photos": len(photos),
      "regions_auc": {part: round(float(area), 4) for part, area in zip(PARTS, area_p)}, "lineage": provenance.to_json(lineage),
    }
    saved = SavedDetector("faceness", {}, params, meta)
    write_detector(folder.model, saved)
  return TrainedDetector(folder.path, saved, crops)


@dataclass(frozen=True)
class FacenessExperiment(FacenessTraining, PhotoSets, CustomExperiment):
  """The training of the detector as an experiment of `jaxface train`.

  Its fields are those of `FacenessTraining` and of `jaxface.detection.photo_sets.PhotoSets`.
  """

  name: str = "faceness"

  def run(self, folder: Path) -> TrainedDetector:
    """Trains the detector, or goes on with an interrupted training; see `train_faceness`."""
    photos, lineage = self.read_sets()
    return train_faceness(photos, folder, self.settings(FacenessTraining), lineage=lineage, progress=sys.stderr.isatty())


__all__ = ["FacenessExperiment", "FacenessTraining", "PartTraining", "judge_crops", "judge_run", "learned_regions", "part_run", "train_faceness"]
