"""Trains a classifier of small images and counts its confusions on images that the training left out."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxface.data.arrays import ArraySource
from jaxface.data.augmentation import AugmentConfig
from jaxface.data.loader import batches
from jaxface.data.order import UniformOrder
from jaxface.evaluation.measures.confusion import Confusion, class_accuracy, confusion_matrix
from jaxface.evaluation.report.confusion_picture import draw_confusion
from jaxface.formats.atomic import write_json, write_text
from jaxface.losses.logits import LogitLoss
from jaxface.losses.ranges import check_choice, check_range
from jaxface.models.imageclassifier import imageclassifier
from jaxface.models.saved import SavedModel, save_model
from jaxface.pipeline.classifier_images import KINDS, read_classes, split_classes
from jaxface.training.config import MeshConfig
from jaxface.training.custom import CustomExperiment, expand_path
from jaxface.training.loop import train_run
from jaxface.training.mesh import make_mesh
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Data, Network, Objective, Optimizer, Plan, Run
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.workdir import Workdir

_BATCH = 128
STILL = AugmentConfig(mirror=0, shift=0, jitter=0)


@dataclass(frozen=True)
class ClassifierResult:
  """Result of a finished training.

  Attributes:
    workdir: folder of the run; the model is in `workdir/model`, the matrix in `confusion.svg`, `confusion.txt` and `figures.json`.
    saved: the classifier.
    confusion: of the test images.
    accuracy: correct share of the test images.
  """

  workdir: Path
  saved: SavedModel
  confusion: Confusion
  accuracy: float

  def __str__(self) -> str:
    count = int(self.confusion.samples.sum())
    return f"{self.confusion.table()}\nmodel {self.workdir / 'model'} · {100 * self.accuracy:.1f} % of {count:,} test images, {len(self.confusion.label)} classes"


@dataclass(frozen=True)
class ClassifierExperiment(CustomExperiment):
  """The training of a classifier as an experiment of `jaxface train`.

  Attributes:
    data: "digits", scikit-learn's digits of 8×8 pixels; "people", rendered faces in colour; "folder", see `folder`.
    folder: with "folder": images in a folder for each class; may contain environment variables.
    size: side length of people and of the images of a folder in pixels.
    people: number of rendered people.
    images: images of each of them.
    test: share of the images of each class that the training leaves out.
    seed: of people, split, initial values, order and augmentation.
    steps: optimizer steps.
    batch_size: images per step.
    learning_rate: peak of AdamW's rate, with a cosine schedule.
    weight_decay: of AdamW.
    widths: channels of the convolutions, see `imageclassifier`; none with an empty value.
    features: length of the dense layer before the softmax, 0 for none. Without both it is softmax regression.
    dropout: share of these features dropped in training.
    augment: augmentation of the training images.
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two saved states.
  """

  name: str = "classifier"
  data: Literal["digits", "people", "folder"] = "digits"
  folder: str = ""
  size: int = 32
  people: int = 10
  images: int = 300
  test: float = 0.2
  seed: int = 0
  steps: int = 600
  batch_size: int = 64
  learning_rate: float = 3e-3
  weight_decay: float = 0.02
  widths: tuple[int, ...] = (16, 32)
  features: int = 64
  dropout: float = 0.2
  augment: AugmentConfig = field(default=STILL)
  log_every: int = 50
  checkpoint_every: int = 300

  def __post_init__(self) -> None:
    check_choice(self, "data", KINDS)
    if (self.data == "folder") != bool(self.folder):
      raise ValueError(f"ClassifierExperiment.data is {self.data!r} and folder {self.folder!r}: the data 'folder', and no other, needs a folder")
    for name in ("size", "steps", "batch_size", "log_every", "checkpoint_every"):
      check_range(self, name, 1)
    for name in ("people", "images"):
      check_range(self, name, 2)
    check_range(self, "test", 0, 1, open_low=True, open_high=True, what="share of the images of each class")
    check_range(self, "dropout", 0, 1, open_high=True)

  def run(self, folder: Path) -> ClassifierResult:
    """Trains the classifier, or goes on with an interrupted training, and writes model and confusions to `folder`."""
    place = expand_path(self.folder, "folder") if self.folder else ""
    every = read_classes(self.data, size=self.size, people=self.people, images=self.images, folder=place, seed=self.seed)
    train_set, test_set = split_classes(every, test=self.test, seed=self.seed)
    workdir = Workdir(folder)
    trained = train_run(make_classifier_run(train_set, self), workdir)
    meta = {"experiment": self.name, "data": self.data, "images": train_set.num_records, "classes": every.identity_names(), "step": trained.step}
    saved = SavedModel("imageclassifier", trained.options, trained.preprocess, trained.variables, meta)
    save_model(workdir.model, saved)
    class_c = np.array(every.identity_names())
    true_n, found_n = class_c[test_set.label_n], class_c[classify_images(saved, test_set)]
    confusion, accuracy = confusion_matrix(true_n, found_n, classes=class_c), class_accuracy(true_n, found_n).accuracy
    write_text(workdir.path / "confusion.txt", confusion.table() + "\n")
    write_text(workdir.path / "confusion.svg", draw_confusion(confusion, f"{100 * accuracy:.1f} % of {len(true_n):,} test images"))
    figures = {"accuracy": accuracy, "images": len(true_n), "classes": confusion.label.tolist(), "samples": confusion.samples.tolist()}
    write_json(workdir.path / "figures.json", figures)
    return ClassifierResult(Path(folder), saved, confusion, accuracy)


def make_classifier_run(source: ArraySource, config: ClassifierExperiment) -> Run:
  """The parts of the run.

  Args:
    source: the training images.
    config: the settings.
  """
  colour = "grey" if config.data == "digits" else "rgb"
  options: dict[str, Any] = {
    "classes": source.num_identities, "size": source.image_shape[0], "colour": colour, "widths": list(config.widths),
    "features": config.features, "dropout": config.dropout,
  }
  network = imageclassifier(**options)
  return Run(
    name=config.name,
    network=Network(network, network.convention, options, "imageclassifier"),
    data=Data(source, UniformOrder(source.num_records, config.seed)),
    batches=Batches(config.batch_size, augment=config.augment, seed=config.seed),
    objective=Objective((LogitLoss(),), source.num_identities),
    optimizer=Optimizer.make(
      OptimizerConfig("adamw", config.learning_rate, weight_decay=config.weight_decay, clip_norm=1.0),
      ScheduleConfig("cosine", warmup_fraction=0.05), steps=config.steps,
    ),
    plan=Plan(config.steps, config.log_every, config.checkpoint_every),
    # One device: the images are few, and a batch of any size fits.
    mesh=make_mesh(MeshConfig(devices=1)),
    # As the workdir keeps it: lists for tuples. The images of a folder are compared instead of its path.
    config={name: value for name, value in json.loads(json.dumps(asdict(config))).items() if name != "folder"},
  )


def classify_images(saved: SavedModel, source: ArraySource) -> np.ndarray:
  """The class with the largest output for each image.

  Args:
    saved: a classifier.
    source: the images.
  Returns:
    [N] int, classes by label.
  """
  embed = jax.jit(saved.embed)
  rows = [np.asarray(embed(saved.variables, image_bhwc))[weight_b > 0] for image_bhwc, weight_b in batches(source, _BATCH)]
  return np.concatenate(rows).argmax(1)


__all__ = ["STILL", "ClassifierExperiment", "ClassifierResult", "classify_images", "make_classifier_run"]
