"""Write a trained or imported model as one file, checked after writing.

  jaxface export --model runs/quickstart --format onnx --out face.onnx
  jaxface export --model runs/quickstart --normalize --mirror sum --out face.onnx   # like `jaxface embed`
  jaxface export --model models/iresnet50 --format safetensors --out iresnet50.safetensors

onnx: preprocessing included, any batch size, height and width. safetensors: weights only, under the names of the PyTorch
network if there is one, otherwise under jaxface's own (docs/export.md).
"""

import argparse

from jaxface.interop.export_file import FORMATS, export_model
from jaxface.options import add_mirror, add_model, load_network


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, export, print."""
  add_model(parser)
  parser.add_argument("--format", choices=FORMATS, default="", help="default: from the suffix of --out, otherwise onnx")
  parser.add_argument("--normalize", action="store_true", help="onnx: scale each embedding to length one")
  add_mirror(parser, "none", "onnx: ")
  parser.add_argument("--out", required=True, metavar="FILE")
  options = parser.parse_args(arguments)
  load_network(options)
  out = export_model(options.model, options.out, format=options.format, normalize=options.normalize, mirror=options.mirror)
  print(f"{out}: written and checked against the model")
  return 0
