"""Experiments of several runs, each of which may start from the network of an earlier one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxface.pipeline.run import Result, run_experiment
from jaxface.training.config import Experiment
from jaxface.training.custom import CustomExperiment


@dataclass(frozen=True)
class Stage:
  """One run.

  Attributes:
    experiment: what it trains; its name is that of the stage and of its folder.
    after: name of the earlier stage whose network it starts from; "" for none.
  """

  experiment: Experiment
  after: str = ""


@dataclass(frozen=True)
class StagedResult:
  """Results of the stages by name, in order."""

  stages: Mapping[str, Result | None]

  @property
  def failed(self) -> tuple[str, ...]:
    """Evaluation sets without figures, as "STAGE/SET"."""
    return tuple(f"{name}/{one}" for name, result in self.stages.items() if result for one in result.failed)

  def __str__(self) -> str:
    return "\n".join(f"{name}: {result}" for name, result in self.stages.items())


@dataclass(frozen=True)
class StagedExperiment(CustomExperiment):
  """Runs in order, in one folder with a subfolder for each; the same call goes on with an interrupted one.

  Images are packed once, by the first stage that uses them.

  Attributes:
    name: name of the run and of its folder.
    command: command line shown in the reports.
    stages: the runs; fields are set as `--stages.0.experiment.steps 100`.
  """

  name: str = "staged"
  command: str = ""
  stages: tuple[Stage, ...] = field(default=())

  def __post_init__(self) -> None:
    seen: set[str] = set()
    for stage in self.stages:
      name = stage.experiment.name
      if name in seen:
        raise ValueError(f"experiment {self.name!r}: two stages are named {name!r}: names must be unique")
      if stage.after and stage.after not in seen:
        raise ValueError(f"experiment {self.name!r}: stage {name!r} starts from {stage.after!r}, but the stages before it are {sorted(seen)}")
      seen.add(name)

  def run(self, folder: Path) -> StagedResult:
    """Runs the stages.

    Args:
      folder: folder of the run.
    Returns:
      `StagedResult`.
    Raises:
      Interrupted: a signal came; a checkpoint is saved, and the same call goes on.
    """
    results: dict[str, Result | None] = {}
    packed: dict[tuple[Any, ...], str] = {}
    for stage in self.stages:
      name = stage.experiment.name
      experiment = stage.experiment
      if stage.after:
        experiment = replace(experiment, model=replace(experiment.model, init_from=str(folder / stage.after)))
      results[name] = run_experiment(_with_packed(experiment, folder / name, packed), folder / name, command=self.command)
    return StagedResult(results)


def _with_packed(experiment: Experiment, folder: Path, packed: dict[tuple[Any, ...], str]) -> Experiment:
  """The experiment with the records that an earlier stage packed; notes in `packed` where this stage packs others."""
  data = experiment.data

  def of_earlier(key: tuple[Any, ...], name: str) -> str:
    found = packed.get(key, "")
    packed.setdefault(key, str(folder / "records" / name))
    return found

  if data.unpacked and not data.align:
    data = replace(data, records=of_earlier(("train", data.images, data.size, data.template), "train"))
  evaluation = []
  for config in experiment.evaluation:
    if config.images and not config.records and config.protocol == "pairs":
      config = replace(config, records=of_earlier(("pairs", config.images, data.size, config.template), config.name))
    evaluation.append(config)
  return replace(experiment, data=data, evaluation=tuple(evaluation))


__all__ = ["Stage", "StagedExperiment", "StagedResult"]
