"""Make a model directory from somebody else's weights; every shape is checked, nothing of the file is executed.

  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --template arcface112 --out models/mobilefacenet
  jaxface import backbone.pth --model iresnet50 --out models/iresnet50
  jaxface import ours.safetensors --out models/ours
  jaxface import mobilefacenet.onnx --model mobilefacenet --preprocess imagenet --calibrate FACES --out models/mobilefacenet

ONNX graphs (.onnx) and PyTorch's state dicts (.safetensors, .pt, .pth). A file that `jaxface export --format
safetensors` wrote names its network itself.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from jaxface.commands.network_option import add_network_option, load_network_option
from jaxface.formats import provenance
from jaxface.geometry.templates import TEMPLATES
from jaxface.inference.calibrate import calibrate_on, open_faces
from jaxface.interop.onnx_import import import_onnx
from jaxface.interop.state_dict import READERS, import_state_dict
from jaxface.models.calibration import folded_norms
from jaxface.models.card import lineage_of
from jaxface.models.preprocess import PREPROCESS, changed
from jaxface.models.saved import count_parameters, save_model

IMPORTERS = {".onnx": import_onnx, **dict.fromkeys(READERS, import_state_dict)}


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
  parser.add_argument("--out", required=True, metavar="DIR", help="model directory to write")
  parser.add_argument("--calibrate", metavar="DIR", help="aligned faces, a folder or packed records: statistics for batch norms"
                      " that are folded into convolutions, without which training would destroy the network")
  options = parser.parse_args(arguments)
  load_network_option(options)
  path = Path(options.file)
  if path.suffix not in IMPORTERS:
    raise ValueError(f"{path}: weights are read from files with suffix {', '.join(IMPORTERS)}")
  if not options.model and path.suffix != ".safetensors":
    parser.error(f"{path} does not name the network that it is of: say which with --model")
  saved = IMPORTERS[path.suffix](path, model=options.model, preprocess=options.preprocess)
  if options.template:
    saved = replace(saved, preprocess=changed(saved.preprocess, template=options.template))
  lineage = provenance.fill(lineage_of(saved.meta), options.licence, options.origin)
  saved = replace(saved, meta={**saved.meta, "lineage": provenance.to_json(lineage)})
  folded = len(folded_norms(saved.variables))
  if options.calibrate and folded:
    saved = calibrate_on(saved, open_faces(options.calibrate, saved.preprocess))
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
