"""Trains the landmark network: one run with the engine of all trainings, so that it is logged, saved and resumed like them."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jaxface.alignment.annotated_photos import AnnotatedPhotos, card_entries
from jaxface.alignment.landmark_data import LandmarkSource, SquareJitter
from jaxface.alignment.landmark_net import LandmarkNet, landmarknet
from jaxface.data.augmentation import AugmentConfig
from jaxface.data.order import UniformOrder
from jaxface.formats.landmarks import AnnotatedFace
from jaxface.losses.landmarks import LandmarkLoss
from jaxface.losses.ranges import check_choice, check_range
from jaxface.models.saved import SavedModel, save_model
from jaxface.training.config import MeshConfig
from jaxface.training.loop import train_run
from jaxface.training.mesh import make_mesh
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Data, Network, Objective, Optimizer, Plan, Run
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.workdir import Workdir


@dataclass(frozen=True)
class LandmarkTraining:
  """Settings of a training of the landmark network.

  Attributes:
    points: 5 or 68.
    steps: optimizer steps.
    batch_size: squares per step.
    seed: of initial values, order, augmentation and dropout.
    learning_rate: peak of AdamW's rate, with a cosine schedule.
    weight_decay: of AdamW.
    loss: "wing" or "smooth_l1".
    width: where the loss becomes linear, in pixels of the input; see `jaxface.losses.LandmarkLoss`.
    ema: decay of the running average of the parameters, which becomes the model.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two saved states.
    widths: channels of the network's stages, see `landmarknet`.
    units: residual units of each stage.
    init_from: folder of a trained landmark network to begin with; "" for random values.
    devices: number of devices to use, 0 for all; a run can be resumed on another number.
  """

  points: Literal[5, 68] = 68
  steps: int = 2000
  batch_size: int = 40
  seed: int = 0
  learning_rate: float = 2e-3
  weight_decay: float = 0.02
  loss: Literal["wing", "smooth_l1"] = "wing"
  width: float = 6.0
  ema: float = 0.99
  log_every: int = 20
  checkpoint_every: int = 200
  widths: tuple[int, ...] = (32, 64, 128)
  units: tuple[int, ...] = (1, 1, 1)
  init_from: str = ""
  devices: int = 0

  def __post_init__(self) -> None:
    if self.points not in (5, 68):
      raise ValueError(f"LandmarkTraining.points is {self.points}: needs 5 or 68")
    check_choice(self, "loss", ("wing", "smooth_l1"))
    for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
      check_range(self, name, 1)
    check_range(self, "ema", 0.0, 1.0, open_high=True)


def train_landmarks(
  root: Path | str, faces: Sequence[AnnotatedFace], workdir: Path | str, config: LandmarkTraining | None = None, *, licence: str = "",
  origin: str = "", progress: bool = False,
) -> SavedModel:
  """Trains a network on annotated faces, or goes on with an interrupted training, and saves it.

  Args:
    root: folder of the photos.
    faces: their annotated faces, see `jaxface.formats.read_landmarks`.
    workdir: folder of the run; the network goes to `workdir/model`.
    config: the settings.
    licence, origin: of the photos, for the card of the model.
    progress: show a bar while photos are read.
  Returns:
    The network.
  Raises:
    ValueError: no face, a batch that does not spread over the devices, or the workdir holds a run with other settings or data.
    DamagedData: a photo cannot be read.
    Interrupted: a signal came; the state is saved, and the same call goes on.
  """
  config = config or LandmarkTraining()
  source = LandmarkSource(root, faces, config.points, progress=progress)
  folder = Workdir(workdir)
  trained = train_run(make_run(source, config), folder)
  meta = {**card_entries("landmarks", points=config.points, faces=source.num_records, licence=licence, origin=origin), "step": trained.step}
  saved = SavedModel("landmarknet", trained.options, trained.preprocess, trained.variables, meta)
  save_model(folder.model, saved)
  return saved


@dataclass(frozen=True)
class LandmarkExperiment(LandmarkTraining, AnnotatedPhotos):
  """The training of the landmark network as an experiment of `jaxface train`."""

  name: str = "landmarks"

  def run(self, folder: Path) -> "TrainedLandmarks":
    """Trains the network, or goes on with an interrupted training; see `train_landmarks`."""
    root, faces = self.read_faces()
    saved = train_landmarks(root, faces, folder, self.settings(LandmarkTraining), licence=self.licence, origin=self.origin, progress=sys.stderr.isatty())
    return TrainedLandmarks(Path(folder), saved)


@dataclass(frozen=True)
class TrainedLandmarks:
  """Result of a finished training.

  Attributes:
    workdir: folder of the run; the model is in `workdir/model`.
    saved: the network.
  """

  workdir: Path
  saved: SavedModel

  def __str__(self) -> str:
    meta = self.saved.meta
    length = f", step {meta['step']:,}" if "step" in meta else f", {meta['stages']} stages" if "stages" in meta else ""
    return f"model {self.workdir / 'model'} · {meta['points']} points, {meta['images']:,} faces{length}"


def train_whole(experiment: AnnotatedPhotos, folder: Path, train: Callable[..., SavedModel], config: Any) -> TrainedLandmarks:
  """Runs a training that saves nothing before its end, and writes the model to `folder/model`.

  Args:
    experiment: has the photos.
    folder: folder of the run.
    train: such as `train_sdm`.
    config: its settings.
  """
  root, faces = experiment.read_faces()
  workdir = Workdir(folder)
  with workdir.own():
    saved = train(root, faces, config, licence=experiment.licence, origin=experiment.origin, progress=sys.stderr.isatty())
    save_model(workdir.model, saved)
  return TrainedLandmarks(Path(folder), saved)


def make_run(source: LandmarkSource, config: LandmarkTraining) -> Run:
  """The parts of the run.

  Args:
    source: the training set.
    config: the settings.
  Raises:
    ValueError: the batch does not spread over the devices.
  """
  mesh = make_mesh(MeshConfig(devices=config.devices))
  if config.batch_size % mesh.size:
    raise ValueError(f"batch_size {config.batch_size} does not spread over {mesh.size} devices")
  # As the workdir keeps it: lists for tuples.
  fields = json.loads(json.dumps(asdict(config)))
  # The name under which a resumed run may change it.
  fields["mesh.devices"] = fields.pop("devices")
  options = {"points": config.points, "widths": list(config.widths), "units": list(config.units)}
  # No operation that moves pixels: those move the points too, in `SquareJitter`.
  augment = AugmentConfig(
    mirror=0, shift=0, jitter=0.8, brightness=0.2, contrast=0.3, grey=0.1, cut_out=0.1, cut_out_size=0.35,
  )
  return Run(
    name="landmarks",
    network=Network(landmarknet(config.points, config.widths, config.units), LandmarkNet.convention, options, "landmarknet", config.init_from),
    data=Data(source, UniformOrder(source.num_records, config.seed)),
    batches=Batches(config.batch_size, augment=augment, seed=config.seed, joint=SquareJitter(config.points)),
    objective=Objective((LandmarkLoss(config.loss, config.width),), source.num_identities),
    optimizer=Optimizer.make(
      OptimizerConfig("adamw", config.learning_rate, weight_decay=config.weight_decay, clip_norm=1.0),
      ScheduleConfig("cosine", warmup_fraction=0.05), steps=config.steps, ema=config.ema,
    ),
    plan=Plan(config.steps, config.log_every, config.checkpoint_every),
    mesh=mesh,
    config=fields,
  )


__all__ = ["LandmarkExperiment", "LandmarkTraining", "TrainedLandmarks", "make_run", "train_landmarks"]
