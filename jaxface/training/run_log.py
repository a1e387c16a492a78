"""The log of a run: rows of metrics (one interval late), notes, the progress line, and the error of a diverged run."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxface.training.logs import MetricWriter, host_scalars
from jaxface.training.parts import BAD_WINDOW, Plan
from jaxface.training.progress import ProgressLine
from jaxface.training.tracking import Trackers

# Notes on the start of a run, which are also printed once.
NOTES_FILE = "notes.txt"
# Ends of the names of figures that the terminal shows.
SHOWN = ("accuracy", "auc", "accuracy_mean", "rank-1", "tar@1e-4", "tpr_at_fpr_1e-3")
# Share of an interval spent waiting for images from which on they are too slow.
STARVED = 0.2


class TrainingDiverged(RuntimeError):
  """Too many consecutive or recent steps had a non-finite loss or gradient."""


def _collapsed(row: dict[str, float]) -> float:
  """Share of the steps in which the embeddings had collapsed, according to a term of the objective."""
  return max((value for name, value in row.items() if name.rpartition("/")[2] == "collapsed"), default=0.0)


class RunLog:
  """Writes the log of a run. With several hosts, which all have the same metrics, the first one writes.

  Args:
    plan: plan of the run.
    folder: folder of the run.
    start: step from which the run is resumed, 0 for a new run.
    trackers: services that receive the rows, too.
  Attributes:
    blocked_seconds: total time in which it has waited for the devices.
  """

  def __init__(self, plan: Plan, folder: Path, start: int, trackers: Trackers | None = None):
    self.plan, self.folder, self.trackers = plan, folder, trackers or Trackers()
    self._noted = start > 0  # a resumed run appends to its notes
    # A row describes the state after its step, so the row of the step resumed from is kept.
    self.writer = MetricWriter(folder, resume_step=start + 1 if start else 0) if jax.process_index() == 0 else None
    self.line = ProgressLine(plan.steps, start_step=start)
    self._late: tuple[int, dict[str, Any], dict[str, float]] | None = None
    self.blocked_seconds = 0.0
    self._told = False  # that steps were skipped
    self._starved = 0  # intervals in a row in which the devices waited for images
    self._advised = False

  def note(self, lines: Sequence[str]) -> None:
    """Print notes, and append them to the notes file."""
    if self.writer is None:
      return
    for line in lines:
      self.line.note(line)
    with open(self.folder / NOTES_FILE, "a" if self._noted else "w", encoding="utf-8") as file:
      file.writelines(f"{line}\n" for line in lines)
    self._noted = True

  def later(self, number: int, metrics: dict[str, Any], speed: dict[str, float]) -> None:
    """Keep a row until the next interval, when its metrics are finished and reading them does not block."""
    self.flush()
    self._late = (number, metrics, speed)

  def flush(self) -> None:
    """Write the pending row, and raise an error if too many steps were skipped."""
    if self._late is None:
      return
    (number, metrics, speed), self._late = self._late, None
    began = time.perf_counter()
    jax.block_until_ready(metrics)  # ready already, unless the loop is an interval ahead of the devices
    self.blocked_seconds += time.perf_counter() - began
    row = host_scalars({**metrics, **speed})
    if self.writer is not None:
      self._write(number, row)
      self.line.update(
        number, loss=row["loss"], images_per_second=row["images_per_second"], wait_share=row["wait_share"],
        learning_rate=row["learning_rate"], skipped=int(row["skipped"]),
        shares={name: row[f"{name}_share"] for name in ("dispatch", "device", "log") if f"{name}_share" in row},
      )
      if row["skipped"] and not self._told:
        self._told = True
        self.line.note(
          f"step {number}: {int(row['skipped'])} of the last steps had a non-finite loss or gradient and were skipped; the run"
          f" ends at {self.plan.max_bad_steps} in a row (max_bad_steps) or more than {self.plan.max_bad_share:.0%}"
          f" of {BAD_WINDOW} (max_bad_share)"
        )
      self._advise(number, row["wait_share"])
      share = _collapsed(row)
      if share > 0.5:
        self.line.note(
          f"step {number}: in {share:.0%} of the last steps all embeddings had the same direction, the network has"
          " collapsed: lower optimizer.learning_rate, mine semi_hard, or start from a trained network (model.init_from)"
        )
    if row["bad_in_row"] >= self.plan.max_bad_steps:
      raise self._diverged(number, f"{int(row['bad_in_row'])} steps in a row", "max_bad_steps")
    if row["bad_lately"] > self.plan.most_bad_lately:
      raise self._diverged(number, f"{int(row['bad_lately'])} of {BAD_WINDOW} steps", "max_bad_share")

  def _write(self, number: int, row: dict[str, float]) -> None:
    assert self.writer is not None
    self.trackers.write(number, self.writer.write(number, row))

  def _advise(self, number: int, wait_share: float) -> None:
    """Say once what to do when images come too slowly, in three intervals in a row: the first one holds the compilation."""
    self._starved = self._starved + 1 if wait_share > STARVED else 0
    if self._starved == 3 and not self._advised:
      self._advised = True
      self.line.note(
        f"step {number}: the devices waited for images {wait_share:.0%} of the time: raise data.threads (0 is one per core), give the"
        " process more cores, or pack the images at the size of the network (data.size)"
      )

  def _diverged(self, number: int, how_many: str, limit: str) -> TrainingDiverged:
    return TrainingDiverged(
      f"{how_many}, at or shortly before step {number}, had a non-finite loss or gradient and were skipped ({limit} is"
      f" {getattr(self.plan, limit)}): lower optimizer.learning_rate, set optimizer.clip_norm, or increase the margin's"
      " warmup_steps"
    )

  def figures(self, number: int, row: dict[str, float]) -> None:
    """Write the figures of hooks after step `number`."""
    if self.writer is None or not row:
      return
    self._write(number, row)
    shown = [f"{name} {value:.4f}" for name, value in row.items() if name.endswith(SHOWN)]
    if shown:
      self.line.note(f"step {number}: {', '.join(shown)}")

  def close(self) -> None:
    """Close the files; call `flush` first to write a pending row."""
    if self.writer is not None:
      self.writer.close()
    self.line.close()


__all__ = ["NOTES_FILE", "RunLog", "TrainingDiverged"]
