"""Stage blocks: images in blocks of 200, by a network's softmax, for a person to accept or reject in a browser."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.leave_out import LEAVE_OUT, Proposal
from jaxface.formats.lock import FolderLock
from jaxface.inference.model import Model
from jaxface.pipeline.cleaning.faces import chosen, faces_of
from jaxface.pipeline.cleaning.page import write_stage_page
from jaxface.pipeline.cleaning.sheets import BLOCK, Tile, make_blocks, write_block_page
from jaxface.pipeline.cleaning.softmax import own_softmax
from jaxface.pipeline.cleaning.state import Cleaning, Found, StageResult

ACCEPT, REJECT = "accept", "reject"
_FORMAT = "jaxface blocks 1"
_RUN = "run.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlockPage:
  """The page for a person: its folder, run, and numbers of blocks and images."""

  folder: Path
  run: str
  blocks: int
  images: int

  def summary(self) -> str:
    """Two lines for a terminal."""
    return (
      f"{self.folder / 'index.html'}: {self.images:,} images in {self.blocks:,} blocks; open it in a browser, decide, save with S, then run"
      " `clean blocks FOLDER --decisions decisions.json`"
    )


def clean_blocks(
  folder: str | Path, *, embeddings: str | Path | None = None, model: Model | str | Path | None = None, template: str = "", size: int = BLOCK,
  work: str | Path | None = None, list_file: str | Path | None = None, progress: bool = False, say: Callable[[str], object] = _log.info,
) -> BlockPage:
  """Writes the page on which a person accepts or rejects the images that the stages before have left.

  Args:
    folder: a folder per identity, or any folder with `list_file`.
    embeddings: file of `jaxface embed`.
    model: a model that embeds the images instead.
    template: alignment template of the images, if known.
    size: images of a block.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    `BlockPage`; the page is WORK/blocks/index.html, which needs no server.
  Raises:
    ValueError: fewer than two people; see `Cleaning.open` and `faces_of`.
  """
  if size < 1:
    raise ValueError(f"size is {size}: at least 1 image in a block")
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)
  unit_md, have_m, digest = faces_of(cleaning, embeddings=embeddings, model=model, template=template, progress=progress, say=say)
  rows, identities = cleaning.left("blocks")
  unit_nd, kept, names, people, label_n = chosen(unit_md, have_m, rows, identities)
  if len(people) < 2:
    raise ValueError(f"{folder}: a softmax over people needs at least two, there is {len(people)}")
  score_n = own_softmax(unit_nd, label_n)
  row_of = {cleaning.paths[row]: int(row) for row in kept}
  blocks = make_blocks([Tile(cleaning.paths[row], name, float(score)) for row, name, score in zip(kept.tolist(), names, score_n)], size)
  run = cleaning.fingerprint("blocks", {"faces": digest, "size": size})
  page = BlockPage(cleaning.work / "blocks", run, len(blocks), len(kept))

  def read(path: str) -> np.ndarray | None:
    try:
      return cleaning.image(row_of[path])
    except DamagedData:
      return None

  with FolderLock(cleaning.work, say=say):
    write_block_page(page.folder, run, cleaning.source.root.name, blocks, read)
    write_checked_json(page.folder / _RUN, {"run": run, "paths": [tile.path for block in blocks for tile in block]})
  return page


def apply_blocks(
  folder: str | Path, decisions: str | Path, *, work: str | Path | None = None, list_file: str | Path | None = None,
  say: Callable[[str], object] = _log.info,
) -> StageResult:
  """Takes the decisions of the page as the result of the stage; images without a decision stay.

  Args:
    folder: the folder.
    decisions: file that the page saved.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
    say: called with each line for the user.
  Returns:
    `StageResult`; also in WORK/blocks.json, with a page in WORK/blocks.html.
  Raises:
    FileNotFoundError: no such file, or no page yet.
    DamagedData: not such a file.
    ValueError: decisions of another run of the page, or the page is older than a stage that was run again.
  """
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)
  made = cleaning.work / "blocks" / _RUN
  if not made.is_file():
    raise FileNotFoundError(f"{made.parent}: there is no page of blocks yet: run `tfrecords_tools clean blocks` with --model or --embeddings first")
  run = read_checked_json(made)
  given = _read_decisions(Path(decisions))
  if given["run"] != run["run"]:
    raise ValueError(
      f"{decisions}: decisions of another run ({given['run'][:16]}…); the page in {made.parent} is of run {run['run'][:16]}…. Decide on that page, or"
      " make the page again from the images and stages of these decisions"
    )
  if unknown := sorted(set(given["decisions"]) - set(run["paths"])):
    raise ValueError(f"{decisions}: {len(unknown):,} decisions are on images that the page does not show (first: {unknown[0]!r})")

  def compute(rows: np.ndarray, identities: list[str]) -> Found:
    what = given["decisions"]
    proposals = [Proposal(path, LEAVE_OUT, "", "blocks", 1.0, "rejected by a person") for path in run["paths"] if what.get(path) == REJECT]
    accepted = sum(one == ACCEPT for one in what.values())
    return Found(proposals, {"accepted": accepted, "not decided": len(run["paths"]) - len(what)}, [], {"run": run["run"]})

  def page(path: Path, result: StageResult) -> None:
    write_stage_page(path, cleaning, result, title="Blocks", beside=lambda one: [], text="Images that a person rejected.")

  return cleaning.run("blocks", {"run": run["run"], "decisions": sorted(given["decisions"].items())}, compute, page=page, say=say)


def _read_decisions(file: Path) -> dict[str, Any]:
  try:
    plain = json.loads(file.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"not a file of decisions: {error}; save it again from the page", file=file) from error
  if not isinstance(plain, dict) or plain.get("format") != _FORMAT or not isinstance(plain.get("run"), str) or not isinstance(plain.get("decisions"), dict):
    raise DamagedData(f"not a file of decisions: needs format {_FORMAT!r}, run and decisions; save it again from the page", file=file)
  for path, what in plain["decisions"].items():
    if what not in (ACCEPT, REJECT):
      raise DamagedData(f"decision on {path!r} is {what!r}: {ACCEPT!r} or {REJECT!r}", file=file)
  return plain


__all__ = ["ACCEPT", "REJECT", "BlockPage", "apply_blocks", "clean_blocks"]
