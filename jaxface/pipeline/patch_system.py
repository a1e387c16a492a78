"""DeepID's system: networks of patches, features, principal components, Joint Bayesian; figures on LFW by the number of patches."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.protocols.lfw import read_view_1
from jaxface.evaluation.protocols.registry import evaluate
from jaxface.formats.embeddings import Embeddings
from jaxface.losses.ranges import check_name
from jaxface.pipeline.kept_figures import KeptFigures, embeddings_digest, figures_table
from jaxface.pipeline.papers.result_file import Measured, about_data, about_network, machine, main_figures
from jaxface.pipeline.say import say as say_line
from jaxface.pipeline.trained_patches import train_patches
from jaxface.verifiers.fit import fit_verifier
from jaxface.verifiers.front import Front
from jaxface.verifiers.lfw import evaluate_on_lfw
from jaxface.verifiers.patch_features import MIRRORED, PatchFeatures
from jaxface.verifiers.patch_selection import PairScores, select_patches

# Joint Bayesian on principal components, fitted on the training images of the networks, on LFW's other nine folds, or on both; and DeepID's
# neural verifier, trained on the training images of the networks.
SCORES = ("joint-bayesian", "joint-bayesian-folds", "joint-bayesian-both", "neural")


@dataclass(frozen=True)
class SystemFigures:
  """Result of `measure_system`.

  Attributes:
    order: patches in the order of selection; a number of patches takes the first ones, each with its mirror image.
    figures: figures of LFW by "SCORE, N patches", where SCORE is "cosine" or one of `SCORES`; as `Evaluation.figures`.
  """

  order: tuple[str, ...]
  figures: Mapping[str, Mapping[str, Any]]

  def table(self) -> str:
    """The figures as lines of text."""
    return figures_table(self.figures)


def measure_system(
  training: Embeddings, lfw: Embeddings, patches: Sequence[str], lists: str | Path, *, numbers: Sequence[int] = (1, 5, 15, 60),
  components: int = 150, scores: Sequence[str] = SCORES, view: int = 2, state: str | Path | None = None, kept: str | Path | None = None,
  say: Callable[[str], object] = say_line,
) -> SystemFigures:
  """The figures of an ensemble's embeddings on LFW, for several numbers of patches.

  Patches are ordered by a greedy search on view 1 with the sum of their cosines. Principal components are fitted on the training images.

  Args:
    training: labelled embeddings of the networks' training images, image and mirror image side by side.
    lfw: the same of all images of LFW.
    patches: names of the networks' patches.
    lists: folder of LFW's lists.
    numbers: numbers of patches; those above the number of networks are left out, which itself is added.
    components: principal components before Joint Bayesian, at most half the size of the features.
    scores: some of `SCORES`, beside the cosine.
    view: 2 for the figures, 1 to tune.
    state: file of the selection, to continue it.
    kept: file of the figures, written after each and continued.
    say: called with each line for the user.
  Raises:
    ValueError: an unknown score; embeddings of another ensemble; what the verifiers raise.
  """
  for score in scores:
    check_name("score", score, SCORES)
  features = PatchFeatures.of(lfw, patches)
  order = _ordered(lfw, features, patches, lists, state)
  made = {
    "training": embeddings_digest(training), "lfw": embeddings_digest(lfw), "patches": list(patches), "order": list(order), "components": components,
    "view": view,
  }
  store = KeptFigures(kept, made, say=say)
  figures: dict[str, Mapping[str, Any]] = {}
  for number in sorted({min(number, len(patches)) for number in numbers} | {len(patches)}):
    begun = time.monotonic()
    for name, compute in _of_number(features, training, lfw, order[:number], lists, components=components, view=view).items():
      if name == "cosine" or name in scores:
        key = f"{name}, {number} patch{'es' if number > 1 else ''}"
        one = figures[key] = store.get(key, compute)
        say(f"{number} patches, {name}: {100 * one['accuracy']:.2f} %, AUC {one['auc']:.4f}")
    say(f"{number} patches took {time.monotonic() - begun:.0f} s")
  return SystemFigures(tuple(order), figures)


def _of_number(
  features: PatchFeatures, training: Embeddings, lfw: Embeddings, names: Sequence[str], lists: str | Path, *, components: int, view: int
) -> dict[str, Callable[[], Mapping[str, Any]]]:
  """What computes the figures of some patches, by score; nothing is fitted before it is needed."""
  mirrored, protocol = lfw.meta.get("mirror") == "concat", "lfw" if view == 2 else "lfw-view1"
  chosen = [*names, *(f"{name}{MIRRORED}" for name in names)] if mirrored else list(names)

  @cache
  def taken() -> tuple[Embeddings, Embeddings]:
    return features.take(training, chosen), features.take(lfw, chosen)

  @cache
  def reduced() -> tuple[Embeddings, Embeddings]:
    known, tested = taken()
    front = Front.fit(known.embedding_nd, unit=True, components=min(components, len(names) * features.size // 2))
    return _reduced(front, known), _reduced(front, tested)

  def cosine() -> Mapping[str, Any]:
    return evaluate(taken()[1], lists, protocol=protocol).figures

  def neural() -> Mapping[str, Any]:
    known, tested = taken()
    made = fit_verifier("neural", known, groups=len(names), mirrored=mirrored, say=lambda line: None)
    return evaluate(tested, lists, protocol=protocol, score=made).figures

  def bayes() -> Mapping[str, Any]:
    known, tested = reduced()
    made = fit_verifier("joint-bayesian", known, unit=False, say=lambda line: None)
    return evaluate(tested, lists, protocol=protocol, score=made).figures

  def by_fold(both: bool) -> Mapping[str, Any]:
    known, tested = reduced()
    outside = known if both else None
    return evaluate_on_lfw("joint-bayesian", tested, lists, view=view, outside=outside, unit=False, say=lambda line: None).found.figures

  return {
    "cosine": cosine, "neural": neural, "joint-bayesian": bayes, "joint-bayesian-folds": partial(by_fold, False),
    "joint-bayesian-both": partial(by_fold, True),
  }


def _ordered(lfw: Embeddings, features: PatchFeatures, patches: Sequence[str], lists: str | Path, state: str | Path | None) -> Sequence[str]:
  """The patches in the order in which a search on view 1 adds them, each with its mirror image."""
  view_1 = read_view_1(lists)
  assert view_1.train is not None
  scores = [
    PairScores(one.score_np.reshape(-1, len(patches), len(one.same_p)).sum(0), one.same_p)
    for one in features.pair_scores(lfw, [view_1.pairs, view_1.train])
  ]
  *_, found = select_patches(patches, *scores, count=len(patches), state=state)
  return found.groups[0]


def _reduced(front: Front, embeddings: Embeddings) -> Embeddings:
  return Embeddings(front.apply_all(embeddings.embedding_nd).astype(np.float32), embeddings.names, embeddings.label_n, embeddings.meta)


def run_patch_system(
  experiment: str, workdir: str | Path, *, small: bool = False, numbers: Sequence[int] = (1, 5, 15, 60), components: int = 150,
  scores: Sequence[str] = SCORES, view: int = 2, command: str = "", progress: bool = False,
) -> SystemFigures:
  """Trains an ensemble unless the workdir has a trained one, embeds its training images and LFW, and measures them.

  Writes to `workdir/system`: both embeddings, the selection, the figures as view1.json or view2.json after each of them, and those of view 2 as
  NAME_system.json for `jaxface papers --keep`. The same call continues an interrupted one.

  Args:
    experiment, workdir, small, command, progress: see `train_patches`; `command` is kept with the figures.
    numbers, components, scores, view: see `measure_system`.
  Raises:
    ValueError: as both.
  """
  ready = train_patches(experiment, workdir, small=small, command=command, progress=progress)
  found = measure_system(
    ready.training, ready.lfw, ready.patches, ready.lists, numbers=numbers, components=components, scores=scores, view=view,
    state=ready.out / "selection.json", kept=ready.out / f"view{view}.json",
  )
  if view == 2:
    figures = {name: main_figures(one) for name, one in found.figures.items()}
    name = f"{ready.name}_system"
    Measured(name, command, figures, about_data(ready.model), about_network(ready.model), None, machine()).write(ready.out / f"{name}.json")
  return found


__all__ = ["SCORES", "SystemFigures", "measure_system", "run_patch_system"]
