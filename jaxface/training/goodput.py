"""Goodput of a run: the time of the steps that made its state, as a share of the wall time since its first start.

`lives.json` in the folder of the run has an entry for each life, that is for each process that has worked on it. The first host writes
it. A step whose state was lost in a crash is made again: only its last time counts.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxface.formats.checked_json import parse_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.training.progress import clock
from jaxface.training.resume import is_bound

LIVES_FILE = "lives.json"
# Longest time in seconds between two writes, which a killed run does not count.
EVERY = 5.0
# Saved steps whose time is kept: more than the saved states.
SAVED = 16


@dataclass
class Life:
  """What one process did for the run; all times in seconds.

  Attributes:
    start, end: seconds since 1970; the end is that of the last write.
    first: step from which it went on, 0 for a new run.
    starting: until the first step was compiled: opening data, initialising or restoring, compiling.
    training: in steps, including waiting for images and logging.
    waiting: of the training, for images.
    evaluating, saving: between steps.
    saved: time of training in this life up to each saved step.
  """

  start: float
  end: float
  first: int = 0
  starting: float = 0.0
  training: float = 0.0
  waiting: float = 0.0
  evaluating: float = 0.0
  saving: float = 0.0
  saved: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Goodput:
  """Where the time of a run went since its first start, in seconds.

  Attributes:
    wall: since the first start.
    training: of the steps that made the present state.
    redone: of steps whose state was lost.
    starting, evaluating, saving: see `Life`.
    other: in a life, but none of these: exchanges between hosts, ending.
    stopped: between two lives.
    waiting: for images, of `training` and `redone`.
    lives: number of processes that have worked on it.
  """

  wall: float
  training: float
  redone: float
  starting: float
  evaluating: float
  saving: float
  other: float
  stopped: float
  waiting: float
  lives: int

  @property
  def share(self) -> float:
    """Goodput, 0 to 1."""
    return self.training / self.wall if self.wall > 0 else 0.0

  def rows(self) -> list[tuple[str, float]]:
    """Name and seconds of each part of the wall time."""
    return [
      ("steps", self.training), ("steps made again after a crash", self.redone), ("starting and compiling", self.starting),
      ("evaluation", self.evaluating), ("saving", self.saving), ("other", self.other), ("stopped", self.stopped),
    ]

  def __str__(self) -> str:
    parts = "; ".join(f"{name} {clock(seconds)}" for name, seconds in self.rows()[1:] if seconds >= 0.5)
    lives = "one life" if self.lives == 1 else f"{self.lives} lives"
    waited = self.waiting / max(self.training + self.redone, 1e-9)
    return (
      f"goodput {self.share:.0%}: {clock(self.training)} in steps of {clock(self.wall)} since the first start ({lives})"
      + (f"; {parts}" if parts else "") + f"; waited for images {waited:.0%} of the time in steps"
    )


def total_goodput(lives: list[Life]) -> Goodput:
  """Adds up the lives of a run, in their order."""
  training = redone = 0.0
  for index, life in enumerate(lives):
    kept = life.training
    if later := lives[index + 1 :]:  # what it did after the step from which one of them went on is lost
      since = min(one.first for one in later)
      kept = max((seconds for step, seconds in life.saved.items() if step <= since), default=0.0)
    training += kept
    redone += life.training - kept
  wall = lives[-1].end - lives[0].start
  lived = sum(life.end - life.start for life in lives)
  parts = {name: sum(getattr(life, name) for life in lives) for name in ("starting", "evaluating", "saving", "waiting")}
  busy = training + redone + parts["starting"] + parts["evaluating"] + parts["saving"]
  return Goodput(
    wall=wall, training=training, redone=redone, **parts, other=max(lived - busy, 0.0), stopped=max(wall - lived, 0.0), lives=len(lives)
  )


def read_goodput(folder: Path | str) -> Goodput | None:
  """Goodput of the run in a folder; None if its file is absent or damaged."""
  found = _read(Path(folder) / LIVES_FILE)
  return total_goodput(found[1]) if found and found[1] else None


def run_identity(config: Mapping[str, Any]) -> str:
  """Digest of the fields of an experiment that a resumed run must keep."""
  bound = {name: value for name, value in config.items() if is_bound(name)}
  return hashlib.sha256(json.dumps(bound, sort_keys=True, default=str).encode()).hexdigest()


class Lives:
  """Keeps the life of this process, and those before.

  Args:
    folder: folder of the run.
    identity: see `run_identity`. A run that starts at step 0 with another one has no earlier lives.
    began: when this process began with the run, seconds since 1970.
    first: step from which it goes on.
    writes: whether this process writes the file.
    now: the clock, seconds since 1970.
  """

  def __init__(
    self, folder: Path, identity: str, began: float, first: int, *, writes: bool = True, now: Callable[[], float] = time.time
  ):
    self._file, self._identity, self._writes, self._now = folder / LIVES_FILE, identity, writes, now
    found = _read(self._file)
    earlier = found[1] if found and (first or found[0] == identity) else []
    self.life = Life(began, now(), first)
    self.lives = [*earlier, self.life]
    self._began, self._written = now(), 0.0
    self._out = 0.0  # time since the first step that is not training

  def started(self) -> None:
    """The first step is compiled: training begins."""
    self._began, self._out = self._now(), 0.0
    self.life.starting = self._began - self.life.start - self.life.evaluating - self.life.saving

  def evaluated(self, seconds: float) -> None:
    """Time of hooks between steps."""
    self.life.evaluating += seconds
    self._out += seconds

  def saved(self, step: int, seconds: float) -> None:
    """A state was saved: the time up to it counts, whatever comes."""
    self.life.saving += seconds
    self._out += seconds
    self._count()
    kept = {**self.life.saved, step: self.life.training}
    self.life.saved = dict(sorted(kept.items())[-SAVED:])
    self.write()

  def logged(self, wait_seconds: float) -> float:
    """A row is logged; returns the goodput so far."""
    self.life.waiting = wait_seconds
    self._count()
    if self._now() - self._written > EVERY:
      self.write()
    return self.total().share

  def _count(self) -> None:
    self.life.end = self._now()
    if self.life.starting:
      self.life.training = max(self.life.end - self._began - self._out, 0.0)

  def total(self) -> Goodput:
    """Goodput until now."""
    return total_goodput(self.lives)

  def write(self) -> None:
    """Write the file, if this process does."""
    self._written = self._now()
    if self._writes:
      write_checked_json(self._file, {"run": self._identity, "lives": [asdict(life) for life in self.lives]})


def _read(file: Path) -> tuple[str, list[Life]] | None:
  try:
    found = parse_checked_json(file.read_bytes(), file=file)
    lives = [Life(**{**one, "saved": {int(step): seconds for step, seconds in one["saved"].items()}}) for one in found["lives"]]
    return found["run"], lives
  except (OSError, DamagedData, KeyError, TypeError, ValueError):  # figures for the user: not worth the end of a run
    return None


__all__ = ["LIVES_FILE", "Goodput", "Life", "Lives", "read_goodput", "run_identity", "total_goodput"]
