"""The list of a cleaned dataset: which images a pack leaves out, and which it stores under another identity, and why.

A UTF-8 table with a tab between columns: path, action ("leave out" or "move"), identity (of a move), stage, probability, reason. A user
may delete lines, or write them. No image is deleted or moved on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData
from jaxface.formats.identities import check_identity_name
from jaxface.formats.sources import Source

LEAVE_OUT, MOVE = "leave out", "move"
_HEADER = "path\taction\tidentity\tstage\tprobability\treason"


@dataclass(frozen=True)
class Proposal:
  """What a stage of cleaning proposes for one image.

  Attributes:
    path: of the image, relative to the folder.
    action: "leave out", or "move" to another identity.
    identity: new identity of a moved image, else "".
    stage: of cleaning, that proposes it.
    probability: that the proposal is right, 0 to 1; 1 for a rule, or for a decision of a person.
    reason: for a person.
  """

  path: str
  action: str
  identity: str
  stage: str
  probability: float
  reason: str

  def __post_init__(self) -> None:
    if self.action not in (LEAVE_OUT, MOVE):
      raise ValueError(f"action {self.action!r}: takes {LEAVE_OUT!r} or {MOVE!r}")
    if bool(self.identity) != (self.action == MOVE):
      raise ValueError(f"{self.path!r}: {self.action!r} with identity {self.identity!r}; an identity is needed to move, and only then")
    if not 0 <= self.probability <= 1:
      raise ValueError(f"{self.path!r}: probability {self.probability} is not within 0 and 1")


def write_leave_out(path: str | Path, proposals: Iterable[Proposal]) -> None:
  """Writes the list, atomically.

  Args:
    path: file to write; an existing one is replaced.
    proposals: its lines.
  Raises:
    ValueError: a tab or a line break in a path, which the table cannot hold.
  """
  lines = [_HEADER]
  for one in proposals:
    cells = [one.path, one.action, one.identity, one.stage, f"{one.probability:.6f}", " ".join(one.reason.split())]
    if any(set(cell) & set("\t\r\n") for cell in cells):
      raise ValueError(f"{one.path!r}: a name with a tab or a line break cannot be listed; rename the file")
    lines.append("\t".join(cells))
  write_text(path, "\n".join(lines) + "\n")


def read_leave_out(path: str | Path) -> tuple[Proposal, ...]:
  """Reads a list.

  Args:
    path: the file.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: not such a list; names the line.
  """
  try:
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
  except UnicodeDecodeError as error:
    raise DamagedData(f"not UTF-8 text: {error}", file=path) from error
  if not lines or lines[0] != _HEADER:
    raise DamagedData(f"not a list of `tfrecords_tools clean list`: its first line must be {_HEADER!r}", file=path)
  found: dict[str, Proposal] = {}
  for number, line in enumerate(lines[1:], start=2):
    if not line.strip():
      continue
    cells = line.split("\t")
    try:
      if len(cells) != 6:
        raise ValueError(f"{len(cells)} columns, not 6")
      one = Proposal(cells[0], cells[1], cells[2], cells[3], float(cells[4]), cells[5])
      if one.action == MOVE:
        check_identity_name(one.identity)
    except ValueError as error:
      raise DamagedData(f"line {number}: {error}", file=path) from error
    if one.path in found:
      raise DamagedData(f"line {number}: {one.path!r} is listed twice; keep one of the lines", file=path)
    found[one.path] = one
  return tuple(found.values())


def apply_leave_out(source: Source, proposals: Sequence[Proposal], *, file: str | Path) -> Source:
  """A source without the images that a list leaves out, and with the identities to which it moves others.

  Args:
    source: of the images.
    proposals: from `read_leave_out`.
    file: name of the list, for messages.
  Raises:
    ValueError: a path that the source does not have, as in the list of another folder; no image is left.
  """
  by_path = {one.path: one for one in proposals}
  unknown = sorted(set(by_path) - {image.path for image in source.images})
  if unknown:
    raise ValueError(
      f"{file}: {len(unknown):,} of {len(by_path):,} listed images are not in {source.root} (first: {unknown[0]!r}): it is the list of another"
      " folder, or images were moved since; make it again"
    )
  kept = []
  for image in source.images:
    one = by_path.get(image.path)
    if one is None:
      kept.append(image)
    elif one.action == MOVE:
      kept.append(replace(image, identity=one.identity))
  if not kept:
    raise ValueError(f"{file}: leaves out all {len(source.images):,} images of {source.root}")
  out, moved = len(source.images) - len(kept), sum(one.action == MOVE for one in by_path.values())
  note = f"{out:,} of {len(source.images):,} images are left out and {moved:,} have another identity, by {file}."
  return replace(source, images=tuple(kept), notes=(*source.notes, note))


__all__ = ["LEAVE_OUT", "MOVE", "Proposal", "apply_leave_out", "read_leave_out", "write_leave_out"]
