"""Make a model directory from somebody else's weights; every shape is checked, nothing of the file is executed.

  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --template arcface112 --out models/mobilefacenet
  jaxface import backbone.pth --model iresnet50 --out models/iresnet50
  jaxface import adaface.ckpt --model iresnet50 --colour bgr --out models/adaface
  jaxface import theirs.pth --model mobilefacenet --check FACES --out models/theirs
  jaxface import ours.safetensors --out models/ours
  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --calibrate FACES --out models/mobilefacenet

ONNX graphs (.onnx) and PyTorch's state dicts (.safetensors, .pt, .pth, .ckpt, .pth.tar, .bin). A file that `jaxface export
--format safetensors` wrote names its network itself.

Where names are not known, layers are paired by order and shape, and the table of pairs is printed. What shapes do not
show is never guessed: it is given (--option, --preprocess, --colour, --flatten, --names), or found by --check, which takes
a folder with one folder of aligned images per person and keeps what tells these people apart best.
"""

import argparse
import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxface.commands.network_option import add_network_option, load_network_option
from jaxface.formats import provenance
from jaxface.geometry.templates import TEMPLATES
from jaxface.inference.calibrate import calibrate_on
from jaxface.inference.sources import open_faces
from jaxface.interop.compare import compare, report
from jaxface.interop.onnx_import import import_onnx
from jaxface.interop.state_dict import SUFFIXES, import_state_dict
from jaxface.interop.weights import FLATTENS, Ambiguous
from jaxface.models.calibration import folded_norms
from jaxface.models.card import lineage_of
from jaxface.models.preprocess import COLOURS, PREPROCESS, changed
from jaxface.models.saved import SavedModel, count_parameters, save_model


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, import, print."""
  parser.add_argument("file", metavar="FILE")
  parser.add_argument("--model", default="", metavar="NAME", help="network that the weights are of (see `jaxface models`)")
  parser.add_argument("--preprocess", default="", choices=sorted(PREPROCESS),
                      help="input convention of the weights, which no file says; without it the network's own")
  parser.add_argument(
    "--template", choices=[*TEMPLATES, "none"],
    help="how the faces were aligned that the weights were trained on, where you know it (default: what a file of ours says,"
    " else unknown)",
  )
  parser.add_argument("--licence", "--license", default="", metavar="TEXT", help="of the weights; it travels with the model (else: unknown)")
  parser.add_argument("--origin", default="", metavar="TEXT", help="who made the weights, or where they can be had (else: unknown)")
  add_network_option(parser)
  parser.add_argument("--colour", default="", choices=sorted(COLOURS),
                      help="order of the channels, where it is another than the convention's")
  parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                      help="an option of the network that the file does not show, such as activation=relu6; repeatable")
  parser.add_argument("--key", default="", metavar="NAME",
                      help="part of the file that is the network, where it holds several: names of dicts and prefixes, joined"
                      " by dots (PyTorch's files)")
  parser.add_argument("--names", metavar="FILE",
                      help="JSON object, or lines of two columns with a tab between: layers, modules or tensors of the file to"
                      " paths in the network as `jaxface models NAME` prints them; an empty path leaves out (PyTorch's files)")
  parser.add_argument("--flatten", default="", choices=FLATTENS,
                      help="order in which the file's network flattens feature maps before its dense layer (default: chw, as"
                      " PyTorch does)")
  parser.add_argument("--check", metavar="IMAGES",
                      help="folder with one folder of aligned images per person: every convention and option that fits is"
                      " tried on them, the figures are printed, and the best one is taken")
  parser.add_argument("--out", required=True, metavar="DIR", help="model directory to write")
  parser.add_argument("--calibrate", metavar="DIR", help="aligned faces, a folder or packed records: statistics for batch norms"
                      " that are folded into convolutions, without which training would destroy the network")
  options = parser.parse_args(arguments)
  load_network_option(options)
  path = Path(options.file)
  onnx = path.suffix.lower() == ".onnx"
  if not onnx and not path.name.lower().endswith(SUFFIXES):
    raise ValueError(f"{path}: weights are read from files with suffix {', '.join(('.onnx', *SUFFIXES))}")
  if not options.model and path.suffix.lower() != ".safetensors":
    parser.error(f"{path} does not name the network that it is of: say which with --model")
  if onnx and (options.key or options.names or options.flatten):
    parser.error("--key, --names and --flatten are for PyTorch's files: a graph says itself what runs after what")
  given = dict(option(text) for text in options.option)
  if options.check:
    saved = checked(path, options, given)
  else:
    saved = read(path, options, given, options.flatten or FLATTENS[0], quiet=False)
  if options.template:
    saved = replace(saved, preprocess=changed(saved.preprocess, template=options.template))
  lineage = provenance.fill(lineage_of(saved.meta), options.licence, options.origin)
  saved = replace(saved, meta={**saved.meta, "lineage": provenance.to_json(lineage)})
  folded = len(folded_norms(saved.variables))
  if options.calibrate and folded:
    saved = calibrate_on(saved, open_faces(options.calibrate, saved.preprocess, saved.preprocess.template))
  save_model(options.out, saved)
  size = count_parameters(saved.variables["params"])
  print(f"{options.out}: {saved.name}, {size:,} parameters, {saved.embedding_size}-d, preprocess {saved.preprocess},"
        f" licence {provenance.summary(lineage, 'licence')}")
  if options.calibrate:
    seen = saved.meta.get("norms", {}).get("calibrated_on_images", 0)
    print(f"batch norms: {folded} calibrated on {seen:,} images of {options.calibrate}" if folded else
          "batch norms: none is folded, nothing to calibrate")
  elif folded:
    print(f"batch norms: {folded} are folded into convolutions and have no statistics: a training that begins with this model"
          " calibrates them, or give --calibrate IMAGES")
  return 0


def option(text: str) -> tuple[str, Any]:
  """Name and value of an option of a network; what is no literal of Python is a text."""
  name, equals, value = text.partition("=")
  if not equals:
    raise ValueError(f"--option {text}: needs NAME=VALUE, such as activation=relu6")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value


def read(path: Path, options: argparse.Namespace, given: dict[str, Any], flatten: str, quiet: bool) -> SavedModel:
  """One reading of the file."""
  say = (lambda line: None) if quiet else print
  if path.suffix.lower() == ".onnx":
    return import_onnx(path, options.model, options.preprocess, given, colour=options.colour, say=say)
  names = read_names(Path(options.names)) if options.names else None
  return import_state_dict(
    path, options.model, options.preprocess, given, key=options.key, names=names, flatten=flatten, colour=options.colour,
    say=say,
  )


def checked(path: Path, options: argparse.Namespace, given: dict[str, Any]) -> SavedModel:
  """The reading that tells the people of `--check` apart best; says the figures of each."""
  flattens = [options.flatten] if options.flatten else list(FLATTENS)
  try:
    read(path, options, given, flattens[0], quiet=False)
    choices: list[dict[str, Any]] = [{}]
  except Ambiguous as error:
    choices = error.choices

  def readings() -> Iterator[tuple[str, SavedModel]]:
    for choice in choices:
      words = [f"{name} {value}" for name, value in choice.items() if any(other[name] != value for other in choices)]
      for flatten in flattens:
        saved = read(path, options, {**given, **choice}, flatten, quiet=True)
        if not saved.meta.get("flatten"):
          yield ", ".join(words), saved
          break  # nothing is flattened, so that the order does not matter
        yield ", ".join([*words, f"flatten {flatten}"]), saved

  candidates = compare(readings(), options.check, preprocess=options.preprocess, colour=options.colour)
  clear = report(candidates, print)
  best = candidates[0]
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
