"""The experiment: all settings of a run in one frozen value, composed of the configs of the packages."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import jaxface
from jaxface.data.augmentation import AugmentConfig
from jaxface.data.config import SEEDS, DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.heads.contract import check_own_parts
from jaxface.losses.margins import ArcFace
from jaxface.losses.ranges import check_range
from jaxface.losses.term import Term
from jaxface.models.config import ModelConfig
from jaxface.models.own import load_python
from jaxface.training.choices import CHOICES
from jaxface.training.custom import CustomExperiment
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.overrides import override_all
from jaxface.training.schedule import ScheduleConfig
from jaxface.training.tracking import TrackingConfig


@dataclass(frozen=True)
class MeshConfig:
  """Devices and processes of a run.

  Attributes:
    devices: number of devices to use, 0 for all.
    slices: number of groups of devices with slow connections between them, such as the TPU slices of a multislice job; devices of a
      group follow each other in the mesh. 0 uses what the devices report.
    fsdp: shard parameters of the network, what the optimizer keeps for them and their running average over all devices. A step
      gathers the parameters. Saved states can be resumed with or without it.
    gradient_dtype: "float32", or "bfloat16" to halve the bytes that devices exchange to sum gradients of the network; each is
      rounded to 8 bits before the sum. Dropout then draws other numbers on another number of devices.
    distributed: the run has several processes, started by a launcher that JAX supports (SLURM, Open MPI, GKE, Cloud TPU),
      which provides address and process numbers.
    coordinator: HOST:PORT of process 0, for processes started without a launcher; implies `distributed`.
    processes: number of processes of the run; needed with `coordinator`.
    process_id: index of this process, from 0; needed with `coordinator`.
    heartbeat_seconds: a process without a heartbeat for this long counts as lost, and ends the others.
    stall_seconds: longest time without progress, from the start of the run to its end: no images packed, no step, no batch
      verified, no saved state. It must be longer than the first compilation. The stacks of all threads are then printed, and
      several processes end. 0 sets no limit.
    compare_values: several processes compare checksums of the parameters, statistics and optimizer values that all of them have,
      at the start, when the run is resumed, and before each saved state; a difference ends the run.
  """

  devices: int = 0
  slices: int = 0
  fsdp: bool = False
  gradient_dtype: Literal["float32", "bfloat16"] = "float32"
  distributed: bool = False
  coordinator: str = ""
  processes: int = 0
  process_id: int = -1
  heartbeat_seconds: float = 30.0
  stall_seconds: float = 1800.0
  compare_values: bool = True

  def __post_init__(self) -> None:
    check_range(self, "devices", 0, what="devices to use, 0 for all")
    check_range(self, "slices", 0, what="groups of devices, 0 for what they report")
    if self.gradient_dtype not in ("float32", "bfloat16"):
      raise ValueError(f"mesh.gradient_dtype is {self.gradient_dtype!r}: needs 'float32' or 'bfloat16'")
    check_range(self, "processes", 0, 2**31 - 1, what="processes of the run, 0 to get it from the launcher")
    check_range(self, "process_id", -1, 2**31 - 2, what="index of this process, -1 to get it from the launcher")
    check_range(self, "heartbeat_seconds", 2, 10**6, what="seconds without a heartbeat")
    check_range(self, "stall_seconds", 0, 10**6, what="seconds without progress, 0 for no limit")


@dataclass(frozen=True)
class Experiment:
  """One training run. Lengths are in optimizer steps, batches are global.

  Attributes:
    name: name of the run, of its folder, its report and its exported file.
    steps: total number of optimizer steps.
    batch_size: images per step over all devices and hosts.
    accumulate: number of parts into which the batch is split; their gradients are summed. Equivalent to the full batch, except
      that batch norm normalises each part separately. Not supported by terms that compare rows.
    seed: seed of initial values, order, augmentation and dropout. Verification has separate seeds (`data.seed`,
      `evaluation.N.seed`).
    log_every: steps between two lines of the log.
    checkpoint_every: steps between two checkpoints.
    checkpoints: folder of the checkpoints, `checkpoints/` of the workdir by default. It may be in a Google Cloud Storage
      bucket, gs://BUCKET/PATH; all other files stay in the workdir.
    keep_checkpoints: number of latest checkpoints to keep; the best one is kept in addition.
    max_bad_steps: the run ends after this many consecutive steps with a non-finite loss or gradient; such steps are skipped.
    max_bad_share: the run ends if more than this share of the last 100 steps was skipped for that reason; 1 disables it.
    ema: decay of the running average of the parameters that is evaluated and saved as the model; 0 turns it off.
    use: which state becomes the model: "last", or "best" on the first verification set (which must then be verified during
      the run; its figures become optimistic).
    terms: the objective: weighted terms on the embedding.
    evaluation: verification sets; `every` of each is the interval in steps.
    export: format written at the end: "onnx", or "" (on the command line also "none") for none.
    tracking: services to which the run is reported.
  """

  name: str = "default"
  steps: int = 2000
  batch_size: int = 128
  accumulate: int = 1
  seed: int = 0
  log_every: int = 20
  checkpoint_every: int = 500
  checkpoints: str = ""
  keep_checkpoints: int = 2
  max_bad_steps: int = 10
  max_bad_share: float = 0.2
  ema: float = 0.0
  use: Literal["last", "best"] = "last"
  data: DataConfig = field(default_factory=DataConfig)
  augment: AugmentConfig = field(default_factory=AugmentConfig)
  model: ModelConfig = field(default_factory=ModelConfig)
  terms: tuple[Term, ...] = (Classification(margin=ArcFace()),)
  optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
  schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
  mesh: MeshConfig = field(default_factory=MeshConfig)
  evaluation: tuple[VerificationConfig, ...] = ()
  export: Literal["", "onnx"] = ""
  tracking: TrackingConfig = field(default_factory=TrackingConfig)

  def __post_init__(self):
    if not re.fullmatch(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*", self.name):
      raise ValueError(f"name is {self.name!r}: it is used in file names, so it must not contain / or \\ or begin with a dot")
    for name in ("steps", "batch_size", "accumulate", "log_every", "checkpoint_every", "keep_checkpoints",
                 "max_bad_steps"):
      if not isinstance(getattr(self, name), (int, np.integer)):
        raise ValueError(f"{name} is {getattr(self, name)!r}: needs a whole number")
      check_range(self, name, 1)
    check_range(self, "seed", 0, SEEDS)
    for name, fits in (
      ("terms", lambda entry: not isinstance(entry, (str, int, float))),
      ("evaluation", lambda entry: isinstance(entry, VerificationConfig)),
    ):
      entries = getattr(self, name)
      if not isinstance(entries, tuple) or not all(map(fits, entries)):
        raise ValueError(f"{name} is {entries!r}: needs a tuple of configs, such as {name}.0")
    if self.batch_size % self.accumulate:
      raise ValueError(f"accumulate {self.accumulate} does not divide batch_size {self.batch_size}")
    if not 0 < self.max_bad_share <= 1:
      raise ValueError(f"max_bad_share is {self.max_bad_share}: needs a share of the steps, more than 0, at most 1")
    if not 0 <= self.ema < 1:
      raise ValueError(f"ema is {self.ema}: needs 0 <= ema < 1")
    if not self.terms:
      raise ValueError("terms is empty: an objective needs at least one term")
    for index, term in enumerate(self.terms):
      # User-defined parts are checked before training.
      check_own_parts(term, f"terms.{index}")
    if self.use not in ("last", "best"):
      raise ValueError(f"use is {self.use!r}: needs 'last' or 'best'")
    if self.use == "best" and not any(config.every for config in self.evaluation[:1]):
      raise ValueError("use is 'best', but evaluation.0.every is 0: set how often to verify the states")
    names = [config.name for config in self.evaluation]
    for name in names:
      # They become file names in the workdir.
      if names.count(name) > 1 or name in ("train", "config", "data", "environment") or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(
          f"evaluation name {name!r}: needs letters, digits, _ or -, a different name for each set, and not train,"
          " config, data or environment"
        )
    if self.export not in ("", "onnx"):
      raise ValueError(f"export is {self.export!r}: needs 'onnx', or '' for none")

  def with_overrides(self, overrides: Mapping[str, str]) -> "Experiment":
    """A copy with fields set from text by dotted name; see `overrides.override` for the errors.

    A `model.init_from` given here brings its own network: an experiment without one then ignores its own network settings,
    except those given here too.
    """
    experiment, left = self, dict(overrides)
    if left.get("model.init_from") and not self.model.init_from:
      blank = ModelConfig()
      taken = {name: getattr(blank, name) for name in ("name", "preprocess", "size", "fit", "embedding_size", "options")}
      experiment = replace(experiment, model=replace(experiment.model, **taken))
    return override_all(experiment, left, CHOICES)


def experiment_folder() -> Path:
  """The folder of the experiments: next to the package in a checkout, inside the package in a wheel."""
  package = Path(jaxface.__file__).parent
  installed = package / "_experiments"
  return installed if installed.is_dir() else package.parent / "experiments"


# Papers whose experiment has a longer name.
PAPERS = {"arcface": "arcface_r50", "facenet": "facenet_triplet"}


def list_experiments() -> list[str]:
  """Names that `load_experiment` and `load_any_experiment` accept."""
  return sorted(path.stem for path in experiment_folder().glob("*.py") if not path.stem.startswith("_"))


def load_experiment(name: str, *, small: bool = False) -> tuple[Experiment, str]:
  """`load_any_experiment` of an experiment that trains an embedding.

  Raises:
    ValueError: it is of another kind, or see `load_any_experiment`.
  """
  experiment, text = load_any_experiment(name, small=small)
  if not isinstance(experiment, Experiment):
    raise ValueError(f"experiment {name!r} is a {type(experiment).__name__}, which trains no embedding: use `load_any_experiment`")
  return experiment, text


def load_any_experiment(name: str, *, small: bool = False) -> tuple[Experiment | CustomExperiment, str]:
  """The experiment with a name in `experiments/`, or of a file, and the file's docstring.

  Args:
    name: the name or path; a paper's name ("arcface", "facenet") selects its main experiment, see docs/papers.md.
    small: load the file's `SMALL`, which runs on two cores, instead of its `EXPERIMENT`, which follows the paper.
  Raises:
    ValueError: unknown name (the message lists valid ones), or a file without the requested `EXPERIMENT` or `SMALL`.
  """
  path = Path(name) if name.endswith(".py") else experiment_folder() / f"{PAPERS.get(name, name)}.py"
  if not path.is_file():
    near = difflib.get_close_matches(name, list_experiments(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
      f"no experiment {name!r} ({path} is not a file).{hint} Experiments: {', '.join(list_experiments())};"
      " or give the path of a .py file that defines EXPERIMENT"
    )
  module: Any = load_python(path)
  wanted = "SMALL" if small else "EXPERIMENT"
  experiment = getattr(module, wanted, None)
  if not isinstance(experiment, (Experiment, CustomExperiment)):
    hint = ": it has no small form, omit --small" if small and hasattr(module, "EXPERIMENT") else ""
    raise ValueError(f"{path}: defines no {wanted} of type jaxface.training.config.Experiment{hint}")
  return experiment, module.__doc__ or ""
