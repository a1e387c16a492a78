"""Write a trained or imported model as one file, checked after writing.

  jaxface export --model runs/quickstart --format onnx --out face.onnx
  jaxface export --model runs/quickstart --normalize --mirror sum --out face.onnx   # what `jaxface embed` gives
  jaxface export --model models/iresnet50 --format safetensors --out iresnet50.safetensors

onnx: preprocessing inside, any batch size, height and width. safetensors: the numbers alone, under the names that PyTorch
networks have where there are such, else under our own (docs/export.md).
"""

import argparse
from pathlib import Path

from jaxface.commands.network_option import add_network_option, load_network_option
from jaxface.evaluation.config import MIRRORS
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.state_dict import export_state_dict
from jaxface.models.saved import load_model

FORMATS = ("onnx", "safetensors")


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, export, print."""
  parser.add_argument("--model", required=True, metavar="DIR", help="model directory, or workdir of a training")
  parser.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else onnx")
  parser.add_argument("--normalize", action="store_true", help="onnx: each embedding is scaled to length one")
  parser.add_argument(
    "--mirror", choices=MIRRORS, default="none",
    help="onnx: what becomes of the mirror image's embedding: added, set beside the image's, left out (default: %(default)s)",
  )
  add_network_option(parser)
  parser.add_argument("--out", required=True, metavar="FILE")
  options = parser.parse_args(arguments)
  out = Path(options.out)
  kind = options.format or ("safetensors" if out.suffix == ".safetensors" else "onnx")
  if kind != "onnx" and (options.normalize or options.mirror != "none"):
    parser.error(f"--normalize and --mirror are part of a graph: leave them out, or write --format onnx, not {kind}")
  load_network_option(options)
  saved = load_model(options.model)
  out.parent.mkdir(parents=True, exist_ok=True)
  if kind == "onnx":
    export_onnx(saved, out, normalize=options.normalize, mirror=options.mirror)
  else:
    export_state_dict(saved, out)
  print(f"{out}: written, and checked against the model")
  return 0
