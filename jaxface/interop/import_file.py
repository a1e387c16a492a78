"""From somebody else's file of weights to a model folder, in one call."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxface.formats import provenance
from jaxface.geometry.templates import check_template_name
from jaxface.inference.calibrate import calibrate_on
from jaxface.inference.model import Model
from jaxface.inference.sources import open_faces
from jaxface.interop.compare import compare, report
from jaxface.interop.onnx_import import import_onnx
from jaxface.interop.state_dict import SUFFIXES, import_state_dict
from jaxface.interop.weights import FLATTENS, Ambiguous, nameless
from jaxface.models.calibration import folded_norms
from jaxface.models.card import lineage_of
from jaxface.models.preprocess import changed
from jaxface.models.saved import SavedModel, save_model

_log = logging.getLogger(__name__)


def import_model(
  path: str | Path, model: str = "", out: str | Path | None = None, *, preprocess: str = "", template: str = "",
  licence: str = "", origin: str = "", options: Mapping[str, Any] | None = None, colour: str = "", key: str = "",
  names: Mapping[str, str] | str | Path | None = None, flatten: str = "", check: str | Path | None = None,
  calibrate: str | Path | None = None, say: Callable[[str], object] = _log.info,
) -> Model:
  """A model from an ONNX graph or a PyTorch state dict; every shape is checked, nothing of the file is executed.

  What shapes do not show is never guessed: it is given, or found by `check`.

  Args:
    path: .onnx, or one of .safetensors, .pt, .pth, .ckpt, .pth.tar, .bin.
    model: name of the network that the weights are of; not needed where the file names it itself.
    out: model folder to write; None writes none.
    preprocess: name of the input convention of the weights, one of `PREPROCESS`; "" takes the network's own.
    template: how the faces were aligned that the weights were trained on, "none" for aligned to none; "" takes what the file
      says, else unknown.
    licence: of the weights; "" takes what the file says, else unknown.
    origin: who made the weights, or where they can be had; likewise.
    options: of the network, where the file does not show them, such as {"activation": "relu6"}.
    colour: order of the channels, where it is another than the convention's.
    key: part of a PyTorch file that is the network, where it holds several.
    names: layers, modules or tensors of a PyTorch file to paths in the network ("" leaves out), or a file that holds them:
      a JSON object, or lines of two columns with a tab between.
    flatten: order in which the file's network flattens feature maps, one of "chw", "hwc", "whc"; "" takes "chw", or, with
      `check`, the best.
    check: folder with one folder of aligned images per person: every convention and option that fits is tried on them, and
      the one that tells these people apart best is taken.
    calibrate: aligned faces, a folder or packed records: statistics for batch norms that are folded into convolutions.
    say: called with each line for the user: the table of pairs, the figures of `check`, what became of the norms.
  Returns:
    `Model`.
  Raises:
    WrongWeights: the file is not of this network; names where it differs, what was expected and what was found.
    Ambiguous: several networks fit, and neither an option nor `check` says which.
    DamagedData, UnsafePickle, UnsafePath: the file cannot be read.
    ValueError: an unknown suffix, network, option, convention or template.
  """
  path = Path(path)
  onnx = path.suffix.lower() == ".onnx"
  if not onnx and not path.name.lower().endswith(SUFFIXES):
    raise ValueError(f"{path}: weights are read from files with suffix {', '.join(('.onnx', *SUFFIXES))}")
  if not model and path.suffix.lower() != ".safetensors":
    raise nameless(path)
  if onnx and (key or names or flatten):
    raise ValueError("key, names and flatten are for PyTorch's files: a graph says itself what runs after what")
  check_template_name("template", template)
  if isinstance(names, (str, Path)):
    names = read_names(Path(names))
  reading = _Reading(path, model, preprocess, colour, key, names, dict(options or {}), say)
  saved = _checked(reading, flatten, check) if check else reading.read({}, flatten or FLATTENS[0], say)
  if template:
    saved = replace(saved, preprocess=changed(saved.preprocess, template=template))
  lineage = provenance.fill(lineage_of(saved.meta), licence, origin)
  saved = replace(saved, meta={**saved.meta, "lineage": provenance.to_json(lineage)})
  folded = len(folded_norms(saved.variables))
  if calibrate and folded:
    saved = calibrate_on(saved, open_faces(calibrate, saved.preprocess), say=lambda line: say(f"note: {line}"))
    seen = saved.meta.get("norms", {}).get("calibrated_on_images", 0)
    say(f"batch norms: {folded} calibrated on {seen:,} images of {calibrate}")
  elif calibrate:
    say("batch norms: none is folded, nothing to calibrate")
  elif folded:
    say(f"batch norms: {folded} are folded into convolutions and have no statistics: a training that begins with this model"
        " calibrates them, or give --calibrate IMAGES")
  if out is not None:
    save_model(out, saved)
  return Model(saved)


@dataclass(frozen=True)
class _Reading:
  """A file, and all that is given about it."""

  path: Path
  model: str
  preprocess: str
  colour: str
  key: str
  names: Mapping[str, str] | None
  options: dict[str, Any]
  say: Callable[[str], object]

  def read(self, choice: Mapping[str, Any], flatten: str, say: Callable[[str], object]) -> SavedModel:
    """The network under a choice of further options; `say` takes the table of pairs and notes."""
    options = {**self.options, **choice}
    if self.path.suffix.lower() == ".onnx":
      return import_onnx(self.path, self.model, self.preprocess, options, colour=self.colour, say=say)
    return import_state_dict(
      self.path, self.model, self.preprocess, options, key=self.key, names=self.names, flatten=flatten, colour=self.colour,
      say=say,
    )


def _checked(reading: _Reading, flatten: str, images: str | Path) -> SavedModel:
  """The reading that tells the people of `images` apart best; says its pairs and notes, and the figures of each."""
  flattens = [flatten] if flatten else list(FLATTENS)
  try:
    reading.read({}, flattens[0], lambda line: None)
    choices: list[dict[str, Any]] = [{}]
  except Ambiguous as error:
    choices = error.choices

  said: dict[str, list[str]] = {}

  def readings() -> Iterator[tuple[str, SavedModel]]:
    for choice in choices:
      words = [f"{name} {value}" for name, value in choice.items() if any(other[name] != value for other in choices)]
      for order in flattens:
        lines: list[str] = []
        saved = reading.read(choice, order, lines.append)
        matters = bool(saved.meta.get("flatten"))
        name = ", ".join([*words, f"flatten {order}"] if matters else words)
        said[name] = lines
        yield name, saved
        if not matters:  # nothing is flattened
          break

  candidates = compare(
    readings(), images, preprocess=reading.preprocess, colour=reading.colour, say=lambda line: reading.say(f"note: {line}")
  )
  best = candidates[0]
  for line in said[best.reading]:
    reading.say(line)
  clear = report(candidates, reading.say)
  figures = {"separation": best.separation, "auc": best.auc, "clear": clear, "candidates": len(candidates)}
  return replace(best.saved, meta={**best.saved.meta, "chosen": {"name": best.name, **figures}})


def read_names(path: Path) -> dict[str, str]:
  """Names of a file to paths of a network; "" where there is none.

  Raises:
    ValueError: neither a JSON object of texts nor lines of two columns; names the line.
  """
  text = path.read_text(encoding="utf-8")
  if text.lstrip().startswith("{"):
    try:
      found = json.loads(text)
    except ValueError as error:
      raise ValueError(f"{path}: not JSON: {error}") from error
    if not all(isinstance(value, str | None) for value in found.values()):
      raise ValueError(f"{path}: takes names to paths, both texts, or null to leave out")
    return {name: value or "" for name, value in found.items()}
  names = {}
  for number, line in enumerate(text.splitlines(), start=1):
    if not line.strip() or line.startswith("#"):
      continue
    name, tab, place = line.partition("\t")
    if not tab or name.strip() in names:
      raise ValueError(f"{path}, line {number}: needs a name, a tab and a path, each name once; found {line!r:.100}")
    names[name.strip()] = place.strip()
  return names


__all__ = ["import_model", "read_names"]
