"""Figures of models on a pair list at several levels of a quantity: image quality, embedding size, or a property of the models."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxface.data.subset import NamedSource
from jaxface.evaluation.intervals.rates import size_note
from jaxface.evaluation.pairs.pair_names import matched, without_missing
from jaxface.evaluation.pairs.verification import TARGETS
from jaxface.evaluation.protocols.pair_list import PairProtocol
from jaxface.evaluation.protocols.registry import read_protocol
from jaxface.evaluation.report.study import Study
from jaxface.evaluation.report.study_page import write_study
from jaxface.evaluation.sweeps.table import Sweep
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.lock import FolderLock
from jaxface.formats.pairs import Pairs
from jaxface.inference.model import Model, load
from jaxface.losses.ranges import check_name
from jaxface.pipeline.sweeps.axes import AXES, BY, check_levels, model_value, usual_levels
from jaxface.pipeline.sweeps.examples import data_url, example_images, write_strip
from jaxface.pipeline.sweeps.model import DEGRADE, ModelSweep
from jaxface.pipeline.sweeps.store import Store, folder_name, images_digest, model_digest, pairs_digest

_log = logging.getLogger(__name__)
_SIDES = {"both": "both images of a pair", "one": "the left image of a pair"}


def sweep(
  models: str | Path | Model | Sequence[str | Path | Model], images: str | Path, pairs: str | Path, out: str | Path, *,
  axes: Mapping[str, Sequence[float] | None] | None = None, by: Sequence[str] = (), protocol: str = "pairs",
  degrade: str = "both", pca_from: str | Path | Embeddings | None = None, mirror: str = "sum", template: str = "", seed: int = 0,
  batch_size: int = 128, devices: int = 0, skip_missing: bool = False, page: bool = True, progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> tuple[Sweep, ...]:
  """Sweeps of models on a pair list, resumable.

  Each finished level is written whole below `out`; the next call with the same model, images and pairs reads it. Writes
  `sweep_AXIS.json` for each axis (with several models in a folder per model), a picture of one image at each level, and the page `sweeps.html`
  with charts.

  Args:
    models: a model folder, the workdir of a run, or a `Model`; or several.
    images: folder of aligned images (searched to any depth), or packed records.
    pairs: pair list, or what `protocol` reads.
    out: folder of the results.
    axes: levels by axis, see `AXES`; None takes the usual ones. "jpeg", "pixels", "blur", "noise" and "occlusion" change images, "size"
      keeps the first numbers of each embedding, "pca" the first principal components.
    by: quantities of the models, with one level per model: see `BY`.
    protocol: a protocol that is one pair list, see docs/protocols.md.
    degrade: change "both" images of a pair, or "one", the left.
    pca_from: embeddings of other images to fit principal components on; by default those of the other folds.
    mirror: embedding of the mirror image: "sum" adds it, "concat" appends it, "none" does not compute it.
    template: alignment template of a folder of images, if known.
    seed: of noise and places.
    batch_size: images per batch over all devices.
    devices: how many of this host's devices to use, 0 for all.
    skip_missing: ignore pairs of images that are not there, with a note.
    page: write the page of the charts of this call's axes.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    `Sweep`s: of each model the axes in the given order, then those of `by`.
  Raises:
    ValueError: an unknown axis or quantity, a level out of range, a model that does not record a quantity, missing images, a protocol that
      is not one pair list.
    OtherSweep: `out` has levels of another model, other images or pairs, or other settings.
    DamagedData: an image or a file cannot be read.
  """
  given = {axis: None if levels is None else check_levels(axis, levels) for axis, levels in (axes or {}).items()}
  for name in given:
    check_name("axis", name, tuple(AXES))
  for name in by:
    check_name("by", name, tuple(BY))
  check_name("degrade", degrade, DEGRADE)
  several = [models] if isinstance(models, (str, Path, Model)) else list(models)
  paths = [one.name if isinstance(one, Model) else str(one) for one in several]
  if not (given or by):
    raise ValueError(f"nothing to vary: give one of the axes {', '.join(AXES)}, or a quantity of several models: {', '.join(BY)}")
  if by and len(paths) < 2:
    raise ValueError(f"by {by[0]} compares models: give several, this is one")
  if mirror == "concat" and {"size", "pca"} & set(given):
    raise ValueError("size and pca shorten the embedding of one image: use mirror 'sum' or 'none', not 'concat'")
  rules = read_protocol(protocol, pairs)
  if not isinstance(rules, PairProtocol):
    raise ValueError(f"protocol {protocol!r} is not one list of pairs of images: sweeps take lists such as 'pairs', 'lfw' or 'cfp-fp'")
  fit = pca_from if isinstance(pca_from, Embeddings | None) else read_embeddings(pca_from)
  about = {
    "images": str(images), "pairs": str(pairs), "protocol": protocol, "counts": dict(rules.counts), "degrade": degrade, "mirror": mirror,
    "seed": seed,
  }
  with FolderLock(out, say=say):
    found: list[Sweep] = []
    plain = []
    for given_model, path, folder in zip(several, paths, _folders(Path(out), paths)):
      model = given_model if isinstance(given_model, Model) else load(given_model)
      values = [model_value(name, model, path) for name in by]
      source: Any = model.open(images, template)
      for note in getattr(source, "notes", ()):
        say(note)
      listed, train, notes = _present(rules, source.names(), skip_missing, str(images))
      source = NamedSource(source, {*listed.left, *listed.right, *(train.left if train else ()), *(train.right if train else ())})
      facts = {
        "model": model_digest(model.saved), "images": images_digest(source, progress=progress), "pairs": pairs_digest(listed, train),
        "mirror": mirror,
      }
      one = ModelSweep(
        model, source, listed, train, Store(folder, facts), degrade, fit, {"mirror": mirror, "batch_size": batch_size, "devices": devices,
        "say": say}, seed, progress,
      )
      plain.append((values, replace(one.plain, model=path)))
      for axis, levels in given.items():
        more: list[str] = []
        if levels is None:
          height, width = source.image_shape[:2]
          levels, note = usual_levels(axis, height * width, model.embedding_size)
          more += [note] if note else []
        found.append(_one_axis(one, axis, levels, {"model": path, "network": model.name, **about}, (*notes, *more), folder))
    for at, name in enumerate(by):
      rows = sorted((replace(row, value=values[at]) for values, row in plain), key=lambda row: (row.value, row.model))
      swept = Sweep(name, BY[name], tuple(rows), rows[0], {"models": paths, **about}, rows[0].verification.notes)
      write_json(Path(out) / f"sweep_{name}.json", swept.to_json())
      found.append(swept)
    if page:
      write_study(Path(out) / "sweeps.html", Study("", (), sweeps=[one.to_json() for one in found]))
  return tuple(found)


def _one_axis(
  one: ModelSweep, axis: str, levels: Sequence[float], about: Mapping[str, Any], notes: Sequence[str], folder: Path
) -> Sweep:
  examples: list[tuple[float | None, Any]] = []
  plain = one.plain.verification
  lines = [*notes, *plain.notes, *filter(None, (size_note(target, plain.roc.nonmated) for target in TARGETS.values()))]
  if AXES[axis].of_images:
    lines.append(f"{axis}: {_SIDES[one.degrade]} changed; the thresholds are chosen anew at each level.")
    record = one.source.names().index(one.pairs.left[0])
    examples = example_images(one.source, record, axis, levels, one.seed)
  elif axis == "pca":
    how = "on identities of the other folds" if one.fit is None else "on other images (pca_from)"
    lines.append(f"pca: components are fitted {how}, never on what they judge; the mean is subtracted, so that all components together differ from"
                 " the unchanged embeddings.")
    about = {**about, "fit": "other folds" if one.fit is None else "other images"}
  swept = Sweep(
    axis, AXES[axis].what, one.rows(axis, levels), one.plain, about, tuple(dict.fromkeys(lines)),
    tuple((level, data_url(image_hwc)) for level, image_hwc in examples),
  )
  write_json(folder / f"sweep_{axis}.json", swept.to_json())
  if examples:
    write_strip(folder / f"sweep_{axis}.png", [image_hwc for _, image_hwc in examples])
  return swept


def _folders(out: Path, paths: Sequence[str]) -> list[Path]:
  """The folder of each model: `out` itself for one."""
  if len(paths) == 1:
    return [out]
  names = [folder_name(path) for path in paths]
  for name in names:
    if names.count(name) > 1:
      same = [path for path, other in zip(paths, names) if other == name]
      raise ValueError(f"the models {' and '.join(same)} would share the folder {out / name}: rename one, or sweep them separately")
  return [out / name for name in names]


def _present(rules: PairProtocol, names: list[str], skip_missing: bool, images: str) -> tuple[Pairs, Pairs | None, list[str]]:
  """The lists with the names of the images, and notes.

  Raises:
    ValueError: an image is missing.
  """
  known, notes = set(names), list(rules.notes)

  def kept(listed: Pairs) -> Pairs:
    listed = matched(listed, names)
    missing = sorted({*listed.left, *listed.right} - known)
    if not missing:
      return listed
    told = f"{len(missing):,} images of the pair list are not there (first: {missing[0]!r})"
    if not skip_missing:
      raise ValueError(f"{images}: {told}; its images are named like {names[0]!r}. Add them, or ignore their pairs (--skip-missing)")
    listed, lines = without_missing(listed, names)
    if not len(listed):
      raise ValueError(f"{images}: no pair is left: {told}; its images are named like {names[0]!r}")
    notes.extend(lines)
    return listed

  return kept(rules.pairs), None if rules.train is None else kept(rules.train), notes


__all__ = ["sweep"]
