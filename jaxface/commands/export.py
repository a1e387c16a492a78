"""Write a trained or imported model as one file, checked after writing.

  jaxface export --model runs/quickstart --format onnx --out face.onnx
  jaxface export --model models/iresnet50 --format safetensors --out iresnet50.safetensors

onnx: preprocessing inside, any batch size. safetensors: the numbers alone, under the names that PyTorch networks have.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.state_dict import export_state_dict
from jaxface.models.saved import SavedModel, load_model

FORMATS: dict[str, Callable[[SavedModel, str], Any]] = {"onnx": export_onnx, "safetensors": export_state_dict}


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
