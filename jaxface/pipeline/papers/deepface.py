"""DeepFace's verification on LFW, from embeddings of one network or several.

One network: the inner product of normalised features (unsupervised), the χ² similarity with weights from a linear support vector machine on
the pairs of nine folds (restricted: no names of people), and the weighted L1 distance with logistic regression on the people of nine folds
(unrestricted). Several networks: a linear support vector machine on their scores of the pairs of nine folds, where the paper sums kernels.
Features are divided by their maxima over the training set of the network, then rows are scaled to length one.

Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §4, §5.3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.evaluation.measures.folds import best_threshold
from jaxface.evaluation.pairs.normalisation import LargestFeatures
from jaxface.evaluation.pairs.pair_names import matched
from jaxface.evaluation.pairs.pair_score import score_pairs
from jaxface.evaluation.protocols.lfw import Lfw, read_view_2
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.pipeline.papers.result_file import Measured, machine, main_figures
from jaxface.verifiers.lfw import Task, evaluate_on_lfw, fit_fold, of_folds, tasks
from jaxface.verifiers.linear import fit_svm

# Kind, setting, and name of the figure.
MEMBERS = (("chi-square", "restricted", "chi-square, restricted"), ("siamese", "unrestricted", "Siamese, unrestricted"))
PENALTIES = (0.01, 0.1, 1.0, 10.0)
ENSEMBLE_PENALTY = 1e-3


@dataclass(frozen=True)
class _Fold:
  """Scores of one fit: of the pairs that it was trained on, and of those of its fold."""

  train_p: np.ndarray
  test_p: np.ndarray


def deepface_on_lfw(
  lfw: Sequence[Embeddings | str | Path], train: Sequence[Embeddings | str | Path], lists: str | Path, *, tune: bool = True, name: str = "deepface_system",
  command: str = "", data: Mapping[str, Any] | None = None, network: Mapping[str, Any] | None = None, progress: bool = False,
  say: Callable[[str], object] = print,
) -> Measured:
  """Figures of DeepFace's verification; never a pair or a person of the tested fold in a fit.

  Args:
    lfw: raw embeddings of all images of LFW (`jaxface embed --raw`), one file for each network.
    train: raw embeddings of images of the networks' training sets, for the maxima of the features; as many.
    lists: folder of LFW's lists.
    tune: choose the penalties of both fits on view 1, from `PENALTIES`; otherwise the kinds' own are taken.
    name: of the result.
    command: command line that the result shows.
    data: of the result, see `Measured`.
    network: of the result.
    progress: draw a progress bar.
    say: called with each line for the user.
  Returns:
    `Measured` with the figures "inner product", "chi-square, restricted" and "Siamese, unrestricted" of the first network, and with several
    "ensemble, restricted" and "ensemble, unrestricted".
  Raises:
    ValueError: other numbers of files, embeddings of length one, a negative feature, or see `evaluate_on_lfw`.
    FileNotFoundError: a list is missing.
  """
  if not lfw or len(lfw) != len(train):
    raise ValueError(f"{len(lfw)} embeddings of LFW and {len(train)} of training sets: give one of each for every network")
  given = [normalised(one, other) for one, other in zip(lfw, train)]
  rules = read_view_2(lists, "unrestricted")
  figures = {"inner product": main_figures(rules.evaluate(given[0]))}
  options = {kind: _tuned(kind, setting, given[0], lists, say) if tune else _fixed(kind) for kind, setting, _ in MEMBERS}
  folds: dict[str, list[list[_Fold]]] = {}
  with tqdm(total=len(np.unique(rules.pairs.fold)) * len(MEMBERS) * len(given), unit="fit", desc="folds", disable=not progress) as bar:
    for kind, setting, title in MEMBERS:
      by_fold = list(tasks(read_view_2(lists, setting), lists, setting))
      folds[title] = [_scores(kind, one, by_fold, options[kind], say, bar) for one in given]
      figures[title] = _figures(rules, given[0], by_fold, folds[title][0], title)
  if len(given) > 1:
    for setting, titles in (("restricted", [MEMBERS[0][2]]), ("unrestricted", [one[2] for one in MEMBERS])):
      by_fold = list(tasks(read_view_2(lists, setting), lists, setting))
      members = [one for title in titles for one in folds[title]]
      figures[f"ensemble, {setting}"] = _figures(rules, given[0], by_fold, ensemble(by_fold, members), f"ensemble of {len(members)}")
  return Measured(name, command, figures, dict(data or {}), {**(network or {}), "penalties": {kind: one["penalty"] for kind, one in options.items() if "penalty" in one}},
                  None, machine())


def normalised(lfw: Embeddings | str | Path, train: Embeddings | str | Path) -> Embeddings:
  """DeepFace's features: `lfw` divided by the maxima of `train`, at length one.

  Raises:
    ValueError: embeddings of length one, or a negative feature.
  """
  read = []
  for given in (lfw, train):
    one = given if isinstance(given, Embeddings) else read_embeddings(given)
    if not one.meta.get("raw", True):
      where = "the embeddings" if isinstance(given, Embeddings) else str(given)
      raise ValueError(f"{where}: scaled to length one, so that features of different faces cannot be compared: `jaxface embed --raw`")
    read.append(one)
  fit = LargestFeatures.fit(read[1].embedding_nd)
  # Further on they are embeddings like others.
  return replace(read[0], embedding_nd=fit.apply(read[0].embedding_nd), meta={key: value for key, value in read[0].meta.items() if key != "raw"})


def ensemble(by_fold: Sequence[Task], members: Sequence[Sequence[_Fold]]) -> list[_Fold]:
  """A linear support vector machine on the members' scores of the training pairs of each fold.

  Args:
    by_fold: the folds.
    members: scores of each member by fold.
  """
  found = []
  for number, task in enumerate(by_fold):
    train_pm, test_pm = (np.stack([getattr(member[number], name) for member in members], axis=1) for name in ("train_p", "test_p"))
    linear = fit_svm(train_pm, task.train.same, penalty=ENSEMBLE_PENALTY)
    found.append(_Fold(linear(train_pm), linear(test_pm)))
  return found


def _fixed(kind: str) -> dict[str, Any]:
  # The features are normalised already; a Siamese verifier would scale them again to the same length.
  return {"normalise": False} if kind == "chi-square" else {}


def _tuned(kind: str, setting: str, given: Embeddings, lists: str | Path, say: Callable[[str], object]) -> dict[str, Any]:
  """The settings with the largest AUC on view 1; of equal ones the first."""
  best: tuple[float, dict[str, Any]] | None = None
  for penalty in PENALTIES:
    options = {**_fixed(kind), "penalty": penalty}
    found = evaluate_on_lfw(kind, given, lists, view=1, setting=setting, say=lambda line: None, **options)
    auc = float(found.figures["auc"])
    say(f"view 1, {kind}, penalty {penalty:g}: AUC {auc:.4f}, cosine {found.cosine.figures['auc']:.4f}")
    if best is None or auc > best[0]:
      best = auc, options
  assert best is not None
  return best[1]


def _scores(kind: str, given: Embeddings, by_fold: Sequence[Task], options: Mapping[str, Any], say: Callable[[str], object], bar: tqdm) -> list[_Fold]:
  found = []
  for task in by_fold:
    fit = fit_fold(kind, given, task, say=say, **options)
    test_p, train_p = (score_pairs(given.embedding_nd, given.names, pairs, fit.verifier)[1] for pairs in (task.test, task.train))
    found.append(_Fold(train_p, test_p))
    bar.update()
  return found


def _figures(rules: Lfw, given: Embeddings, by_fold: Sequence[Task], scores: Sequence[_Fold], title: str) -> dict[str, Any]:
  """Figures of the folds, each at the threshold that is best on its training pairs."""
  tested = [(task.fold, one.test_p, best_threshold(one.train_p, task.train.same)) for task, one in zip(by_fold, scores)]
  return main_figures(of_folds(matched(rules.pairs, given.names), tested, title))


__all__ = ["ENSEMBLE_PENALTY", "MEMBERS", "PENALTIES", "deepface_on_lfw", "ensemble", "normalised"]
