"""DeepID2's system: groups of patches selected one after another, principal components and Joint Bayesian of each, and their fusion."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.pairs.comparison import compare
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.protocols.lfw import read_view_1, read_view_2
from jaxface.formats.embeddings import Embeddings
from jaxface.pipeline.kept_figures import KeptFigures, embeddings_digest, figures_table
from jaxface.pipeline.papers.result_file import Measured, about_data, about_network, machine, main_figures
from jaxface.pipeline.patches import draw_groups, ensemble_of
from jaxface.pipeline.say import say as say_line
from jaxface.pipeline.trained_patches import train_patches
from jaxface.verifiers.base import Verifier
from jaxface.verifiers.fit import fit_verifier
from jaxface.verifiers.fusion import FusionPart
from jaxface.verifiers.lfw import evaluate_on_lfw
from jaxface.verifiers.patch_features import PatchFeatures
from jaxface.verifiers.patch_picture import write_trace
from jaxface.verifiers.patch_selection import Selection, select_patches


@dataclass(frozen=True)
class GroupFigures:
  """Result of `measure_groups`.

  Attributes:
    selection: the groups.
    figures: figures of LFW by "SCORE, WHAT": cosine and joint-bayesian of "1 patch" (the first of the first group) and of "group 1" and further ones,
      and "fusion, N groups", which also has `minus_group_1`, the differences to Joint Bayesian of the first group with paired intervals.
  """

  selection: Selection
  figures: Mapping[str, Mapping[str, Any]]

  def table(self) -> str:
    """The figures as lines of text."""
    return figures_table(self.figures)


def measure_groups(
  training: Embeddings, lfw: Embeddings, patches: Sequence[str], lists: str | Path, *, count: int = 25, groups: int = 7, components: int = 180,
  view: int = 2, state: str | Path | None = None, kept: str | Path | None = None, say: Callable[[str], object] = say_line,
) -> GroupFigures:
  """The figures of groups of an ensemble's patches on LFW, and of their fusion.

  Groups are selected on view 1 by the sum of the patches' cosines; a patch and its mirror image are two. Principal components and Joint Bayesian of each
  group are fitted on the training images alone. The fusion is a linear support vector machine on the groups' scores, fitted for each fold of view 2 on
  the pairs of the other nine.

  Args:
    training: labelled embeddings of the networks' training images, image and mirror image side by side.
    lfw: the same of all images of LFW.
    patches: names of the networks' patches.
    lists: folder of LFW's lists.
    count: patches of a group.
    groups: number of groups.
    components: principal components before Joint Bayesian, at most half of the features.
    view: 2 for the figures; 1 to tune, where the selection is optimistic.
    state: file of the selection, to continue it.
    kept: file of the figures, written after each and continued.
    say: called with each line for the user.
  Raises:
    ValueError: embeddings of another ensemble; more groups than there are patches; what the verifiers raise.
  """
  features = PatchFeatures.of(lfw, patches)
  view_1 = read_view_1(lists)
  assert view_1.train is not None
  scores = features.pair_scores(lfw, [view_1.pairs, view_1.train])
  made_from = {"size": features.size, "score": "cosine", "pairs": view_1.name}
  *_, selection = select_patches(features.names, *scores, count=count, groups=groups, state=state, made_from=made_from)
  for number, group in enumerate(selection.groups, 1):
    say(f"group {number}, {100 * selection.accuracy(number):.2f} % of view 1, on which it was selected: {', '.join(group)}")
  rules = read_view_2(lists) if view == 2 else view_1
  sets = {"1 patch": selection.groups[0][:1]} | {f"group {number}": group for number, group in enumerate(selection.groups, 1)}

  @cache
  def joint_bayesian(title: str) -> Verifier:
    known = features.take(training, sets[title])
    size = min(components, known.embedding_nd.shape[1] // 2)
    return fit_verifier("joint-bayesian", known, components=size, say=lambda line: None)

  def of(title: str, score: Verifier | None = None) -> Evaluation:
    return rules.evaluate(features.take(lfw, sets[title]), score=score)

  def cosine(title: str) -> Mapping[str, Any]:
    return of(title).figures

  def bayes(title: str) -> Mapping[str, Any]:
    return of(title, joint_bayesian(title)).figures

  def fusion() -> Mapping[str, Any]:
    titles, chosen = [title for title in sets if title != "1 patch"], [name for group in selection.groups for name in group]
    joined, parts, past = features.take(lfw, chosen), [], 0
    for title in titles:
      width = len(sets[title]) * features.size
      parts.append(FusionPart(joint_bayesian(title), np.arange(past, past + width)))
      past += width
    found = evaluate_on_lfw("fusion", joined, lists, view=view, setting="restricted", parts=parts, method="svm", say=lambda line: None).found
    first = of("group 1", joint_bayesian("group 1"))
    assert first.verification is not None and found.verification is not None
    differences = compare(first.verification, found.verification)
    say(f"fusion minus group 1, in percent points: accuracy {differences['accuracy']}, AUC {differences['auc']}")
    return {**found.figures, "minus_group_1": {name: asdict(one) for name, one in differences.items()}}

  made = {
    "training": embeddings_digest(training), "lfw": embeddings_digest(lfw), "patches": list(patches), "groups": [list(group) for group in selection.groups],
    "components": components, "view": view,
  }
  store = KeptFigures(kept, made, say=say)
  figures: dict[str, Mapping[str, Any]] = {}

  def measured(name: str, compute: Callable[[], Mapping[str, Any]]) -> None:
    begun = time.monotonic()
    figures[name] = store.get(name, compute)
    say(f"{name}: {100 * figures[name]['accuracy']:.2f} %, AUC {figures[name]['auc']:.4f} ({time.monotonic() - begun:.0f} s)")

  for title in sets:
    measured(f"cosine, {title}", partial(cosine, title))
    measured(f"joint-bayesian, {title}", partial(bayes, title))
  measured(f"fusion, {groups} groups", fusion)
  return GroupFigures(selection, figures)


def run_patch_groups(
  experiment: str, workdir: str | Path, *, small: bool = False, count: int = 25, groups: int = 7, components: int = 180, view: int = 2,
  command: str = "", progress: bool = False,
) -> GroupFigures:
  """Trains an ensemble unless the workdir has a trained one, embeds its training images and LFW, selects groups and measures them.

  Writes to `workdir/system`: both embeddings; groups.json, the selection, with trace.csv and patches.png; groups_view1.json or groups_view2.json, after
  each figure; and those of view 2 as NAME_groups.json for `jaxface papers --keep`. The same call continues an interrupted one.

  Args:
    experiment, workdir, small, command, progress: see `train_patches`; `command` is kept with the figures.
    count, groups, components, view: see `measure_groups`.
  Raises:
    ValueError: as both.
  """
  ready = train_patches(experiment, workdir, small=small, command=command, progress=progress)
  found = measure_groups(
    ready.training, ready.lfw, ready.patches, ready.lists, count=count, groups=groups, components=components, view=view,
    state=ready.out / "groups.json", kept=ready.out / f"groups_view{view}.json",
  )
  write_trace(ready.out / "trace.csv", found.selection)
  draw_groups(ready.out / "patches.png", found.selection.groups, ensemble_of(ready.model.saved, workdir))
  if view == 2:
    figures = {name: main_figures(one) for name, one in found.figures.items()}
    name = f"{ready.name}_groups"
    about = about_network(ready.model) | {"groups": groups, "patches_of_a_group": count, "components": components}
    Measured(name, command, figures, about_data(ready.model), about, None, machine()).write(ready.out / f"{name}.json")
  return found


__all__ = ["GroupFigures", "measure_groups", "run_patch_groups"]
