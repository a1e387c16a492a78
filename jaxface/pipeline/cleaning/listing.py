"""Stage list: one list of all that the stages leave out or move, for `tfrecords_tools pack --leave-out`, and the table of the stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxface.formats.leave_out import LEAVE_OUT, MOVE, Proposal, write_leave_out
from jaxface.pipeline.cleaning.state import STAGES, Cleaning


@dataclass(frozen=True)
class StageRow:
  """A line of the table of stages: people and images that are left after a stage, and how many images it left out and moved."""

  stage: str
  people: int
  images: int
  left_out: int
  moved: int


@dataclass(frozen=True)
class CleanList:
  """The list, and the table of stages, the folder itself first."""

  proposals: tuple[Proposal, ...]
  table: tuple[StageRow, ...]

  def __str__(self) -> str:
    head = f"{'stage':12} {'people':>9} {'images':>11} {'left out':>9} {'moved':>7}"
    return "\n".join([head, *(f"{one.stage:12} {one.people:9,} {one.images:11,} {one.left_out:9,} {one.moved:7,}" for one in self.table)])


def clean_list(
  folder: str | Path, out: str | Path | None = None, *, work: str | Path | None = None, list_file: str | Path | None = None
) -> CleanList:
  """Joins what all finished stages propose with enough probability.

  Args:
    folder: the folder.
    out: file to write; None writes none.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
  Returns:
    `CleanList`.
  Raises:
    ValueError: no stage is done; a stage was run again after one that used it; the images have changed.
  """
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)
  if not cleaning.results:
    raise ValueError(f"{cleaning.work}: no stage of cleaning is done: run one of {', '.join(STAGES)} first")
  name_of = dict(zip(cleaning.paths, cleaning.identities))
  rows = [StageRow("folder", len(set(name_of.values())), len(name_of), 0, 0)]
  listed: dict[str, Proposal] = {}
  for stage in STAGES:
    if stage not in cleaning.results:
      continue
    cleaning.check(cleaning.results[stage])
    out_now = moved = 0
    for one in cleaning.results[stage].accepted:
      if one.action == LEAVE_OUT:
        out_now += name_of.pop(one.path, None) is not None
      elif one.action == MOVE and one.path in name_of:
        moved += name_of[one.path] != one.identity
        name_of[one.path] = one.identity
      listed[one.path] = one
    rows.append(StageRow(stage, len(set(name_of.values())), len(name_of), out_now, moved))
  made = CleanList(tuple(listed[path] for path in sorted(listed)), tuple(rows))
  if out is not None:
    write_leave_out(out, made.proposals)
  return made


__all__ = ["CleanList", "StageRow", "clean_list"]
