"""Reports a run to MLflow, through its client: a server, or a database in the workdir. Extra `mlflow`."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxface.training.tracking import Ending, TrackedRun, package

# Limits of MLflow's REST interface for one request, and of the text of a parameter.
BATCH, PARAMETER = 100, 500
# A run that was interrupted is to be continued.
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


def metric_key(name: str) -> str:
  """The name under which MLflow has a metric: it takes letters, digits, and _ - . / and spaces; others become _."""
  return re.sub(r"[^\w\-./ ]", "_", name)


class MlflowTracker:
  """A run in MLflow: fields as parameters, versions and git state as tags, rows as metrics, files as artifacts.

  A row that is reported again after a resume is left out, so that each metric has one value per step.

  Args:
    run: the run.
  Attributes:
    known_as: MLflow's identifier of the run.
  Raises:
    ImportError: mlflow is not installed.
  """

  def __init__(self, run: TrackedRun):
    mlflow = package("mlflow")
    server = run.tracking.server or os.environ.get("MLFLOW_TRACKING_URI", "")
    # Without a server MLflow would keep the run wherever the command was started. Its store of plain files takes no new features.
    self._files = "" if server else (run.folder / "mlflow").absolute().as_uri()
    server = server or f"sqlite:///{run.folder.absolute() / 'mlflow.db'}"
    self._client = mlflow.MlflowClient(tracking_uri=server)
    self._metric, self._param = mlflow.entities.Metric, mlflow.entities.Param
    self._last: dict[str, int] = {}
    self._resumed = bool(run.known_as)
    self.known_as = run.known_as
    if self._resumed:
      self._client.update_run(self.known_as, status="RUNNING")
    else:
      self.known_as = self._begin(run)
    for tag, text in _tags(run).items():
      self._client.set_tag(self.known_as, tag, text)

  def _begin(self, run: TrackedRun) -> str:
    experiment = self._client.get_experiment_by_name(run.tracking.project)
    place = {"artifact_location": self._files} if self._files else {}
    number = experiment.experiment_id if experiment else self._client.create_experiment(run.tracking.project, **place)
    known_as = self._client.create_run(number, run_name=run.name).info.run_id
    parameters = [self._param(name, _short(value)) for name, value in run.config.items()]
    for start in range(0, len(parameters), BATCH):
      self._client.log_batch(known_as, params=parameters[start : start + BATCH])
    return known_as

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Metrics of a step that MLflow does not have yet."""
    now = int(time.time() * 1000)
    metrics = [self._metric(key, float(value), now, step) for key, value in ((metric_key(name), value) for name, value in values.items())
               if step > self._known(key)]
    for start in range(0, len(metrics), BATCH):
      self._client.log_batch(self.known_as, metrics=metrics[start : start + BATCH])
    self._last.update({metric.key: step for metric in metrics})

  def _known(self, key: str) -> int:
    """The last step of which MLflow has the metric; -1 for none."""
    if key not in self._last:
      history = self._client.get_metric_history(self.known_as, key) if self._resumed else []
      self._last[key] = max((metric.step for metric in history), default=-1)
    return self._last[key]

  def attach(self, file: Path) -> None:
    """An artifact."""
    self._client.log_artifact(self.known_as, str(file))

  def close(self, ending: Ending) -> None:
    """The status: FINISHED, KILLED (interrupted, to be resumed) or FAILED."""
    self._client.set_terminated(self.known_as, _STATUS[ending])


def _short(value: Any) -> str:
  text = str(value)
  return text if len(text) <= PARAMETER else f"{text[: PARAMETER - 1]}…"


def _tags(run: TrackedRun) -> dict[str, str]:
  git = run.environment.get("git", {})
  tags = {f"version.{name}": version for name, version in run.environment.get("packages", {}).items()}
  tags |= {"python": str(run.environment.get("python", "")), "workdir": str(run.folder), "devices": _short(run.environment.get("devices", ""))}
  if git.get("commit"):
    tags |= {"mlflow.source.git.commit": git["commit"], "git.changed_files": str(len(git.get("changed_files", ())))}
  return tags


__all__ = ["MlflowTracker", "metric_key"]
