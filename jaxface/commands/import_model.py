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
from typing import Any

from jaxface.interop.import_file import import_model
from jaxface.interop.weights import FLATTENS
from jaxface.models.preprocess import COLOURS, PREPROCESS
from jaxface.options import add_network, add_provenance, add_template, load_network


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, import, print."""
  parser.add_argument("file", metavar="FILE")
  parser.add_argument("--model", default="", metavar="NAME", help="network that the weights are of (see `jaxface models`)")
  parser.add_argument("--preprocess", default="", choices=sorted(PREPROCESS),
                      help="input convention of the weights, which no file says; without it the network's own")
  add_template(parser, "how the faces were aligned that the weights were trained on, where you know it (default: what a file of"
                       " ours says, else unknown)")
  add_provenance(parser, "weights", "it travels with the model")
  add_network(parser)
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
  load_network(options)
  model = import_model(
    options.file, options.model, options.out, preprocess=options.preprocess, template=options.template,
    licence=options.licence, origin=options.origin, options=dict(map(named_value, options.option)), colour=options.colour,
    key=options.key, names=options.names, flatten=options.flatten, check=options.check, calibrate=options.calibrate, say=print,
  )
  print(f"{options.out}: {model.name}, {model.num_parameters:,} parameters, {model.embedding_size}-d, preprocess"
        f" {model.preprocess}, licence {model.licence}")
  return 0


def named_value(text: str) -> tuple[str, Any]:
  """Name and value of an option of a network; what is no literal of Python is a text."""
  name, equals, value = text.partition("=")
  if not equals:
    raise ValueError(f"--option {text}: needs NAME=VALUE, such as activation=relu6")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value
