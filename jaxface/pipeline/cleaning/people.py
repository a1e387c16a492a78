"""Stage people: folders with two people are split, two folders of one person merged; each a proposal that moves images to another name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.evaluation.measures.graph import components
from jaxface.formats.leave_out import MOVE, Proposal
from jaxface.inference.model import Model
from jaxface.pipeline.cleaning.components import find_merges, find_splits
from jaxface.pipeline.cleaning.faces import chosen, faces_of
from jaxface.pipeline.cleaning.page import write_stage_page
from jaxface.pipeline.cleaning.state import Cleaning, Found, StageResult

LEAST = 0.05
_log = logging.getLogger(__name__)


def clean_people(
  folder: str | Path, *, embeddings: str | Path | None = None, model: Model | str | Path | None = None, template: str = "",
  accept: float = 0.9, neighbours: int = 5, work: str | Path | None = None, list_file: str | Path | None = None, progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> StageResult:
  """Proposes to split names under which two people are, and to merge names of one person.

  Args:
    folder: a folder per identity, or any folder with `list_file`.
    embeddings: file of `jaxface embed`.
    model: a model that embeds the images instead.
    template: alignment template of the images, if known.
    accept: images are moved from this probability on.
    neighbours: k of the mutual nearest neighbours.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    `StageResult`; also in WORK/people.json, with a page in WORK/people.html.
  Raises:
    ValueError: see `Cleaning.open` and `faces_of`.
  """
  if not 0 < accept <= 1:
    raise ValueError(f"accept is {accept}: a probability above 0, at most 1")
  if neighbours < 1:
    raise ValueError(f"neighbours is {neighbours}: at least 1 is needed")
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)
  unit_md, have_m, digest = faces_of(cleaning, embeddings=embeddings, model=model, template=template, progress=progress, say=say)

  def compute(rows: np.ndarray, identities: list[str]) -> Found:
    unit_nd, kept, _, people, label_n = chosen(unit_md, have_m, rows, identities)
    proposals: dict[str, Proposal] = {}
    beside: dict[str, list[str]] = {}
    splits = [one for one in find_splits(unit_nd, label_n, neighbours=neighbours) if one.probability >= LEAST]
    taken = set(people.tolist())
    for one in splits:
      name = str(people[one.label])
      new = next(text for number in range(2, 10**6) if (text := f"{name}~{number}") not in taken)
      taken.add(new)
      stays = next(row for row in np.flatnonzero(label_n == one.label) if row not in one.rows)
      for row in one.rows.tolist():
        path = cleaning.paths[kept[row]]
        reason = f"{len(one.rows)} images of {name} show another person than the rest"
        proposals[path] = Proposal(path, MOVE, new, "people", round(one.probability, 6), reason)
        beside[path] = [cleaning.paths[kept[stays]]]
    merges = [one for one in find_merges(unit_nd, label_n, neighbours=neighbours) if one.probability >= LEAST]
    sure = np.array([[one.first, one.second] for one in merges if one.probability >= accept], np.int64).reshape(-1, 2)
    group_c = components(sure[:, 0], sure[:, 1], len(people))
    count_c = np.bincount(label_n, minlength=len(people))
    for pair in merges:
      # The name of most images of all that are joined.
      both = np.flatnonzero(group_c == group_c[pair.first]) if pair.probability >= accept else np.array([pair.first, pair.second])
      target = int(both[count_c[both].argmax()])
      for label in {pair.first, pair.second} - {target}:
        reason = f"{people[label]} and {people[target]} are one person, cosine of the centres of {people[pair.first]} and {people[pair.second]} {pair.cosine:.2f}"
        for row in np.flatnonzero(label_n == label):
          path = cleaning.paths[kept[row]]
          if path not in proposals:
            proposals[path] = Proposal(path, MOVE, str(people[target]), "people", round(pair.probability, 6), reason)
            beside[path] = [cleaning.paths[kept[other]] for other in np.flatnonzero(label_n == target)[:1]]
    counts = {"splits proposed": len(splits), "merges proposed": len(merges), "merges in the list": len(sure)}
    return Found(list(proposals.values()), counts, [], {"beside": beside})

  def page(path: Path, result: StageResult) -> None:
    row_of = {image.path: row for row, image in enumerate(cleaning.source.images)}
    write_stage_page(
      path, cleaning, result, title="Split and merged people", beside=lambda one: [row_of[name] for name in result.extra["beside"][one.path]],
      text="Images that show another person than the rest of their folder, and folders that show one person. The second picture of a pair is of the"
           " folder that the image leaves, where it is split off, or joins, where folders are merged.",
    )

  return cleaning.run("people", {"neighbours": neighbours, "faces": digest}, compute, accept=accept, page=page, say=say)


__all__ = ["LEAST", "clean_people"]
