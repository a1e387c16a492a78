"""DeepID's system: networks of patches, features, principal components, Joint Bayesian; figures on LFW by the number of patches."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.protocols.lfw import read_view_1
from jaxface.evaluation.protocols.registry import evaluate
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.inference.faces import embed_faces
from jaxface.inference.model import Model, load
from jaxface.losses.ranges import check_name
from jaxface.pipeline.papers.result_file import Measured, about_data, about_network, machine, main_figures
from jaxface.pipeline.patches import ensemble_of
from jaxface.pipeline.run import expand_paths, run_experiment
from jaxface.pipeline.say import say as say_line
from jaxface.training.config import load_experiment
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
    return "\n".join(
      f"{name:36} {100 * one['accuracy']:6.2f} % ± {100 * one['accuracy_se']:.2f}  AUC {one['auc']:.4f}" if "accuracy_se" in one
      else f"{name:36} {100 * one['accuracy']:6.2f} %  AUC {one['auc']:.4f}"
      for name, one in self.figures.items()
    )


def embed_once(model: Model, images: str | Path, file: Path, *, template: str, progress: bool) -> Embeddings:
  """Embeddings of images and mirror images side by side, raw; read from `file` if it has those of this model."""
  if file.is_file():
    found = read_embeddings(file)
    if found.meta.get("model_digest") == model.saved.digest and found.meta.get("mirror") == "concat":
      return found
  return embed_faces(model, images, file, template=template, mirror="concat", raw=True, progress=progress, say=say_line)


def measure_system(
  training: Embeddings, lfw: Embeddings, patches: Sequence[str], lists: str | Path, *, numbers: Sequence[int] = (1, 5, 15, 60),
  components: int = 150, scores: Sequence[str] = SCORES, view: int = 2, state: str | Path | None = None, say: Callable[[str], object] = say_line,
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
    say: called with each line for the user.
  Raises:
    ValueError: an unknown score; embeddings of another ensemble; what the verifiers raise.
  """
  for score in scores:
    check_name("score", score, SCORES)
  features = PatchFeatures.of(lfw, patches)
  order = _ordered(lfw, features, patches, lists, state)
  figures: dict[str, Mapping[str, Any]] = {}
  protocol = "lfw" if view == 2 else "lfw-view1"
  for number in sorted({min(number, len(patches)) for number in numbers} | {len(patches)}):
    chosen = [*order[:number], *(f"{name}{MIRRORED}" for name in order[:number])] if lfw.meta.get("mirror") == "concat" else list(order[:number])
    begun = time.monotonic()
    known, tested = features.take(training, chosen), features.take(lfw, chosen)
    ours = {"cosine": evaluate(tested, lists, protocol=protocol).figures}
    if "neural" in scores:
      mirrored = lfw.meta.get("mirror") == "concat"
      neural = fit_verifier("neural", known, groups=number, mirrored=mirrored, say=lambda line: None)
      ours["neural"] = evaluate(tested, lists, protocol=protocol, score=neural).figures
    front = Front.fit(known.embedding_nd, unit=True, components=min(components, number * features.size // 2))
    known, tested = (_reduced(front, one) for one in (known, tested))
    if "joint-bayesian" in scores:
      bayes = fit_verifier("joint-bayesian", known, unit=False, say=lambda line: None)
      ours["joint-bayesian"] = evaluate(tested, lists, protocol=protocol, score=bayes).figures
    for name, outside in (("joint-bayesian-folds", None), ("joint-bayesian-both", known)):
      if name in scores:
        fitted = evaluate_on_lfw("joint-bayesian", tested, lists, view=view, outside=outside, unit=False, say=lambda line: None)
        ours[name] = fitted.found.figures
    for name, one in ours.items():
      figures[f"{name}, {number} patch{'es' if number > 1 else ''}"] = one
      say(f"{number} patches, {name}: {100 * one['accuracy']:.2f} %, AUC {one['auc']:.4f}")
    say(f"{number} patches took {time.monotonic() - begun:.0f} s")
  return SystemFigures(tuple(order), figures)


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

  Writes to `workdir/system`: both embeddings, the selection, the figures as view1.json or view2.json, and those of view 2 as NAME_system.json
  for `jaxface papers --keep`.

  Args:
    experiment: name or path of an experiment of an ensemble, with a folder of training images and LFW as its first evaluation set.
    workdir: folder of the run.
    small: the small form of the experiment.
    numbers, components, scores, view: see `measure_system`.
    command: command line that is kept with the figures.
    progress: draw progress bars.
  Raises:
    ValueError: no such experiment, or one without such images; another network.
  """
  plan = expand_paths(load_experiment(experiment, small=small)[0])
  if not plan.evaluation or not plan.evaluation[0].images or not plan.evaluation[0].pairs:
    raise ValueError(f"{plan.name}: the system is measured on LFW, whose images and pairs its first evaluation set must name")
  folder, known = Path(workdir), plan.data.images or plan.data.records
  if not (folder / "model").is_dir():
    run_experiment(plan, folder, command=command)
  model = load(folder)
  patches = [patch.name for patch in ensemble_of(model.saved, folder).patches]
  lists = Path(plan.evaluation[0].pairs).parent
  out = folder / "system"
  training = embed_once(model, known, out / "train.npz", template=plan.data.template, progress=progress)
  lfw = embed_once(model, plan.evaluation[0].images, out / "lfw.npz", template=plan.evaluation[0].template, progress=progress)
  found = measure_system(
    training, lfw, patches, lists, numbers=numbers, components=components, scores=scores, view=view, state=out / "selection.json",
  )
  write_json(out / f"view{view}.json", {"command": command, "order": list(found.order), "components": components, "figures": dict(found.figures)})
  if view == 2:
    figures = {name: main_figures(one) for name, one in found.figures.items()}
    name = f"{plan.name}_system"
    Measured(name, command, figures, about_data(model), about_network(model), None, machine()).write(out / f"{name}.json")
  return found


__all__ = ["SCORES", "SystemFigures", "embed_once", "measure_system", "run_patch_system"]
