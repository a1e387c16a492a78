"""The last states and the best state of a run, with fallback from damaged ones."""

from collections.abc import Mapping
from pathlib import Path

from jaxface.checkpoint.checksums import DamagedCheckpoint
from jaxface.checkpoint.leaves import Tree
from jaxface.checkpoint.series import Series, as_path, first_of_all_hosts
from jaxface.checkpoint.tree import read_tree


class Checkpoints:
  """The last states and the best state of a run, written atomically in the background, with checksums.

  With several hosts all of them must make the same calls.

  Args:
    folder: gets `last/STEP/` and `best/STEP/`; a path, or gs://BUCKET/PATH.
    keep: number of last states to keep.

  Raises:
    WrongCheckpoint: the states there were written by an earlier release.
    ValueError: an unsupported or unreachable folder; see `as_path`.
  """

  def __init__(self, folder: Path | str, *, keep: int = 2):
    self.folder = as_path(folder)
    self._last = Series(self.folder / "last", keep)
    self._best = Series(self.folder / "best", 1)
    self._notes = [*self._last.notes, *self._best.notes]

  @property
  def latest_step(self) -> int | None:
    """Step of the newest state that is finished or being written; None if there is none."""
    return self._last.steps[-1] if self._last.steps else None

  @property
  def best_step(self) -> int | None:
    """Step of the best state that is finished or being written; None if there is none."""
    return self._best.steps[-1] if self._best.steps else None

  def save(self, step: int, state: Tree) -> None:
    """Start writing `state`, unless that step is saved already; returns once it is copied to the host.

    Waits for the state before. The oldest state is removed when this one is finished.
    """
    if step != self.latest_step:
      self._last.save(step, state)

  def save_if_best(self, step: int, state: Tree, score: float) -> bool:
    """Keep `state` as the best if `score` (higher is better) is larger than every earlier one.

    A resumed run may reach the step of the best state again, with rounding differences on another machine: that state
    is kept. A best state whose score cannot be read is set aside.
    """
    self._best.wait()
    best = self._best.steps[-1] if self._best.steps else None
    before = None if best is None else self._best.score(best)
    if best is not None and first_of_all_hosts(before is None):
      self._set_aside_best(best)
      best = None
    # A state is saved by all hosts or by none: the first one decides.
    if not first_of_all_hosts(best is None or (best != step and before is not None and before < score)):
      return False
    self._best.save(step, state, float(score))
    return True

  def restore(self, like: Tree, *, best: bool = False, least: Mapping[str, tuple[int, ...]] | None = None) -> Tree:
    """The newest undamaged state, or the best one, with the shardings of `like`.

    A damaged state is renamed, noted (`take_notes`), and the one before it is restored.

    Args:
      like: arrays or shapes, with shardings.
      best: the best state instead of the newest.
      least: shapes without padding, by name, of leaves whose padding may differ from `like`: it is cut or extended with
        zeros.
    Raises:
      FileNotFoundError: there is no state.
      DamagedCheckpoint: all states are damaged; names a file of each.
      WrongCheckpoint: a state of another model, or of more identities.
    """
    self.wait()
    series = self._best if best else self._last
    if not series.steps:
      raise FileNotFoundError(f"{series.folder}: no checkpoint there")
    damage: dict[int, str] = {}
    for step in reversed(series.steps):
      found = series.damage(step)
      if not found:
        break
      damage[step] = found
    else:
      raise DamagedCheckpoint(self._nothing_left(series, damage, best=best))
    for broken, what in damage.items():
      aside = series.set_aside(broken)
      self._notes.append(
        f"the state of step {broken} is damaged: {series.path(broken)}, {what}. Going on from the one of step {step}; the damaged"
        f" one is kept as {aside.name}"
      )
    path = series.path(step)
    return read_tree(path / "state", like, least=least, where=str(path))

  def check_best(self) -> None:
    """Set the best state aside if it is damaged, with a note: a later one may become the best."""
    for step in list(self._best.steps):
      if what := self._best.damage(step):
        self._set_aside_best(step, what)

  def take_notes(self) -> list[str]:
    """Notes on damaged and incomplete states since the last call, for the terminal and the log."""
    notes, self._notes = self._notes, []
    return notes

  def _set_aside_best(self, step: int, what: str = "its score cannot be read") -> None:
    aside = self._best.set_aside(step)
    self._notes.append(
      f"the best state, of step {step}, is damaged: {self._best.path(step)}, {what}. The best of the states to come takes its"
      f" place; the damaged one is kept as {aside.name}"
    )

  def _nothing_left(self, series: Series, damage: Mapping[int, str], *, best: bool) -> str:
    lines = "".join(f"\n  {series.path(step)}: {what}" for step, what in damage.items())
    way_on = (
      "Take the last state instead (--use last), or start anew with another --workdir" if best
      else "Put back a copy of one of them, or start anew with another --workdir"
    )
    return f"no state in {series.folder} is as it was written:{lines}\n{way_on}"

  def wait(self) -> None:
    """Block until all states are on disk with their checksums."""
    self._last.wait()
    self._best.wait()

  def close(self) -> None:
    try:
      self._last.close()
    finally:
      self._best.close()
