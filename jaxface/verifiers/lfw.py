"""A verifier on LFW as its protocol trains it: fitted for each fold on the other nine, and tested on the fold."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxface.evaluation.measures.folds import Folds, best_threshold
from jaxface.evaluation.pairs.comparison import Difference, compare
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_names import images_of, list_notes, matched, without_missing
from jaxface.evaluation.pairs.pair_score import COSINE, score_pairs
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import find_file, rows_of
from jaxface.evaluation.protocols.lfw import Lfw, read_view_1, read_view_2
from jaxface.evaluation.protocols.pair_list import PairProtocol, folder_of, with_protocol
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs, read_people
from jaxface.losses.ranges import check_name
from jaxface.verifiers.base import Verifier
from jaxface.verifiers.fit import fit_verifier
from jaxface.verifiers.kinds import VERIFIERS

SETTINGS = ("restricted", "unrestricted")
VIEWS = (1, 2)
POOLED = "AUC, EER and TAR are of the scores of {count} fits together, each on its own scale; the accuracy of a fold is of one fit."
_log = logging.getLogger(__name__)


class Task(NamedTuple):
  """One fit and its test.

  Attributes:
    fold: number of the fold that is tested.
    test: its pairs.
    train: the pairs that set the threshold, and that kinds learn from in the restricted setting.
    person: person of each image that may be used, by name; empty in the restricted setting.
  """

  fold: int
  test: Pairs
  train: Pairs
  person: Mapping[str, str]


@dataclass(frozen=True)
class FoldFit:
  """What was fitted for one fold.

  Attributes:
    fold: number of the fold that is tested.
    names: the images that the fit was given, as the embeddings name them.
    verifier: the fit.
    threshold: best on the training pairs.
  """

  fold: int
  names: tuple[str, ...]
  verifier: Verifier
  threshold: float


@dataclass(frozen=True)
class LfwVerifier:
  """Result of `evaluate_on_lfw`; `print` shows it.

  Attributes:
    found: figures of the verifier.
    cosine: figures of the cosine of the same embeddings on the same pairs.
    differences: the verifier's figures minus those of the cosine, by name, with paired intervals.
    fits: one for each fold.
  """

  found: Evaluation
  cosine: Evaluation
  differences: Mapping[str, Difference]
  fits: tuple[FoldFit, ...]

  @property
  def notes(self) -> tuple[str, ...]:
    """Caveats, a line each."""
    return self.found.notes

  @property
  def figures(self) -> Mapping[str, Any]:
    """Everything as plain JSON values."""
    differences = {name: asdict(one) for name, one in self.differences.items()}
    return {**self.found.figures, "cosine": dict(self.cosine.figures), "differences": differences}

  def __str__(self) -> str:
    assert self.found.verification and self.cosine.verification
    lines = [f"{self.found.verification.score_name}, {self.found.figures['protocol']}: {self.found.verification.summary()}", f"{COSINE}: {self.cosine.verification.summary()}"]
    lines += ["verifier − cosine, in percent points:", *(f"  {name:16} {one}" for name, one in self.differences.items())]
    return "\n".join(lines)


def evaluate_on_lfw(
  kind: str, embeddings: Embeddings | str | Path, lists: str | Path, *, view: int = 2, setting: str = "unrestricted", skip_missing: bool = False,
  outside: Embeddings | None = None, out: str | Path | None = None, progress: bool = False, say: Callable[[str], object] = _log.info, **options: Any,
) -> LfwVerifier:
  """Fits a verifier for each fold of view 2 on the other nine, and tests it on the fold; the threshold is the best on the training pairs.

  In the unrestricted setting it is fitted on all images of the people of the other folds (`people.txt`). In the restricted one it is fitted on the images
  of their pairs, and kinds that learn from pairs learn from these. View 1 is one fit on the people, or pairs, of its training lists, tested on its test
  list: for tuning.

  Args:
    kind: one of `VERIFIERS`.
    embeddings: an `Embeddings`, or a file of them, of all images of LFW, of a network that was trained on other people.
    lists: folder with `pairs.txt` and `people.txt`, or with `pairsDevTrain.txt`, `pairsDevTest.txt` and `peopleDevTrain.txt`.
    view: 1 or 2.
    setting: "restricted" or "unrestricted".
    skip_missing: ignore images without an embedding, with a note; otherwise they raise an error.
    outside: labelled embeddings of other people, which every fit gets too; only for the unrestricted setting.
    out: JSON file for every figure.
    progress: draw a progress bar.
    say: called with each line for the user.
    **options: settings of the kind, the keyword arguments of its `fit`.
  Raises:
    ValueError: as `fit_verifier`; an unknown view or setting; a kind that learns from labels in the restricted setting.
    DamagedData: a file that cannot be read; somebody is in several folds.
    FileNotFoundError: a list is missing.
  Source: Huang and Learned-Miller, "Labeled Faces in the Wild: Updates and New Reporting Procedures", 2014.
  """
  check_name("kind", kind, tuple(VERIFIERS))
  check_name("setting", setting, SETTINGS)
  if view not in VIEWS:
    raise ValueError(f"view {view}: LFW has the views 1 and 2")
  if setting == "restricted" and VERIFIERS[kind].learns == "labels":
    raise ValueError(f"{kind} learns from labels of people, which the restricted setting does not give: use unrestricted")
  given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  if outside is not None and (setting != "unrestricted" or outside.label_n is None):
    raise ValueError("outside embeddings need labels, and the unrestricted setting")
  rules = read_view_2(lists, setting) if view == 2 else read_view_1(lists)
  cosine = rules.evaluate(given, skip_missing=skip_missing)
  assert cosine.verification is not None
  pairs = cosine.verification.pairs
  fits, tested = [], []
  for task in tqdm(list(tasks(rules, lists, setting)), unit="fit", desc=kind, disable=not progress):
    fit = fit_fold(kind, given, task, outside=outside, skip_missing=skip_missing, say=say, **options)
    fold_p = score_pairs(given.embedding_nd, given.names, _taken(pairs, pairs.fold == task.fold), fit.verifier)[1]
    fits.append(fit)
    tested.append((task.fold, fold_p, fit.threshold))
  result = of_folds(pairs, tested, fits[0].verifier.name, threshold_from="train pairs" if view == 1 else "other folds", notes=list_notes(pairs))
  notes = [note for note in cosine.notes if note not in (*rules.notes, *result.notes)] + ([POOLED.format(count=len(fits))] if view == 2 else [])
  if options.get("parts"):
    notes.append("the parts of the fusion were fitted beforehand: the figures hold only if none of them has seen LFW, which is not checked.")
  found = Evaluation(pairs, result.score_p, result, {**result.to_json(), "setting": setting, "fits": _told(fits)}, result.notes, given.meta)
  made = LfwVerifier(with_protocol(found, replace(rules, name=f"lfw-view{view}-{setting}"), notes), cosine, compare(cosine.verification, result), tuple(fits))
  if out is not None:
    write_json(out, made.figures)
  return made


def of_folds(
  pairs: Pairs, tested: Iterable[tuple[int, np.ndarray, float]], name: str, *, threshold_from: str = "other folds", notes: Iterable[str] = ()
) -> Verification:
  """The figures of a list whose folds were scored one by one.

  Args:
    pairs: the list.
    tested: for each fold its number, the scores of its pairs in the order of the list, and its threshold.
    name: of the score.
    threshold_from: what set the thresholds, see `Folds`.
    notes: caveats, a line each.
  """
  score_p, rows = np.empty(len(pairs)), []
  for number, fold_p, limit in tested:
    inside_p = pairs.fold == number
    score_p[inside_p] = fold_p
    rows.append((number, len(fold_p), float(np.mean((fold_p >= limit) == pairs.same[inside_p])), limit))
  fold, count, accuracy, threshold = map(np.array, zip(*rows))
  return Verification(pairs, score_p, Folds(fold, count, accuracy, threshold, threshold_from), tuple(notes), name)


def tasks(rules: PairProtocol, lists: str | Path, setting: str) -> Iterator[Task]:
  """The fits of a view: ten for view 2, one for view 1.

  Args:
    rules: from `read_view_1` or `read_view_2`.
    lists: folder of the lists.
    setting: "restricted" or "unrestricted".
  Raises:
    DamagedData: a person or an image of a test is in its training.
    FileNotFoundError: a list of people is missing.
  """
  if isinstance(rules, Lfw):
    for fold in np.unique(rules.pairs.fold).tolist():
      allowed = rules.training(fold)
      assert allowed.pairs is not None
      yield _apart(Task(fold, _taken(rules.pairs, rules.pairs.fold == fold), allowed.pairs, allowed.person), lists)
    return
  assert rules.train is not None
  person: dict[str, str] = {}
  if setting == "unrestricted":
    folder = Path(lists) if Path(lists).is_dir() else Path(lists).parent
    [people] = read_people(find_file(folder, ("peopleDevTrain.txt",), "list of people of view 1"), folds=False)
    person = {f"{name}/{name}_{image:04d}": name for name, images in people.items() for image in range(1, images + 1)}
  yield _apart(Task(0, rules.pairs, rules.train, person), lists)


def fit_fold(
  kind: str, embeddings: Embeddings, task: Task, *, outside: Embeddings | None = None, skip_missing: bool = False,
  say: Callable[[str], object] = _log.info, **options: Any,
) -> FoldFit:
  """The fit of one fold. It is given only the rows of images that the task allows.

  Args:
    kind, outside, skip_missing, say, options: see `evaluate_on_lfw`.
    embeddings: of all images.
    task: one of `tasks`.
  """
  train = matched(task.train, embeddings.names)
  if skip_missing:
    train, _ = without_missing(train, embeddings.names)
  row_n, _ = rows_of(embeddings, list(task.person or images_of(train)), skip_missing=skip_missing)
  there_n = row_n >= 0
  names = [embeddings.names[row] for row in row_n[there_n]]
  label_n = np.unique(np.array(list(task.person.values()))[there_n], return_inverse=True)[1] if task.person else None
  part = Embeddings(embeddings.embedding_nd[row_n[there_n]], names, label_n, embeddings.meta)
  pair_list = train if not task.person and VERIFIERS[kind].learns == "pairs" else None
  try:
    verifier = fit_verifier(kind, part if outside is None else _joined(part, outside), pair_list=pair_list, **options)
    threshold = best_threshold(score_pairs(part.embedding_nd, names, train, verifier)[1], train.same)
  except ValueError as error:
    raise ValueError(f"the fit for fold {task.fold}: {error}") from error
  say(f"fold {task.fold}: {verifier.name} fitted on {len(names):,} images, threshold {threshold:.4f} on {len(train):,} pairs")
  return FoldFit(task.fold, tuple(names), verifier, threshold)


def _joined(part: Embeddings, outside: Embeddings) -> Embeddings:
  """Embeddings of LFW and those of other people, whose labels follow those of LFW."""
  if part.embedding_nd.shape[1] != outside.embedding_nd.shape[1]:
    raise ValueError(f"outside embeddings have {outside.embedding_nd.shape[1]} numbers, those of LFW {part.embedding_nd.shape[1]}")
  assert part.label_n is not None and outside.label_n is not None
  label_n = np.concatenate([part.label_n, np.unique(outside.label_n, return_inverse=True)[1] + part.label_n.max() + 1])
  return Embeddings(np.concatenate([part.embedding_nd, outside.embedding_nd]), [*part.names, *outside.names], label_n, part.meta)


def _apart(task: Task, where: str | Path) -> Task:
  """Rejects a task whose training has a person of its test, and thereby an image of it."""
  tested = {folder_of(name) for name in (*task.test.left, *task.test.right)}
  both = tested & {*task.person.values(), *(folder_of(name) for name in (*task.train.left, *task.train.right))}
  if both:
    raise DamagedData(f"{min(both)!r} is in fold {task.fold} and in the lists that it is trained on ({len(both):,} such people)", file=where)
  return task


def _taken(pairs: Pairs, keep_p: np.ndarray) -> Pairs:
  kept = np.flatnonzero(keep_p)
  left, right = ([side[pair] for pair in kept] for side in (pairs.left, pairs.right))
  return Pairs(left, right, pairs.same[kept], pairs.fold[kept], pairs.file, None if pairs.line is None else pairs.line[kept])


def _told(fits: list[FoldFit]) -> list[dict[str, Any]]:
  return [{"fold": fit.fold, "images": len(fit.names), "made_from": dict(fit.verifier.made_from), "threshold": fit.threshold} for fit in fits]


__all__ = ["SETTINGS", "FoldFit", "LfwVerifier", "Task", "evaluate_on_lfw", "fit_fold", "of_folds", "tasks"]
