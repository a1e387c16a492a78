"""Write a trained or imported model as one file: preprocessing inside, any batch size, checked after writing.

  jaxface export --model runs/quickstart --format onnx --out face.onnx
"""

import argparse
from pathlib import Path

from jaxface.interop.onnx_export import export_onnx
from jaxface.models.saved import load_model

FORMATS = {"onnx": export_onnx}


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, export, print."""
  parser.add_argument("--model", required=True, metavar="DIR", help="model directory, or workdir of a training")
  parser.add_argument("--format", choices=FORMATS, default="onnx")
  parser.add_argument("--out", required=True, metavar="FILE")
  options = parser.parse_args(arguments)
  Path(options.out).parent.mkdir(parents=True, exist_ok=True)
  FORMATS[options.format](load_model(options.model), options.out)
  print(f"{options.out}: written, and checked against the model")
  return 0
