"""What a run or a system measured, as one small JSON file: figures, data, size and the command that made them."""

import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jaxface
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.verification import Verification
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.parallel import num_cores
from jaxface.inference.model import Model, load
from jaxface.training.logs import read_metrics

KIND, VERSION = "measured figures", 1
MEASURES = ("accuracy", "accuracy_se", "auc", "auc_interval", "accuracy_interval", "eer", "pairs")


@dataclass(frozen=True)
class Measured:
  """Figures of one run or one system.

  Attributes:
    name: name of the run or the system; also that of the file.
    command: command line that made them.
    figures: by name, for example "lfw" or "chi-square, restricted"; each a mapping of `MEASURES`, shares in [0, 1].
    data: what was trained on: "images", "identities" and others.
    network: "name", "parameters", "input" [H, W, C], "embedding", "steps".
    seconds: time of the run; None if unknown.
    machine: where it ran.
    version: of jaxface.
  """

  name: str
  command: str
  figures: Mapping[str, Mapping[str, Any]]
  data: Mapping[str, Any] = field(default_factory=dict)
  network: Mapping[str, Any] = field(default_factory=dict)
  seconds: float | None = None
  machine: str = ""
  version: str = jaxface.__version__

  def write(self, path: str | Path) -> None:
    """Writes the file atomically, with a checksum; equal results give equal bytes.

    Args:
      path: file to write, .json.
    """
    write_checked_json(path, {"kind": KIND, "format_version": VERSION, **asdict(self)})

  @classmethod
  def read(cls, path: str | Path) -> "Measured":
    """Reads what `write` wrote.

    Raises:
      FileNotFoundError: no such file.
      DamagedData: another kind of file, or one that was edited.
    """
    plain = read_checked_json(path)
    if plain.pop("kind", None) != KIND or plain.pop("format_version", None) != VERSION:
      raise DamagedData(f"not a file of {KIND} of version {VERSION}; `jaxface papers --keep WORKDIR` makes them", file=path)
    try:
      found = cls(**plain)
      for name, figure in found.figures.items():
        if not 0 <= float(figure["accuracy"]) <= 1:
          raise ValueError(f"the accuracy of {name!r} is {figure['accuracy']}: expected a share in [0, 1]")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
      raise DamagedData(f"not complete: {type(error).__name__}: {error!s:.200}", file=path) from error
    return found


def main_figures(found: Verification | Evaluation | Mapping[str, Any]) -> dict[str, Any]:
  """The entries of `MEASURES`.

  Args:
    found: figures of a pair list, or the JSON file of them.
  Raises:
    ValueError: they are not those of pairs of both kinds.
  """
  if isinstance(found, Verification):
    plain: Mapping[str, Any] = found.to_json()
  else:
    plain = found.figures if isinstance(found, Evaluation) else found
  if "accuracy" not in plain:
    raise ValueError("these figures have no accuracy: they are not of a list with mated and non-mated pairs")
  return {key: plain[key] for key in MEASURES if key in plain}


def about_network(model: Model) -> dict[str, Any]:
  """Name, size and input of a network, for `Measured.network`."""
  return {
    "name": model.name, "parameters": model.num_parameters, "input": [*model.input_size, model.preprocess.channels],
    "embedding": model.embedding_size, **({"steps": model.meta["step"]} if "step" in model.meta else {}),
  }


def about_data(model: Model) -> dict[str, Any]:
  """What a network was trained on, for `Measured.data`."""
  return {key: model.meta[key] for key in ("images", "identities") if key in model.meta}


def of_run(workdir: str | Path) -> Measured:
  """What a finished run of `jaxface train` measured.

  Args:
    workdir: folder of the run; its last part is the name of the result.
  Raises:
    FileNotFoundError: no finished run there.
    ValueError: the run has no figures of pairs.
  """
  workdir = Path(workdir).absolute()
  model = load(workdir)
  config, around = (read_checked_json(workdir / name) for name in ("config.json", "environment.json"))
  numbers = range(sum(key.startswith("evaluation.") and key.endswith(".name") for key in config))
  figures = {}
  for name in (str(config[f"evaluation.{number}.name"]) for number in numbers):
    file = workdir / f"{name}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "accuracy" in found:
      figures[name] = main_figures(found)
  if not figures:
    raise ValueError(f"{workdir}: the run has no figures of pairs")
  time = [row["time"] for row in read_metrics(workdir)]
  return Measured(
    workdir.name, shlex.join(["jaxface", *around.get("command", [])[1:]]), figures, about_data(model), about_network(model),
    round(max(time) - min(time), 1) if time else None, machine(),
  )


def machine() -> str:
  """Processor and number of cores of this machine."""
  file = Path("/proc/cpuinfo")
  lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
  models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
  return f"{num_cores()} cores of {models[0] if models else platform.processor() or platform.machine()}"


__all__ = ["MEASURES", "Measured", "about_data", "about_network", "machine", "main_figures", "of_run"]
