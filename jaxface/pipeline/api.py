"""`jaxface.train`: runs an experiment, given by name, path or value, from images to a verified model."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxface.pipeline.run import run_experiment
from jaxface.training.config import Experiment, load_any_experiment
from jaxface.training.custom import CustomExperiment


def train(
  experiment: str | Path | Experiment | CustomExperiment, workdir: str | Path | None = None, *, small: bool = False,
  overrides: Mapping[str, Any] | None = None, command: str = "",
) -> Any:
  """Train an experiment: pack its images, train, verify, save the model, write the report, export.

  Args:
    experiment: name of an experiment of jaxface (`jaxface.training.list_experiments()`), the path of a file that defines
      EXPERIMENT, or an `Experiment`, or one of another kind, such as a `LandmarkExperiment`.
    workdir: folder of the run, runs/NAME by default; an existing run there is resumed.
    small: use the experiment's small form.
    overrides: fields by dotted name, such as {"steps": 500, "optimizer.learning_rate": 0.05}.
    command: command line shown in the report; by default the equivalent call of `jaxface train`.
  Returns:
    `Result`: `result.model`, `result.verification["NAME"]`, `str(result)` for a terminal. With several hosts, the first one
    returns it, the others return None. An experiment of another kind returns a result of its own.
  Raises:
    ValueError: an unknown experiment, field or value; the message lists valid ones.
    Interrupted: SIGTERM or Ctrl-C; a checkpoint is saved, and the same call resumes.
    FolderInUse: another process uses the folder.
  """
  given = {name: _text(value) for name, value in (overrides or {}).items()}
  named = None if isinstance(experiment, (Experiment, CustomExperiment)) else str(experiment)
  chosen: Experiment | CustomExperiment
  if named is not None:
    chosen, _ = load_any_experiment(named, small=small)
  elif small:
    raise ValueError("small needs an experiment given by name or path, not an Experiment")
  else:
    assert isinstance(experiment, (Experiment, CustomExperiment))
    chosen = experiment
  chosen = chosen.with_overrides(given)
  folder = Path(workdir or f"runs/{chosen.name}")
  if isinstance(chosen, CustomExperiment):
    return chosen.run(folder)
  if not command and named is not None:
    words = ["jaxface", "train", named, *(["--small"] if small else []), "--workdir", str(folder)]
    command = shlex.join(words + [word for name, value in given.items() for word in (f"--{name}", value)])
  return run_experiment(chosen, folder, command=command)


def _text(value: Any) -> str:
  return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


__all__ = ["train"]
