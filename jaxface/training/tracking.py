"""Services for experiment tracking that receive a run's rows and files, beside metrics.jsonl and TensorBoard.

  jaxface train folder --tracking.to mlflow,wandb --tracking.project faces

A service has one small class with the interface of `Tracker`, in a file of its own, and an extra of the name of its package. Its run is found again
when the run is resumed: `tracking.json` in the workdir has its identifier.
"""

import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import jax

from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.training.interrupt import Interrupted

# Where the class of each service is, by the name of its package.
SERVICES = {
  "mlflow": ("jaxface.training.tracking_mlflow", "MlflowTracker"),
  "wandb": ("jaxface.training.tracking_wandb", "WandbTracker"),
}
TRACKING_FILE = "tracking.json"
Ending = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class TrackingConfig:
  """Services to which a run is reported.

  Attributes:
    to: "mlflow", "wandb", or both; each needs the extra of its name. Logs in the workdir are always written.
    project: MLflow's experiment, or W&B's project.
    server: MLflow's tracking URI; "" takes MLFLOW_TRACKING_URI, or else `mlflow.db` in the workdir. W&B takes its own
      environment variables, such as WANDB_MODE=offline.
  """

  to: tuple[str, ...] = ()
  project: str = "jaxface"
  server: str = ""

  def __post_init__(self) -> None:
    for name in self.to:
      if name not in SERVICES or self.to.count(name) > 1:
        raise ValueError(f"tracking.to is {self.to!r}: needs some of {', '.join(SERVICES)}, each once")
    if not self.project:
      raise ValueError("tracking.project is empty: needs a name")


@dataclass(frozen=True)
class TrackedRun:
  """What a service is told of a run.

  Attributes:
    name: name of the run.
    folder: its workdir.
    config: every field of the experiment by dotted name.
    environment: versions, devices, git state and command, see `jaxface.training.workdir.environment`.
    tracking: where to report it.
    known_as: identifier of the service's run that is to be continued; "" begins one.
  """

  name: str
  folder: Path
  config: Mapping[str, Any]
  environment: Mapping[str, Any]
  tracking: TrackingConfig
  known_as: str = ""


class Tracker(Protocol):
  """A service that receives a run. Made from a `TrackedRun`; an exception of a method ends the reports, not the run.

  Attributes:
    known_as: identifier by which the service finds the run again.
  """

  known_as: str

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """One row: finite numbers by name, of a step. Steps before those of earlier rows come again when a killed run is resumed."""
    ...

  def attach(self, file: Path) -> None:
    """A file of the run, such as its report; a later one of the same name replaces it."""
    ...

  def close(self, ending: Ending) -> None:
    """The end of this process's work on the run."""
    ...


class Trackers:
  """The services of a run, from `open` to `close`. One that fails in between is named, once, and left out: the run goes on.

  Args:
    config: the services; by default none.
    say: called with each line for the user.
  """

  def __init__(self, config: TrackingConfig | None = None, say: Callable[[str], object] = print):
    self.config, self._say = config or TrackingConfig(), say
    self._trackers: dict[str, Tracker] = {}

  def open(self, name: str, folder: Path, fields: Mapping[str, Any], environment: Mapping[str, Any], *, resumed: bool) -> None:
    """Begin, or go on with, the run of each service. With several hosts, the first one reports.

    Args:
      name: name of the run.
      folder: its workdir.
      fields: every field of the experiment by dotted name.
      environment: versions, devices and git state.
      resumed: the run goes on from a saved state; otherwise each service begins another run.
    Raises:
      ImportError: a package is not installed; names the extra.
      Exception: of the service, such as a server that cannot be reached.
    """
    if not self.config.to or jax.process_index():
      return
    file = folder / TRACKING_FILE
    known = dict(read_checked_json(file)) if resumed and file.is_file() else {}
    for service in self.config.to:
      tracker = _service(service)(TrackedRun(name, folder, fields, environment, self.config, known.get(service, "")))
      self._trackers[service] = tracker
      known[service] = tracker.known_as
      write_checked_json(file, known)

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Report a row; values that are not finite are left out, as services differ in what they make of them."""
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    if finite:
      self._each(lambda tracker: tracker.write(step, finite))

  def attach(self, files: Iterable[Path]) -> None:
    """Report files, of those that exist."""
    for file in files:
      if file.is_file():
        self._each(lambda tracker, file=file: tracker.attach(file))  # type: ignore[misc]

  def close(self, ending: Ending) -> None:
    """Say how the run ended."""
    self._each(lambda tracker: tracker.close(ending))
    self._trackers = {}

  def _each(self, call: Callable[[Tracker], None]) -> None:
    for name, tracker in list(self._trackers.items()):
      try:
        call(tracker)
      except Exception as error:  # of any kind: services have their own
        del self._trackers[name]
        self._say(f"{name}: {type(error).__name__}: {error}. Nothing more is reported there by this process; the workdir has everything")


@contextmanager
def tracked(config: TrackingConfig, say: Callable[[str], object] = print) -> Iterator[Trackers]:
  """The services of a run, for `train_run`, which opens them; closed at the end with how the run ended.

  Raises:
    ImportError: a package is not installed; names the extra.
  """
  for name in config.to:
    package(name)
  trackers = Trackers(config, say)
  ending: Ending = "failed"
  try:
    yield trackers
    ending = "finished"
  except Interrupted:
    ending = "interrupted"
    raise
  finally:
    trackers.close(ending)


def package(name: str) -> ModuleType:
  """The package of a service.

  Raises:
    ImportError: it is not installed; names the extra.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(f"tracking.to {name} needs the extra {name}: pip install 'jaxface[{name}]'") from error


def _service(name: str) -> Any:
  module, kind = SERVICES[name]
  return getattr(importlib.import_module(module), kind)


__all__ = ["SERVICES", "TRACKING_FILE", "TrackedRun", "Tracker", "Trackers", "TrackingConfig", "package", "tracked"]
