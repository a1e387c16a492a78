"""The folder of a run: what was asked for, on which data, whether a rerun asks for the same, and who owns it."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jaxface.checkpoint import as_path, holds_states
from jaxface.formats.atomic import write_json
from jaxface.formats.lock import FolderInUse, FolderLock, owner_token
from jaxface.training.host_facts import HostsDiffer
from jaxface.training.hosts import at_sudden_end, gather, host_name, raise_on_all_hosts
from jaxface.training.logs import METRICS_FILE
from jaxface.training.resume import all_data, data_differences, field_differences

PACKAGES = ("jaxface", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy", "tensorflow-datasets")
CONFIG_FILE, DATA_FILE = "config.json", "data.json"
# Seconds in which a file of another host should appear.
LATE = 8.0


class WorkdirLost(OSError):
  """The folder of a run, or what the run keeps in it, was removed while it was at work."""


class Workdir:
  """Paths of a run, its saved config, and its lock.

  Attributes:
    path: the folder; made when missing.
    checkpoints: where the states are, see `keep_states_in`.
  """

  def __init__(self, path: Path | str):
    if "://" in str(path):
      raise ValueError(
        f"the workdir is {path}: log, lock and model need a folder of a file system. Give one, and --checkpoints {path} for the states"
      )
    self.path = Path(path).absolute()
    self.checkpoints = as_path(self.path / "checkpoints")
    self.path.mkdir(parents=True, exist_ok=True)
    self._lock: FolderLock | None = None
    self._owned = False

  @contextlib.contextmanager
  def own(self) -> Iterator[None]:
    """Keep other processes out of the folder; inside of another `own` it does nothing.

    Of several hosts, which share the folder, the first one takes the lock, and all of them fail if it cannot.

    Raises:
      FolderInUse: another run is at work in the folder.
    """
    if self._owned:
      yield
      return
    lock = FolderLock(
      self.path, advice="wait for it, end it, or give another --workdir", say=lambda line: print(line, file=sys.stderr)
    )
    refusal: OSError | None = None
    if jax.process_index() == 0:
      try:
        self._lock = lock.acquire()
      except OSError as error:  # in use, or a disk that is full or read-only
        refusal = error
    at_sudden_end(self._give_back)
    try:
      raise_on_all_hosts(
        refusal, FolderInUse(f"{self.path} cannot be had: the first host says why"), "taking the folder of the run"
      )
      self._check_shared()
      self._owned = True
      yield
    finally:
      self._owned = False
      self._give_back()

  def _give_back(self) -> None:
    if self._lock is not None:
      self._lock.release()
      self._lock = None

  def _check_shared(self) -> None:
    """Raise `HostsDiffer` on all hosts if one of them does not see what the first one has written to the folder."""
    if jax.process_count() == 1:
      return
    said = [json.loads(each) for each in gather("the folder of the run", json.dumps([str(self.path), owner_token(self.path)]))]
    path, token = said[0]
    # Files of another host may come late, where the folder is on a network.
    until = time.monotonic() + (LATE if str(self.path) == path else LATE / 4)
    while (seen := owner_token(self.path) == token) is False and time.monotonic() < until:
      time.sleep(0.1)
    blind = [index for index, sees in enumerate(gather("whether the folder is shared", "1" if seen else "")) if not sees]
    if blind:
      raise HostsDiffer(
        f"the processes of the run do not share one workdir: {host_name(0)} has {path}, but what it writes there does not"
        f" appear in {', '.join(f'{said[index][0]} of {host_name(index)}' for index in blind)}. Give all of them one --workdir"
        " on a file system that they share"
      )

  def check_owner(self) -> None:
    """Raise if the folder is not this run's any more.

    All hosts ask at the same point and fail together: one that went on alone would wait for the others.

    Raises:
      WorkdirLost: it was removed, or the log or the config in it: what is written there now is lost.
      FolderInUse: another process took it over because this one was silent for too long.
    """
    lost: OSError | None = None
    if self._lock is not None:
      try:
        self._check_kept()
        self._lock.check()
      except OSError as error:
        lost = error
    raise_on_all_hosts(lost, FolderInUse(f"{self.path} is not this run's any more: the first host says why"), "whose folder it is")

  def _check_kept(self) -> None:
    missing = [name for name in (CONFIG_FILE, METRICS_FILE) if not (self.path / name).is_file()]
    if not self.path.is_dir():
      missing = ["the folder itself"]
    if missing:
      raise WorkdirLost(
        f"{self.path}: {' and '.join(missing)} vanished while the run was at work, so what it writes would be lost. States in"
        f" {self.checkpoints} are continued by the same command if they and {CONFIG_FILE} are put back"
      )

  def keep_states_in(self, folder: str) -> None:
    """Keep states in another place than `checkpoints/`: a folder, or gs://BUCKET/PATH; "" changes nothing."""
    if folder:
      self.checkpoints = as_path(folder)

  @property
  def holds_states(self) -> bool:
    """Whether a run has saved a state here, which a continuation must fit."""
    return holds_states(self.checkpoints)

  @property
  def model(self) -> Path:
    return self.path / "model"

  def save_config(self, config: Mapping[str, Any], data: Mapping[str, Any], *, best: bool) -> None:
    """Write `config.json`, `data.json` and `environment.json`; a continuation must ask for the same run on the same data.

    Args:
      config: every field of the run by its dotted name.
      data: what `jaxface.training.resume.describe_data` says of its data.
      best: whether the first verification set chooses the state.
    Raises:
      ValueError: the folder holds the states of a run with other values, or on other data; all that differs is named.
    """
    # A folder alone binds nobody: a run that ended before its first state may begin anew with other values.
    if self.holds_states:
      began, before = self._kept(CONFIG_FILE, "with the same values"), self._kept(DATA_FILE, "on the same data")
      differing = field_differences(began, config)
      if differing:
        raise ValueError(
          f"{self.path} holds a run with other values:\n" + "\n".join(differing)
          + "\nGive these values to continue it, or another --workdir to start anew"
        )
      differing = data_differences(before, data, best=best)
      if differing:
        raise ValueError(
          f"{self.path} holds a run on other data:\n" + "\n".join(differing)
          + "\nGive the data it began with to continue it. To start anew, give another --workdir; to go on from this network on"
          f" other data, give another --workdir and --model.init_from {self.path}"
        )
      data = all_data(before, data)
    if jax.process_index() == 0:
      for name, content in ((CONFIG_FILE, config), (DATA_FILE, data), ("environment.json", environment())):
        write_json(self.path / name, content)
        if self.checkpoints.parent != self.path:  # states that lie elsewhere may outlive the workdir
          _write_beside(self.checkpoints / name, content)

  def _kept(self, name: str, what: str) -> dict[str, Any]:
    """A file that says what the run is, from the workdir or from beside the states; {} with a note where there is none."""
    for file in (epath.Path(self.path / name), self.checkpoints / name):
      if file.exists():
        return json.loads(file.read_text())
    if jax.process_index() == 0:
      print(
        f"note: {self.path} holds states, but no {name}: it cannot be checked that they were trained {what}", file=sys.stderr
      )
    return {}


def _write_beside(file: epath.Path, content: Any) -> None:
  if "://" in str(file):  # an object appears whole or not at all
    file.write_text(json.dumps(content))
    return
  file.parent.mkdir(parents=True, exist_ok=True)
  write_json(file, content)


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
