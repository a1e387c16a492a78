"""The folder of a run: what was asked for, what it ran on, and whether a rerun asks for the same."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from jaxface.formats.atomic import write_json
from jaxface.training.choices import kinds
from jaxface.training.config import Experiment
from jaxface.training.overrides import field_values

PACKAGES = ("jaxface", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy", "tensorflow-datasets")

# What may differ between a run and its continuation: nothing here changes what is computed.
FREE = ("name", "log_every", "checkpoint_every", "keep_checkpoints", "max_bad_steps", "use", "export", "mesh.", "evaluation",
        "data.images", "data.records", "data.threads", "data.licence", "data.origin")


class Workdir:
  """Paths of a run, and its saved config.

  Attributes:
    path: the folder; made when missing.
  """

  def __init__(self, path: Path | str):
    self.path = Path(path).absolute()
    self.path.mkdir(parents=True, exist_ok=True)

  @property
  def checkpoints(self) -> Path:
    return self.path / "checkpoints"

  @property
  def model(self) -> Path:
    return self.path / "model"

  def save_config(self, experiment: Experiment) -> None:
    """Write `config.json` and `environment.json`; a continuation must ask for the same run.

    Raises:
      ValueError: the folder holds the states of a run with other values; every differing field is named.
    """
    config = describe(experiment)
    path = self.path / "config.json"
    # A folder alone binds nobody: a run that ended before its first state may begin anew with other values.
    if path.is_file() and any(state.name.isdigit() for state in self.checkpoints.glob("*/*")):
      before = json.loads(path.read_text())
      differing = [
        f"  {name}: {before.get(name, 'absent')!r} then, {config.get(name, 'absent')!r} now"
        for name in {**before, **config}
        if before.get(name) != config.get(name) and not name.startswith(FREE)
      ]
      if differing:
        raise ValueError(
          f"{self.path} holds a run with other values:\n" + "\n".join(differing)
          + "\nGive these values to continue it, or another --workdir to start anew"
        )
    if jax.process_index() == 0:
      write_json(path, config)
      write_json(self.path / "environment.json", environment())


def describe(experiment: Experiment) -> dict[str, Any]:
  """Every field by its dotted name, and the kind of each nested config that has several, for JSON."""
  leaves = {**field_values(experiment), **kinds(experiment)}
  return json.loads(json.dumps(leaves, default=str))


def environment() -> dict[str, Any]:
  """Versions, devices and the state of the checkout."""
  return {
    "python": sys.version.split()[0],
    "platform": platform.platform(),
    "cores": os.cpu_count(),
    "packages": {name: _version(name) for name in PACKAGES},
    "devices": [str(device) for device in jax.devices()],
    "processes": jax.process_count(),
    "xla_flags": os.environ.get("XLA_FLAGS", ""),
    "git": _git_state(),
    "command": sys.argv,
  }


def _version(name: str) -> str:
  try:
    return version(name)
  except PackageNotFoundError:
    return "not installed"


def _git_state() -> dict[str, Any]:
  folder = Path(__file__).parent

  def git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
    return result.stdout.strip() if result.returncode == 0 else ""

  try:
    return {"commit": git("rev-parse", "HEAD"), "changed_files": git("status", "--porcelain").splitlines()}
  except (OSError, subprocess.TimeoutExpired):
    return {"commit": "", "changed_files": []}
