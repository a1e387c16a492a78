"""Write a trained or imported model as one file, checked after writing.

  jaxface export --model runs/quickstart --format onnx --out face.onnx
  jaxface export --model runs/quickstart --normalize --mirror sum --out face.onnx   # like `jaxface embed`
  jaxface export --model runs/quickstart --precision int8 --calibrate FACES --out face.onnx
  jaxface export --model models/iresnet50 --format safetensors --out iresnet50.safetensors
  jaxface export --model runs/quickstart --out face.stablehlo

onnx: preprocessing included, any batch size, height and width. safetensors: weights only, under the names of the PyTorch
network if there is one, otherwise under jaxface's own. stablehlo: preprocessing included, any batch size; JAX alone runs it,
without jaxface (docs/export.md).
"""

import argparse

from jaxface.interop.export_file import FORMATS, export_model
from jaxface.interop.onnx_precision import PRECISIONS
from jaxface.options import add_mirror, add_model, load_network


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, export, print."""
  add_model(parser)
  parser.add_argument("--format", choices=FORMATS, default="", help="default: from the suffix of --out, otherwise onnx")
  parser.add_argument("--normalize", action="store_true", help="onnx, stablehlo: scale each embedding to length one")
  add_mirror(parser, "none", "onnx, stablehlo: ")
  parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="onnx: of weights and products (default: float32)")
  parser.add_argument("--calibrate", metavar="FACES", help="int8: aligned faces, a folder or packed records, that set the ranges")
  parser.add_argument("--out", required=True, metavar="FILE")
  options = parser.parse_args(arguments)
  load_network(options)
  out = export_model(
    options.model, options.out, format=options.format, normalize=options.normalize, mirror=options.mirror,
    precision=options.precision, calibrate=options.calibrate, say=print,
  )
  print(f"{out}: written and checked against the model")
  return 0
