"""What all stages of cleaning share: the images of a folder, a work folder beside it, and the results of the stages that are done.

Nothing is written into the folder of the images.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image
from jaxface.formats.leave_out import LEAVE_OUT, MOVE, Proposal
from jaxface.formats.lock import FolderLock
from jaxface.formats.members import read_member
from jaxface.formats.sources import Source, read_source

# In this order the stages see what is left of the images.
STAGES = ("rank", "duplicates", "noise", "people", "blocks")
FORMAT_VERSION = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
  """Result of a stage.

  Attributes:
    stage: its name.
    fingerprint: digest of the images, of the options, and of the results of the stages before it that it used.
    used: fingerprint of each stage before it that it used.
    options: of the stage, plain JSON values.
    images: number of images that it looked at.
    people: of their identities.
    accept: proposals with at least this probability are in the list.
    proposals: for images; the surest first.
    counts: numbers for the report, by name.
    notes: lines for the user.
    extra: what only this stage knows, plain JSON values.
  """

  stage: str
  fingerprint: str
  used: Mapping[str, str]
  options: Mapping[str, Any]
  images: int
  people: int
  accept: float
  proposals: tuple[Proposal, ...]
  counts: Mapping[str, int]
  notes: tuple[str, ...] = ()
  extra: Mapping[str, Any] = field(default_factory=dict)

  @property
  def accepted(self) -> tuple[Proposal, ...]:
    """Proposals that are in the list."""
    return tuple(one for one in self.proposals if one.probability >= self.accept)

  def summary(self) -> str:
    """One line for a terminal."""
    out = sum(one.action == LEAVE_OUT for one in self.accepted)
    moved = sum(one.action == MOVE for one in self.accepted)
    below = len(self.proposals) - len(self.accepted)
    text = f"{self.stage}: of {self.images:,} images of {self.people:,} people {out:,} are left out"
    text += f", {moved:,} moved" if moved else ""
    text += f"; {below:,} proposals are less sure than {self.accept:g}" if below else ""
    counts = ", ".join(f"{name} {number:,}" for name, number in self.counts.items())
    return f"{text}; {counts}" if counts else text


@dataclass(frozen=True)
class Cleaning:
  """The images of a folder, and the state of their cleaning.

  Attributes:
    source: the images.
    work: folder of results and report pages.
    results: of the stages that are done.
  """

  source: Source
  work: Path
  results: Mapping[str, StageResult]

  @classmethod
  def open(cls, folder: str | Path, *, work: str | Path | None = None, list_file: str | Path | None = None) -> Cleaning:
    """Lists the images and reads the results so far.

    Args:
      folder: a folder per identity, or any folder with `list_file`.
      work: folder for results; None for FOLDER.cleaning, beside it.
      list_file: path and identity per line, as for `pack --layout list`.
    Raises:
      FileNotFoundError: no such folder.
      ValueError: no images there; the work folder lies inside the folder.
      DamagedData: the result of a stage is damaged.
    """
    source = read_source(folder, "folders" if list_file is None else "list", list_file)
    folder = source.root
    work = folder.resolve().with_name(folder.resolve().name + ".cleaning") if work is None else Path(work)
    if work.resolve().is_relative_to(folder.resolve()):
      raise ValueError(f"{work} lies inside {folder}: choose a folder outside it, since nothing is written there")
    results = {name: _read(work / f"{name}.json") for name in STAGES if (work / f"{name}.json").is_file()}
    return cls(source, work, results)

  @property
  def paths(self) -> list[str]:
    """Paths of all images, relative to the folder."""
    return [image.path for image in self.source.images]

  @property
  def identities(self) -> list[str]:
    """Identity of each image, as the folder says."""
    return [image.identity for image in self.source.images]

  def before(self, stage: str) -> list[StageResult]:
    """Results of earlier stages."""
    return [self.results[name] for name in STAGES[: STAGES.index(stage)] if name in self.results]

  def left(self, stage: str) -> tuple[np.ndarray, list[str]]:
    """The images that the stages before have left.

    Args:
      stage: one of `STAGES`.
    Returns:
      [M] int64 rows of the images, ascending, and the identity of each after accepted moves.
    Raises:
      ValueError: earlier stages were made of other images, or in another order; says what to run again.
    """
    out: set[str] = set()
    moved: dict[str, str] = {}
    for result in self.before(stage):
      self.check(result)
      out |= {one.path for one in result.accepted if one.action == LEAVE_OUT}
      moved |= {one.path: one.identity for one in result.accepted if one.action == MOVE}
    rows = [row for row, image in enumerate(self.source.images) if image.path not in out]
    if not rows:
      raise ValueError(f"{self.source.root}: the stages before {stage!r} leave no image")
    return np.array(rows, np.int64), [moved.get(self.source.images[row].path, self.source.images[row].identity) for row in rows]

  def check(self, result: StageResult) -> None:
    """Rejects a result of other images, or of an earlier stage that was run again since.

    Raises:
      ValueError: says what to run again.
    """
    again = f"run `tfrecords_tools clean {result.stage}` again, or remove {self.work / (result.stage + '.json')}"
    if result.extra.get("stamp") != self.source.stamp():
      raise ValueError(f"the images of {self.source.root} have changed since stage {result.stage!r}: {again}")
    for name, fingerprint in result.used.items():
      if name not in self.results or self.results[name].fingerprint != fingerprint:
        raise ValueError(f"stage {name!r} was run again or removed after stage {result.stage!r}, which used it: {again}")

  def fingerprint(self, stage: str, options: Mapping[str, Any]) -> str:
    """Digest of all that decides the result of a stage."""
    used = {result.stage: result.fingerprint for result in self.before(stage)}
    return hashlib.sha256(json.dumps([self.source.stamp(), stage, dict(options), used], sort_keys=True).encode()).hexdigest()

  def image(self, row: int) -> np.ndarray:
    """One image [H, W, 3] uint8.

    Raises:
      DamagedData: it cannot be read.
    """
    path = self.source.images[row].path
    return decode_image(read_member(self.source.root, path), where=str(self.source.root / path))

  def run(
    self, stage: str, options: Mapping[str, Any], compute: Callable[[np.ndarray, list[str]], Found], *, accept: float = 0.0,
    page: Callable[[Path, StageResult], object] | None = None, say: Callable[[str], object] = _log.info,
  ) -> StageResult:
    """Runs a stage, or returns its result if nothing that decides it has changed.

    Args:
      stage: one of `STAGES`.
      options: that decide the result, plain JSON values.
      compute: called with the rows that are left and their identities.
      accept: see `StageResult`.
      page: writes the report page, WORK/STAGE.html.
      say: called with each line for the user.
    Raises:
      FolderInUse: another process works there.
    """
    fingerprint = self.fingerprint(stage, {**options, "accept": accept})
    rows, identities = self.left(stage)
    done = self.results.get(stage)
    if done is not None and done.fingerprint == fingerprint and (page is None or (self.work / f"{stage}.html").is_file()):
      say(f"{self.work / stage}.json is already complete")
      return done
    for note in self.source.notes:
      say(note)
    with FolderLock(self.work, say=say):
      found = compute(rows, identities)
      result = StageResult(
        stage, fingerprint, {one.stage: one.fingerprint for one in self.before(stage)}, dict(options), len(rows), len(set(identities)), accept,
        tuple(sorted(found.proposals, key=lambda one: (-one.probability, one.path))), dict(found.counts), tuple(found.notes),
        {**found.extra, "stamp": self.source.stamp()},
      )
      if page is not None:
        page(self.work / f"{stage}.html", result)
      write_checked_json(self.work / f"{stage}.json", {"format_version": FORMAT_VERSION, **asdict(result)})
    for note in found.notes:
      say(note)
    return result


@dataclass(frozen=True)
class Found:
  """What the computation of a stage gives, see `StageResult`."""

  proposals: list[Proposal]
  counts: Mapping[str, int]
  notes: list[str] = field(default_factory=list)
  extra: Mapping[str, Any] = field(default_factory=dict)


def _read(file: Path) -> StageResult:
  plain = read_checked_json(file)
  if plain.pop("format_version", None) != FORMAT_VERSION:
    raise DamagedData(f"is of another release; remove it and run the stage again. This one reads format_version {FORMAT_VERSION}", file=file)
  try:
    plain["proposals"] = tuple(Proposal(**one) for one in plain["proposals"])
    return StageResult(**{**plain, "notes": tuple(plain["notes"])})
  except (KeyError, TypeError) as error:
    raise DamagedData(f"not a result of cleaning: {error}; remove it and run the stage again", file=file) from error


__all__ = ["STAGES", "Cleaning", "Found", "StageResult"]
