"""Make a model directory from an ONNX file's weights; every shape is checked, nothing of the file is executed.

  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --out models/mobilefacenet
"""

import argparse

from jaxface.interop.onnx_import import import_onnx
from jaxface.models.preprocess import PREPROCESS
from jaxface.models.saved import count_parameters, save_model


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, import, print."""
  parser.add_argument("file", metavar="FILE.onnx")
  parser.add_argument("--model", required=True, metavar="NAME", help="network that the weights are of (see `jaxface models`)")
  parser.add_argument("--preprocess", required=True, choices=sorted(PREPROCESS), help="input convention of the weights")
  parser.add_argument("--out", required=True, metavar="DIR", help="model directory to write")
  options = parser.parse_args(arguments)
  saved = import_onnx(options.file, model=options.model, preprocess=options.preprocess)
  save_model(options.out, saved)
  size = count_parameters(saved.variables["params"])
  print(f"{options.out}: {saved.name}, {size:,} parameters, {saved.embedding_size}-d, preprocess {saved.preprocess.name}")
  return 0
