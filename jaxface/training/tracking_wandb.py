"""Reports a run to Weights & Biases, through its client; with WANDB_MODE=offline into the workdir. Extra `wandb`."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from jaxface.training.tracking import Ending, TrackedRun, package


class WandbTracker:
  """A run in W&B: fields, versions and git state as its config, rows by their step, files as files of the run.

  Rows that are reported again after a resume come twice there, with equal values except speeds and times.

  Args:
    run: the run.
  Attributes:
    known_as: W&B's identifier of the run.
  Raises:
    ImportError: wandb is not installed.
  """

  def __init__(self, run: TrackedRun):
    wandb = package("wandb")
    self.known_as = run.known_as or secrets.token_hex(8)
    self._run = wandb.init(
      project=run.tracking.project, name=run.name, id=self.known_as, resume="allow", dir=str(run.folder),
      config={**run.config, "environment": dict(run.environment)},
    )
    # By our step instead of W&B's count of rows, which must not go back.
    self._run.define_metric("step", hidden=True)
    self._run.define_metric("*", step_metric="step")

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """A row."""
    self._run.log({"step": step, **values})

  def attach(self, file: Path) -> None:
    """A file of the run."""
    self._run.save(str(file), base_path=str(file.parent), policy="now")

  def close(self, ending: Ending) -> None:
    """Exit code 0, or 75 for an interrupted run, as `jaxface train` has it, or 1."""
    self._run.finish(exit_code={"finished": 0, "interrupted": 75, "failed": 1}[ending])


__all__ = ["WandbTracker"]
