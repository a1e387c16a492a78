"""Selection of an ensemble's patches on files: embeddings and pair lists in, selection, table and picture out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxface.evaluation.protocols.lfw import read_view_1
from jaxface.evaluation.protocols.pair_list import PairProtocol, read_any_pairs
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.models.ensemble import PatchEnsemble
from jaxface.models.saved import SavedModel, load_model
from jaxface.verifiers.patch_features import SCORES, PatchFeatures, read_selection
from jaxface.verifiers.patch_picture import draw_patches, write_trace
from jaxface.verifiers.patch_selection import Selection, select_patches


def select_groups(
  embeddings: str | Path, pairs: str | Path, out: str | Path, *, model: str | Path | None = None, size: int = 160, count: int = 25,
  groups: int = 1, score: str = "cosine", training: str | Path | None = None, components: int | None = None, face: str | Path | None = None,
  progress: bool = False,
) -> Selection:
  """Selects patches and writes selection.json, trace.csv and, with a model, patches.png; the same call continues an unfinished selection.

  Args:
    embeddings: file of an ensemble's embeddings.
    pairs: folder of LFW's view 1, or a pair list, whose threshold is then the best on itself.
    out: folder of the results.
    model: the ensemble, for names and boxes.
    size: numbers of each patch, without `model`.
    count: patches of a group.
    groups: number of groups.
    score: one of `SCORES`.
    training: labelled embeddings, for Joint Bayesian.
    components: principal components of each patch, for Joint Bayesian.
    face: aligned face to draw on.
    progress: show progress bars.
  Raises:
    ValueError: what does not fit; see `PatchFeatures` and `select_patches`.
  """
  net = ensemble_of(load_model(model), model) if model is not None else None
  given = read_embeddings(embeddings)
  features = PatchFeatures.of(given, [patch.name for patch in net.patches] if net else (), size=size)
  protocol = _lists(pairs)
  lists = [protocol.pairs] if protocol.train is None else [protocol.pairs, protocol.train]

  def watch(what: Iterable) -> Iterable:
    from tqdm import tqdm

    return tqdm(what, desc="scores", unit="patch", disable=not progress)

  scores = features.pair_scores(
    given, lists, score=score, training=None if training is None else read_embeddings(training), components=components, watch=watch
  )
  made_from = {"size": features.size, "score": score, "components": components, "pairs": protocol.name, "embeddings": dict(given.meta)}
  steps = select_patches(
    features.names, *scores, count=count, groups=groups, state=Path(out) / "selection.json", made_from=made_from
  )
  found = _last(steps, count * groups, progress)
  write_trace(Path(out) / "trace.csv", found)
  if net is not None:
    draw_groups(Path(out) / "patches.png", found.groups, net, face)
  return found


def draw_groups(path: str | Path, groups: Iterable[Iterable[str]], net: Any, face: str | Path | None = None) -> None:
  """Draws groups of patches of an ensemble, a `PatchEnsemble`, on the image of a face or on a drawing."""
  from jaxface.formats.images import decode_image
  from jaxface.geometry.templates import template

  image = None if face is None else decode_image(Path(face).read_bytes(), where=str(face))
  draw_patches(path, [list(group) for group in groups], net.patches, template(net.convention.template), face_hwc=image)


def take_group(embeddings: str | Path, selection: str | Path, out: str | Path, *, group: int = 1) -> Embeddings:
  """Writes embeddings that have only the features of a group of a selection.

  Args:
    embeddings: file of the same ensemble's embeddings.
    selection: `selection.json`.
    out: .npz or .parquet.
    group: number of the group, from 1.
  Raises:
    ValueError: no such group, or embeddings of another size.
  """
  features, groups = read_selection(selection)
  if not 1 <= group <= len(groups):
    raise ValueError(f"group {group}: {selection} has groups 1 to {len(groups)}")
  made = features.take(read_embeddings(embeddings), groups[group - 1])
  write_embeddings(out, made)
  return made


def _last(steps: Iterable[Selection], total: int, progress: bool) -> Selection:
  from tqdm import tqdm

  found = None
  with tqdm(total=total, desc="selected", unit="patch", disable=not progress) as bar:
    for found in steps:
      bar.n = sum(map(len, found.groups))
      bar.set_postfix_str(f"{100 * found.steps[-1].correct / found.pairs:.2f} %")
  assert found is not None
  return found


def _lists(pairs: str | Path) -> PairProtocol:
  path = Path(pairs)
  folder = path if path.is_dir() else path.parent
  of_view_1 = path.is_dir() or path.name in ("pairsDevTest.txt", "pairsDevTrain.txt")
  return read_view_1(folder) if of_view_1 and (folder / "pairsDevTest.txt").exists() else read_any_pairs(path)


def ensemble_of(saved: SavedModel, where: object) -> PatchEnsemble:
  """The ensemble of a saved model; `where` names it in the message.

  Raises:
    ValueError: another network.
  """
  if not isinstance(saved.module, PatchEnsemble):
    raise ValueError(f"{where} is a {saved.name}, not an ensemble of patches such as deepid_ensemble")
  return saved.module


__all__ = ["SCORES", "draw_groups", "ensemble_of", "select_groups", "take_group"]
