"""The folder of a run: its config and data, their check when the run is resumed, and its lock."""

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
from jaxface.formats.checked_json import checked_text, parse_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
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
    path: the folder; created if missing.
    checkpoints: folder of the checkpoints, see `keep_states_in`.
    began: when it was opened, seconds since 1970.
  """

  def __init__(self, path: Path | str):
    if "://" in str(path):
      raise ValueError(
        f"the workdir is {path}: log, lock and model need a folder of a file system. Give one, and --checkpoints {path} for the states"
      )
    self.began = time.time()
    self.path = Path(path).absolute()
    self.checkpoints = as_path(self.path / "checkpoints")
    self.path.mkdir(parents=True, exist_ok=True)
    self._lock: FolderLock | None = None
    self._owned = False

  @contextlib.contextmanager
  def own(self) -> Iterator[None]:
    """Lock the folder against other processes; inside another `own` it does nothing.

    With several hosts, which share the folder, the first one acquires the lock, and all raise an error if it cannot.

    Raises:
      FolderInUse: another run uses the folder.
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
        refusal, FolderInUse(f"{self.path} cannot be locked: see the error of the first host"), "locking the workdir"
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
    """Raise if the folder no longer belongs to this run.

    All hosts check at the same point and raise together: a host that continued alone would wait for the others.

    Raises:
      WorkdirLost: the folder, or the log or the config in it, was removed: later output would be lost.
      FolderInUse: another process took the lock because the heartbeat of this one was too old.
    """
    lost: OSError | None = None
    if self._lock is not None:
      try:
        self._check_kept()
        self._lock.check()
      except OSError as error:
        lost = error
    raise_on_all_hosts(lost, FolderInUse(f"{self.path} no longer belongs to this run: see the error of the first host"), "checking the workdir")

  def _check_kept(self) -> None:
    missing = [name for name in (CONFIG_FILE, METRICS_FILE) if not (self.path / name).is_file()]
    if not self.path.is_dir():
      missing = ["the folder itself"]
    if missing:
      raise WorkdirLost(
        f"{self.path}: {' and '.join(missing)} removed during the run, so further output would be lost. Checkpoints in"
        f" {self.checkpoints} can be resumed with the same command if they and {CONFIG_FILE} are restored"
      )

  def keep_states_in(self, folder: str) -> None:
    """Use another folder than `checkpoints/` for checkpoints: a path, or gs://BUCKET/PATH; "" changes nothing."""
    if folder:
      self.checkpoints = as_path(folder)

  @property
  def holds_states(self) -> bool:
    """Whether a run has saved a checkpoint here, which a resumed run must match."""
    return holds_states(self.checkpoints)

  @property
  def model(self) -> Path:
    return self.path / "model"

  def save_config(self, config: Mapping[str, Any], data: Mapping[str, Any], *, best: bool) -> None:
    """Write `config.json`, `data.json` and `environment.json`; a resumed run must have the same values and data.

    Args:
      config: every field of the run by dotted name.
      data: result of `jaxface.training.resume.describe_data`.
      best: whether the state is selected on the first verification set.
    Raises:
      ValueError: the folder holds a run with other values or on other data; the message lists all differences.
    """
    # Without a checkpoint there is nothing to match: the run may start again with other values.
    if self.holds_states:
      began, before = self._kept(CONFIG_FILE, "with the same values"), self._kept(DATA_FILE, "on the same data")
      differing = field_differences(began, config)
      if differing:
        raise ValueError(
          f"{self.path} holds a run with other values:\n" + "\n".join(differing)
          + "\nGive the earlier values to resume it, or another --workdir to start a new run"
        )
      differing = data_differences(before, data, best=best)
      if differing:
        raise ValueError(
          f"{self.path} holds a run on other data:\n" + "\n".join(differing)
          + "\nGive the same data to resume it, or another --workdir to start a new run. To start from this network on other"
          f" data, give another --workdir and --model.init_from {self.path}"
        )
      data = all_data(before, data)
    if jax.process_index() == 0:
      for name, content in ((CONFIG_FILE, config), (DATA_FILE, data), ("environment.json", environment())):
        write_checked_json(self.path / name, content)
        if self.checkpoints.parent != self.path:  # checkpoints elsewhere may outlive the workdir
          _write_beside(self.checkpoints / name, content)

  def _kept(self, name: str, what: str) -> dict[str, Any]:
    """A saved config or data file, from the workdir or the folder of the checkpoints; {} with a note if there is none.

    Raises:
      DamagedData: there are only damaged ones.
    """
    damage: DamagedData | None = None
    for file in (epath.Path(self.path / name), self.checkpoints / name):
      if file.exists():
        try:
          return parse_checked_json(file.read_bytes(), file=str(file))
        except DamagedData as error:
          damage = error
    if damage is not None:
      raise DamagedData(
        f"{damage.what}. Without the file the run is resumed, but not compared with the values that it began with", file=damage.file
      )
    if jax.process_index() == 0:
      print(
        f"note: {self.path} has checkpoints but no {name}: it cannot be checked that they were trained {what}", file=sys.stderr
      )
    return {}


def _write_beside(file: epath.Path, content: Any) -> None:
  if "://" in str(file):  # writing an object is atomic
    file.write_text(checked_text(content))
    return
  file.parent.mkdir(parents=True, exist_ok=True)
  write_checked_json(file, content)


def environment() -> dict[str, Any]:
  """Versions, devices, and git commit of the checkout."""
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
