"""DeepFace's verification on LFW, from embeddings of one network or several.

One network: the inner product of normalised features (unsupervised), the χ² similarity with weights from a linear support vector machine on
the pairs of nine folds (restricted: no names of people), and the weighted L1 distance with logistic regression on the people of nine folds
(unrestricted). Several networks: a linear support vector machine on their scores of the pairs of nine folds, where the paper sums kernels.
Features are divided by their maxima over the training set of the network, then rows are scaled to length one.

Source: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §4, §5.3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.evaluation.measures.folds import best_threshold
from jaxface.evaluation.pairs.comparison import compare
from jaxface.evaluation.pairs.normalisation import LargestFeatures
from jaxface.evaluation.pairs.pair_names import matched
from jaxface.evaluation.pairs.pair_score import rows_of_pairs, score_pairs
from jaxface.evaluation.protocols.lfw import Lfw, read_view_2
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.pipeline.papers.result_file import Measured, machine, main_figures
from jaxface.verifiers.base import RowPairs, Verifier
from jaxface.verifiers.fusion import Fusion, FusionPart
from jaxface.verifiers.lfw import FoldFit, Task, evaluate_on_lfw, fit_fold, of_folds, tasks

# Kind, setting, and name of the figure.
MEMBERS = (("chi-square", "restricted", "chi-square, restricted"), ("siamese", "unrestricted", "Siamese, unrestricted"))
PENALTIES = (0.01, 0.1, 1.0, 10.0)
ENSEMBLE_PENALTY = 1e-3


def deepface_on_lfw(
  lfw: Sequence[Embeddings | str | Path], train: Sequence[Embeddings | str | Path], lists: str | Path, *, tune: bool = True,
  others: Mapping[str, Embeddings | str | Path] | None = None, name: str = "deepface_system",
  command: str = "", data: Mapping[str, Any] | None = None, network: Mapping[str, Any] | None = None, progress: bool = False,
  say: Callable[[str], object] = print,
) -> Measured:
  """Figures of DeepFace's verification; never a pair or a person of the tested fold in a fit.

  Args:
    lfw: raw embeddings of all images of LFW (`jaxface embed --raw`), one file for each network.
    train: raw embeddings of images of the networks' training sets, for the maxima of the features; as many.
    lists: folder of LFW's lists.
    tune: choose the penalties of both fits on view 1, from `PENALTIES`; otherwise the kinds' own are taken.
    others: raw embeddings by the first network of images of LFW in other alignments, by the name of the alignment; images may be missing.
    name: of the result.
    command: command line that the result shows.
    data: of the result, see `Measured`.
    network: of the result.
    progress: draw a progress bar.
    say: called with each line for the user.
  Returns:
    `Measured` with the figures "inner product", "chi-square, restricted" and "Siamese, unrestricted" of the first network, and with several
    each network's own as "FIGURE, network 2", and "ensemble, restricted" and "ensemble, unrestricted"; with other alignments the inner product in each,
    and in that of `lfw` on the same pairs.
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
  by_fold = {setting: list(tasks(read_view_2(lists, setting), lists, setting)) for _, setting, _ in MEMBERS}
  fits: dict[str, list[list[FoldFit]]] = {}
  with tqdm(total=len(np.unique(rules.pairs.fold)) * len(MEMBERS) * len(given), unit="fit", desc="folds", disable=not progress) as bar:
    for kind, setting, title in MEMBERS:
      fits[title] = [_fitted(kind, one, by_fold[setting], options[kind], say, bar) for one in given]
      for number, (one, found) in enumerate(zip(given, fits[title]), 1):
        figures[title + (f", network {number}" if number > 1 else "")] = _figures(rules, one, by_fold[setting], [fit.verifier for fit in found], title)
  if len(given) > 1:
    joined = side_by_side(given)
    sizes = [one.embedding_nd.shape[1] for one in given]
    for setting, titles in (("restricted", [MEMBERS[0][2]]), ("unrestricted", [one[2] for one in MEMBERS])):
      fused = ensemble(joined, by_fold[setting], [_parts(fits[title], sizes) for title in titles])
      figures[f"ensemble, {setting}"] = _figures(rules, joined, by_fold[setting], fused, f"ensemble of {len(given) * len(titles)}")
  for alignment, other in (others or {}).items():
    figures |= _alignment(rules, alignment, normalised(other, train[0]), given[0], say)
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


def side_by_side(given: Sequence[Embeddings]) -> Embeddings:
  """Embeddings of the same images by several networks as one: those of the first network, then those of the second, and so on.

  Raises:
    ValueError: an image that a network lacks.
  """
  first = given[0]
  rows = []
  for one in given:
    row_of = {name: row for row, name in enumerate(one.names)}
    absent = next((name for name in first.names if name not in row_of), None)
    if absent is not None or len(one.names) != len(first.names):
      raise ValueError(f"networks of {len(first.names):,} and {len(one.names):,} images{f': the second lacks {absent!r}' if absent else ''}; embed the same images")
    rows.append(one.embedding_nd[[row_of[name] for name in first.names]])
  return replace(first, embedding_nd=np.concatenate(rows, axis=1))


def ensemble(joined: Embeddings, by_fold: Sequence[Task], members: Sequence[Sequence[Sequence[FusionPart]]]) -> list[Verifier]:
  """For each fold the fusion of its verifiers by a linear support vector machine on their scores of its training pairs.

  Args:
    joined: see `side_by_side`.
    by_fold: the folds.
    members: kinds of verifiers, each with the parts of every fold.
  """
  found: list[Verifier] = []
  for number, task in enumerate(by_fold):
    pairs = matched(task.train, joined.names)
    drawn = RowPairs(*rows_of_pairs(joined.names, pairs), pairs.same)
    parts = [part for kind in members for part in kind[number]]
    found.append(Fusion.fit(joined.embedding_nd, drawn, parts=parts, method="svm", penalty=ENSEMBLE_PENALTY))
  return found


def _parts(fits: Sequence[Sequence[FoldFit]], sizes: Sequence[int]) -> list[list[FusionPart]]:
  """For each fold the verifiers of all networks, and the numbers of the joined embeddings that each compares."""
  first = np.cumsum([0, *sizes])
  columns = [np.arange(first[network], first[network + 1]) for network in range(len(sizes))]
  return [[FusionPart(one.verifier, column_k) for one, column_k in zip(fold, columns)] for fold in zip(*fits)]


def _alignment(rules: Lfw, name: str, other: Embeddings, given: Embeddings, say: Callable[[str], object]) -> dict[str, Any]:
  """The inner product of images of another alignment, and of the first one on the same pairs."""
  there = set(other.names)
  same = replace(given, embedding_nd=given.embedding_nd[[one in there for one in given.names]], names=[one for one in given.names if one in there], label_n=None)
  ours, theirs = (rules.evaluate(one, skip_missing=True) for one in (same, other))
  assert ours.verification is not None and theirs.verification is not None
  differences = compare(theirs.verification, ours.verification)
  say(f"alignment of --lfw minus {name}, {len(ours.verification.pairs):,} pairs, in percent points: accuracy {differences['accuracy']}, AUC {differences['auc']}")
  return {f"inner product, {name}": main_figures(theirs), f"inner product, same pairs as {name}": main_figures(ours)}


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


def _fitted(kind: str, given: Embeddings, by_fold: Sequence[Task], options: Mapping[str, Any], say: Callable[[str], object], bar: tqdm) -> list[FoldFit]:
  found = []
  for task in by_fold:
    found.append(fit_fold(kind, given, task, say=say, **options))
    bar.update()
  return found


def _figures(rules: Lfw, given: Embeddings, by_fold: Sequence[Task], verifiers: Sequence[Verifier], title: str) -> dict[str, Any]:
  """Figures of the folds, each at the threshold that is best on its training pairs."""
  tested = []
  for task, verifier in zip(by_fold, verifiers):
    test_p, train_p = (score_pairs(given.embedding_nd, given.names, pairs, verifier)[1] for pairs in (task.test, task.train))
    tested.append((task.fold, test_p, best_threshold(train_p, task.train.same)))
  return main_figures(of_folds(matched(rules.pairs, given.names), tested, title))


__all__ = ["ENSEMBLE_PENALTY", "MEMBERS", "PENALTIES", "deepface_on_lfw", "ensemble", "normalised", "side_by_side"]
