"""Convert external weights to a model directory. Every shape is checked; no code in the file is executed.

  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --template arcface112 --out models/mobilefacenet
  jaxface import backbone.pth --model iresnet50 --out models/iresnet50
  jaxface import adaface.ckpt --model iresnet50 --colour bgr --out models/adaface
  jaxface import theirs.pth --model mobilefacenet --check FACES --out models/theirs
  jaxface import ours.safetensors --out models/ours
  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --calibrate FACES --out models/mobilefacenet
  jaxface import DIR --model mtcnn --out models/mtcnn

Reads ONNX graphs (.onnx) and PyTorch state dicts (.safetensors, .pt, .pth, .ckpt, .pth.tar, .bin). Files written by `jaxface
export --format safetensors` record their network. A detector of faces (mtcnn) is read from a folder with its files: pnet, rnet and
onet as .pt or .onnx.

If the names are unknown, layers are paired by order and shape, and the table of pairs is printed. What shapes do not
determine is never guessed: give it (--option, --preprocess, --colour, --flatten, --names), or use --check with a folder of
aligned images, one subfolder per person, which selects the settings that separate these people best.
"""

import argparse
import ast
from typing import Any

from jaxface.detection.registry import DETECTORS, import_detector
from jaxface.interop.import_file import import_model
from jaxface.interop.weights import FLATTENS
from jaxface.models.preprocess import COLOURS, PREPROCESS
from jaxface.options import add_network, add_provenance, add_template, load_network


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, import, print."""
  parser.add_argument("file", metavar="FILE", help="file, or folder of a detector")
  parser.add_argument("--model", default="", metavar="NAME", help="network of the weights (see `jaxface models`), or mtcnn")
  parser.add_argument("--preprocess", default="", choices=sorted(PREPROCESS),
                      help="input convention of the weights, which files do not record (default: the network's own)")
  add_template(parser, "alignment template of the faces that the weights were trained on, if known (default: from the file if it"
                       " was written by jaxface, otherwise unknown)")
  add_provenance(parser, "weights", "it is kept with the model")
  add_network(parser)
  parser.add_argument("--colour", default="", choices=sorted(COLOURS),
                      help="order of the channels, if it differs from the convention's")
  parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                      help="an option of the network that the file does not determine, such as activation=relu6; repeatable")
  parser.add_argument("--key", default="", metavar="NAME",
                      help="the part of the file that holds the network, if it has several: names of dicts and prefixes, joined"
                      " by dots (PyTorch files)")
  parser.add_argument("--names", metavar="FILE",
                      help="JSON object, or lines of two tab-separated columns: maps layers, modules or tensors of the file to"
                      " paths in the network as printed by `jaxface models NAME`; an empty path skips it (PyTorch files)")
  parser.add_argument("--flatten", default="", choices=FLATTENS,
                      help="order in which the file's network flattens feature maps before its dense layer (default: chw, as"
                      " in PyTorch)")
  parser.add_argument("--check", metavar="IMAGES",
                      help="folder with one subfolder of aligned images per person: all conventions and options that fit are"
                      " tried, their figures are printed, and the best one is used")
  parser.add_argument("--out", required=True, metavar="DIR", help="model directory to write")
  parser.add_argument("--calibrate", metavar="DIR", help="aligned faces, a folder or packed records: computes statistics for batch"
                      " norms that were folded into convolutions, which further training needs")
  options = parser.parse_args(arguments)
  load_network(options)
  if options.model in DETECTORS:
    return _detector(options)
  model = import_model(
    options.file, options.model, options.out, preprocess=options.preprocess, template=options.template,
    licence=options.licence, origin=options.origin, options=dict(map(named_value, options.option)), colour=options.colour,
    key=options.key, names=options.names, flatten=options.flatten, check=options.check, calibrate=options.calibrate, say=print,
  )
  print(f"{options.out}: {model.name}, {model.num_parameters:,} parameters, {model.embedding_size}-d, preprocess"
        f" {model.preprocess}, licence {model.licence}")
  return 0


def _detector(options: argparse.Namespace) -> int:
  """Imports a detector, for which only licence and origin are options."""
  given = [name for name in ("preprocess", "template", "colour", "option", "key", "names", "flatten", "check", "calibrate")
           if getattr(options, name)]
  if given:
    raise ValueError(f"--{given[0]} is for embedding networks: {options.model} has one input convention")
  saved = import_detector(options.file, options.model, options.out, licence=options.licence, origin=options.origin)
  print(f"{options.out}: {saved.name}, {saved.num_parameters:,} parameters, licence {saved.licence}")
  return 0


def named_value(text: str) -> tuple[str, Any]:
  """Name and value of a network option; a value that is not a Python literal is a string."""
  name, equals, value = text.partition("=")
  if not equals:
    raise ValueError(f"--option {text}: needs NAME=VALUE, such as activation=relu6")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value
