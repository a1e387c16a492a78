"""What the trainings of detectors on crops share: the crops of a folder, and the parts of a run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict

from jaxface.data.augmentation import AugmentConfig
from jaxface.data.fingerprint import digest
from jaxface.detection.crop_network import MirrorCrops
from jaxface.detection.crop_sampling import TrainingPhoto
from jaxface.detection.sample_files import FILE, CropSource, KindOrder, write_samples
from jaxface.formats.atomic import remove_leftovers
from jaxface.losses.ranges import check_range
from jaxface.losses.term import Term
from jaxface.models.preprocess import Preprocess
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import make_mesh
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.parts import Batches, Data, Network, Objective, Optimizer, Plan, Run
from jaxface.training.schedule import ScheduleConfig


class Steps(Protocol):
  """Settings of the training of one network on crops; see `StageTraining`."""

  @property
  def steps(self) -> int: ...
  @property
  def batch_size(self) -> int: ...
  @property
  def learning_rate(self) -> float: ...
  @property
  def weight_decay(self) -> float: ...
  @property
  def ema(self) -> float: ...
  @property
  def log_every(self) -> int: ...
  @property
  def checkpoint_every(self) -> int: ...


def check_steps(config: Steps) -> None:
  """Rejects numbers of steps, crops and a decay that no training can have.

  Raises:
    ValueError: names the setting, its value and the valid ones.
  """
  for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
    check_range(config, name, 1)
  check_range(config, "ema", 0.0, 1.0, open_high=True)


def params_digest(params: Mapping[str, Any]) -> str:
  """Digest of the arrays of nested parameters, by the order of their paths."""
  return digest([array for _, array in sorted(flatten_dict(dict(params), sep="/").items())])


def photos_digest(photos: Sequence[TrainingPhoto]) -> str:
  """Digest of the names, boxes and points of photos."""
  return digest([part for photo in photos for part in (Path(photo.file).name, photo.box_n4, photo.point_n52)])


def kept_crops(folder: Path, side: int, parts: Iterable[tuple[np.ndarray, np.ndarray]], settings: Mapping[str, Any]) -> CropSource:
  """The crops of a folder, which are written if it does not have them yet; the caller owns the workdir. Arguments as for `write_samples`."""
  remove_leftovers(folder)
  if not (folder / FILE).is_file():
    write_samples(folder, side, parts, settings)
  return CropSource(folder, settings)


def crop_run(
  name: str, module: nn.Module, preprocess: Preprocess, source: CropSource, terms: Sequence[Term], steps: Steps, *, shares: Sequence[float],
  seed: int, devices: int, augment: AugmentConfig, mirror: float, fields: Mapping[str, Any],
) -> Run:
  """The parts of a run that trains a network on crops, with AdamW and a cosine schedule.

  Args:
    name: of the network.
    module: takes crops and `train`, returns [B, ...] numbers for the terms.
    preprocess: its input convention.
    source: the crops.
    terms: of the objective.
    steps: number of steps, batch size and so on.
    shares: proportion of each kind of crops in a batch, see `KindOrder`.
    seed: of initial values, order and augmentation.
    devices: number of devices, 0 for all.
    augment: changes of the crops that leave every pixel in its place.
    mirror: probability of a mirrored crop.
    fields: all settings, compared when the run is resumed; `mesh.devices` may change.
  Raises:
    ValueError: a kind of crops is missing, or the batch does not spread over the devices.
  """
  mesh = make_mesh(MeshConfig(devices=devices))
  if steps.batch_size % mesh.size:
    raise ValueError(f"{name}.batch_size {steps.batch_size} does not spread over {mesh.size} devices")
  return Run(
    name=name,
    network=Network(module, preprocess, name=name),
    data=Data(source, KindOrder(source.kind_n, shares, steps.batch_size, seed)),
    batches=Batches(steps.batch_size, augment=augment, seed=seed, joint=MirrorCrops(source.image_shape[0], mirror)),
    objective=Objective(tuple(terms), source.num_identities),
    optimizer=Optimizer.make(
      OptimizerConfig("adamw", steps.learning_rate, weight_decay=steps.weight_decay, clip_norm=5.0),
      ScheduleConfig("cosine", warmup_fraction=0.05), steps=steps.steps, ema=steps.ema,
    ),
    plan=Plan(steps.steps, steps.log_every, steps.checkpoint_every),
    mesh=mesh,
    # As the workdir keeps it: lists for tuples.
    config=json.loads(json.dumps(fields)),
  )


__all__ = ["Steps", "check_steps", "crop_run", "kept_crops", "params_digest", "photos_digest"]
