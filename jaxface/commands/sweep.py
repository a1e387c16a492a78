"""Figures of a model on a pair list at several levels of image quality or embedding size, or of several models by a quantity.

  jaxface sweep --model models/mobilefacenet --images LFW_ALIGNED --pairs pairs.txt --jpeg 10,20,30,50,70,90 --out sweeps/lfw
  jaxface sweep --model models/mobilefacenet --images LFW_ALIGNED --pairs pairs.txt --jpeg --pixels --pca --out sweeps/lfw
  jaxface sweep --model runs/a runs/b runs/c --images LFW_ALIGNED --pairs pairs.txt --by flops --out sweeps/nets

An axis without levels takes those of FaceNet's tables, where it has one. Finished levels are kept in --out: the same command goes on
where it was stopped, and further axes and levels reuse the embeddings. docs/sweeps.md explains the figures and the files.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxface.evaluation.protocols.registry import PROTOCOLS
from jaxface.options import add_mirror, add_network, add_template, load_network
from jaxface.pipeline.say import say
from jaxface.pipeline.sweeps.axes import AXES, BY
from jaxface.pipeline.sweeps.model import DEGRADE
from jaxface.pipeline.sweeps.run import sweep


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, sweep, print."""
  parser.add_argument("--model", required=True, nargs="+", metavar="DIR", help="model directory, or workdir of a training run; several for --by")
  add_network(parser)
  given = parser.add_mutually_exclusive_group(required=True)
  given.add_argument("--images", metavar="DIR", help="folder of aligned images, searched to any depth")
  given.add_argument("--records", metavar="DIR", help="packed records")
  parser.add_argument("--pairs", required=True, metavar="PATH", help="pair list, such as LFW's pairs.txt, or what the protocol reads")
  parser.add_argument("--protocol", choices=PROTOCOLS, default="pairs", help="rules of the list, see docs/protocols.md (default: any pair list)")
  parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results and of finished levels")
  for name, axis in AXES.items():
    usual = ",".join(f"{level:g}" for level in axis.levels)
    parser.add_argument(f"--{name}", nargs="?", const="", type=_levels, metavar="A,B,…", help=f"{axis.what} (default levels: {usual})")
  parser.add_argument("--by", type=_names, default=(), metavar="WHAT", help=f"one level per model: {', '.join(BY)}")
  parser.add_argument("--degrade", choices=DEGRADE, default="both", help="change both images of a pair, or the left one (default: both)")
  parser.add_argument(
    "--pca-from", metavar="FILE", help="embeddings of other images, of `jaxface embed`, to fit principal components on (default: the"
    " images of the other folds)",
  )
  add_mirror(parser, "sum")
  add_template(parser, "alignment template of --images, if known (default: unknown)")
  parser.add_argument("--seed", type=int, default=0, metavar="N", help="of noise and places (default: 0)")
  parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="images per batch (default: 128)")
  parser.add_argument("--devices", type=int, default=0, metavar="N", help="number of this host's devices to use (default: all)")
  parser.add_argument("--skip-missing", action="store_true", help="ignore pairs of images that are not there, with a note (default: error)")
  options = parser.parse_args(arguments)
  load_network(options)
  axes = {name: getattr(options, name) or None for name in AXES if getattr(options, name) is not None}
  found = sweep(
    options.model, options.records or options.images, options.pairs, options.out, axes=axes, by=options.by, protocol=options.protocol,
    degrade=options.degrade, pca_from=options.pca_from, mirror=options.mirror, template=options.template, seed=options.seed,
    batch_size=options.batch_size, devices=options.devices, skip_missing=options.skip_missing, progress=sys.stderr.isatty(), say=say,
  )
  for note in dict.fromkeys(note for one in found for note in one.notes):
    print(f"note: {note}", file=sys.stderr)
  for one in found:
    print(f"\n{one}")
  print(f"\nfigures: {options.out}/*.json, charts and pictures: {options.out}/sweeps.html")
  return 0


def _levels(text: str) -> Sequence[float]:
  try:
    return tuple(float(part) for part in text.split(",") if part.strip())
  except ValueError:
    raise argparse.ArgumentTypeError(f"{text!r} should be numbers separated by commas, such as 10,20,30") from None


def _names(text: str) -> Sequence[str]:
  return tuple(part.strip() for part in text.split(",") if part.strip())
