"""Stage rank: the images of each person by a one-against-rest support-vector machine; the best n stay.

VGG-Face, section 3, stage 3: 50 images of each person are the positives, those of all others the negatives. There they are the first
results of an image search; here, without an order of search results, those nearest to the centre of the person.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.formats.leave_out import LEAVE_OUT, Proposal
from jaxface.inference.model import Model
from jaxface.pipeline.cleaning.faces import chosen, faces_of
from jaxface.pipeline.cleaning.linear_svm import fit_svm
from jaxface.pipeline.cleaning.page import write_stage_page
from jaxface.pipeline.cleaning.state import Cleaning, Found, StageResult

POSITIVES, NEGATIVES = 50, 2000
_log = logging.getLogger(__name__)


def rank_scores(
  unit_nd: np.ndarray, label_n: np.ndarray, *, positives: int = POSITIVES, negatives: int = NEGATIVES, cost: float = 1.0, seed: int = 0,
  done: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
  """Score of each image by the support-vector machine of its person.

  Args:
    unit_nd: [N, D] float, unit embeddings or descriptors.
    label_n: [N] int, person of each, 0 to C − 1.
    positives: of a person's images, how many nearest to their centre are positives.
    negatives: how many positives of other people, drawn at random, are negatives; fewer where there are fewer.
    cost: C of the machine; larger fits the samples more closely.
    seed: of the draw.
    done: called with a number of images that were scored.
  Returns:
    [N] float64, distance from the margin of the own person, higher is more typical.
  Raises:
    ValueError: fewer than two people.
  """
  label_n = np.asarray(label_n, np.int64)
  if len(np.unique(label_n)) < 2:
    raise ValueError("ranking one person against the rest needs at least two people")
  order_n = np.argsort(label_n, kind="stable")
  start_c = np.searchsorted(label_n[order_n], np.arange(int(label_n.max()) + 2))
  best: list[np.ndarray] = []
  for person in range(len(start_c) - 1):
    rows = order_n[start_c[person] : start_c[person + 1]]
    if len(rows) > positives:
      near = unit_nd[rows] @ unit_nd[rows].mean(0)
      rows = rows[np.sort(np.argsort(-near, kind="stable")[:positives])]
    best.append(rows)
  pool, owner = np.concatenate(best), np.repeat(np.arange(len(best)), [len(rows) for rows in best])
  shuffled = np.random.default_rng(seed).permutation(len(pool))
  pool, owner = pool[shuffled], owner[shuffled]
  score_n = np.zeros(len(label_n))
  for person, rows in enumerate(best):
    everyone = order_n[start_c[person] : start_c[person + 1]]
    if not len(everyone):
      continue
    # A window of the shuffled pool, another for each person.
    window = np.arange(person * 97, person * 97 + min(len(pool), negatives + len(rows))) % len(pool)
    others = pool[window[owner[window] != person]][:negatives]
    if not len(others):  # a small window that holds only this person
      others = pool[owner != person][:negatives]
    w_d, bias = fit_svm(np.concatenate([unit_nd[rows], unit_nd[others]]), np.arange(len(rows) + len(others)) < len(rows), cost=cost)
    score_n[everyone] = unit_nd[everyone] @ w_d + bias
    done(len(everyone))
  return score_n


def clean_rank(
  folder: str | Path, *, keep: int, embeddings: str | Path | None = None, model: Model | str | Path | None = None, template: str = "",
  cost: float = 1.0, work: str | Path | None = None, list_file: str | Path | None = None, progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> StageResult:
  """Ranks the images of each person and proposes to leave out all but the best.

  Args:
    folder: a folder per identity, or any folder with `list_file`.
    keep: n, how many images of a person stay.
    embeddings: file of `jaxface embed`, or of descriptors.
    model: a model that embeds the images instead.
    template: alignment template of the images, if known.
    cost: of the support-vector machines.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    `StageResult`; also in WORK/rank.json, with a page in WORK/rank.html.
  Raises:
    ValueError: fewer than two people; see `Cleaning.open` and `faces_of`.
  """
  if keep < 1:
    raise ValueError(f"keep is {keep}: at least 1 image of a person must stay")
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)
  unit_md, have_m, digest = faces_of(cleaning, embeddings=embeddings, model=model, template=template, progress=progress, say=say)

  def compute(rows: np.ndarray, identities: list[str]) -> Found:
    unit_nd, kept, names, people, label_n = chosen(unit_md, have_m, rows, identities)
    score_n = rank_scores(unit_nd, label_n, cost=cost)
    order_n = np.lexsort((-score_n, label_n))
    proposals, place, before = [], 0, -1
    for row in order_n.tolist():
      place = place + 1 if label_n[row] == before else 1
      before = label_n[row]
      if place > keep:
        why = f"place {place} of the images of {names[row]}, score {score_n[row]:.2f}; the best {keep} stay"
        proposals.append(Proposal(cleaning.paths[kept[row]], LEAVE_OUT, "", "rank", 1.0, why))
    unread = len(rows) - len(kept)
    notes = [f"{unread:,} images have no embedding and are not ranked; they stay"] if unread else []
    alone = int((np.bincount(label_n) == 1).sum())
    score = {cleaning.paths[kept[row]]: round(float(score_n[row]), 5) for row in range(len(kept))}
    return Found(proposals, {"people with one image": alone, "people cut": int((np.bincount(label_n) > keep).sum()), "people ranked": len(people)}, notes, {"score": score})

  def page(path: Path, result: StageResult) -> None:
    score = result.extra["score"]
    best: dict[str, int] = {}
    for row, image in enumerate(cleaning.source.images):
      if image.path in score and (image.identity not in best or score[image.path] > score[cleaning.paths[best[image.identity]]]):
        best[image.identity] = row
    of = {image.path: image.identity for image in cleaning.source.images}
    write_stage_page(
      path, cleaning, result, title="Rank", beside=lambda one: [best[of[one.path]]],
      text="The images of each person by a support-vector machine of this person against others. The second picture of each pair is the person's best.",
    )

  return cleaning.run("rank", {"keep": keep, "cost": cost, "faces": digest}, compute, page=page, say=say)


__all__ = ["NEGATIVES", "POSITIVES", "clean_rank", "rank_scores"]
