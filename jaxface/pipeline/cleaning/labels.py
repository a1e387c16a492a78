"""Stage noise: images whose label is probably wrong, each with the images of the two people in question."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxface.formats.leave_out import LEAVE_OUT, Proposal
from jaxface.inference.model import Model
from jaxface.pipeline.cleaning.faces import chosen, faces_of
from jaxface.pipeline.cleaning.noise import LabelNoise, label_noise
from jaxface.pipeline.cleaning.page import write_stage_page
from jaxface.pipeline.cleaning.state import Cleaning, Found, StageResult

# Below this probability nothing is proposed.
LEAST = 0.05
_log = logging.getLogger(__name__)


def clean_noise(
  folder: str | Path, *, embeddings: Sequence[str | Path] = (), folds: str | Path | None = None, model: Model | str | Path | None = None,
  template: str = "", accept: float = 0.5, work: str | Path | None = None, list_file: str | Path | None = None, progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> StageResult:
  """Finds images whose label is probably wrong and proposes to leave them out.

  Args:
    folder: a folder per identity, or any folder with `list_file`.
    embeddings: file of `jaxface embed`. Several files for networks that were trained on parts of these images, each without its fold.
    folds: for several files: path and number of the file, from 0, per line: whose network has not seen the image.
    model: a model that embeds the images instead.
    template: alignment template of the images, if known.
    accept: images are left out from this probability on.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    `StageResult`; also in WORK/noise.json, with a page in WORK/noise.html.
  Raises:
    ValueError: fewer than two people, or none with two images; files and folds that do not fit; see `Cleaning.open` and `faces_of`.
  """
  if not 0 < accept <= 1:
    raise ValueError(f"accept is {accept}: a probability above 0, at most 1")
  if (len(embeddings) > 1) != (folds is not None):
    raise ValueError("several files of embeddings need folds, a list that names the file that judges each image, and one file takes none")
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)
  faces = [faces_of(cleaning, embeddings=file, say=say) for file in embeddings] if embeddings else [
    faces_of(cleaning, model=model, template=template, progress=progress, say=say)
  ]
  if any(not np.array_equal(one[1], faces[0][1]) for one in faces):
    raise ValueError("the files of embeddings have different images: embed the same folder with every network")
  fold = {} if folds is None else _read_folds(Path(folds), len(faces))

  def compute(rows: np.ndarray, identities: list[str]) -> Found:
    parts = [chosen(one[0], one[1], rows, identities) for one in faces]
    _, kept, names, people, label_n = parts[0]
    if absent := [cleaning.paths[row] for row in kept if fold and cleaning.paths[row] not in fold]:
      raise ValueError(f"{folds}: {len(absent):,} images have no fold there (first: {absent[0]!r})")
    fold_n = np.array([fold.get(cleaning.paths[row], 0) for row in kept], np.int64)
    found = label_noise([part.unit_nd for part in parts], label_n, fold_n)
    proposals = [_proposal(cleaning.paths[kept[row]], names[row], people, found, row) for row in np.flatnonzero(found.wrong_n >= LEAST).tolist()]
    unread = len(rows) - len(kept)
    counts = {"expected wrong labels": round(float(found.wrong_n.sum())), "people with one image": int((np.bincount(label_n) == 1).sum())}
    other = {one.path: str(people[found.other_class_n[row]]) for row, one in zip(np.flatnonzero(found.wrong_n >= LEAST), proposals)}
    return Found(proposals, counts, [f"{unread:,} images have no embedding and are not judged; they stay"] if unread else [], {"other": other})

  def page(path: Path, result: StageResult) -> None:
    left, identities = cleaning.left("noise")
    doubted = {one.path for one in result.proposals}
    first: dict[str, int] = {}
    for row, name in zip(left.tolist(), identities):
      if cleaning.paths[row] not in doubted:
        first.setdefault(name, row)
    of = {cleaning.paths[row]: name for row, name in zip(left.tolist(), identities)}
    write_stage_page(
      path, cleaning, result, title="Wrong labels",
      beside=lambda one: [first[name] for name in (of[one.path], result.extra["other"][one.path]) if name in first],
      text="Images far from the centre of the other images of their person. Beside each: an image of its person, and one of the nearest other person.",
    )

  options = {"faces": [one[2] for one in faces], "folds": sorted(fold.items())}
  return cleaning.run("noise", options, compute, accept=accept, page=page, say=say)


def _proposal(path: str, name: str, people: np.ndarray, found: LabelNoise, row: int) -> Proposal:
  own = "has no other image" if np.isnan(found.own_n[row]) else f"cosine {found.own_n[row]:.2f}"
  near = "" if found.other_class_n[row] < 0 else f"; with {people[found.other_class_n[row]]} {found.best_n[row]:.2f}"
  likely = f", which it probably shows ({found.other_n[row]:.2f})" if found.other_n[row] > 0.5 else ""
  return Proposal(path, LEAVE_OUT, "", "noise", round(float(found.wrong_n[row]), 6), f"with the others of {name} {own}{near}{likely}")


def _read_folds(file: Path, count: int) -> dict[str, int]:
  fold: dict[str, int] = {}
  for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
    if not line.strip():
      continue
    path, _, text = line.rpartition("\t")
    if not path or not text.isdecimal() or int(text) >= count:
      raise ValueError(f"{file}, line {number}: {line!r} should be a path, a tab, and the number of a file of embeddings, 0 to {count - 1}")
    fold[path] = int(text)
  return fold


__all__ = ["LEAST", "clean_noise"]
