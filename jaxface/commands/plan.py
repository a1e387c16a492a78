"""Say whether a run fits devices that need not be here, how fast it should be, and what it costs.

  jaxface plan arcface_r50 --topology v5e:16x16 --identities 10000000 --batch_size 8192 --model.dtype bfloat16
  jaxface plan arcface_r50 --topology v5p:4x4x4 --identities 1000000 --images 50000000 --price 4.20 --out plan.html --batch_size 8192
  jaxface plan quickstart --topology cpu:8
  jaxface plan arcface_r50 --topology gpu:h100x8 --identities 1000000

The step of `jaxface train` is compiled for the topology, and the compiled program is read: for a TPU by libtpu (pip install
'jaxface[plan]'), for cpu:N by a process with N forced devices. A large network takes minutes; results are kept. --estimate compiles
nothing, and takes seconds. If the run does not fit, settings that need less memory are tried, by the estimate. docs/plan.md says what is
measured and what is assumed. Exits with 1 if the run does not fit.
"""

import argparse
import shlex
import sys

from jaxface.commands.train import parse_overrides
from jaxface.options import add_network
from jaxface.planning import plan_lines, plan_run

RERUN = "steps that were compiled are kept; the same command compiles the others again"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, plan, print."""
  parser.add_argument("experiment", metavar="EXPERIMENT", help="name or path, as for jaxface train")
  parser.add_argument("--topology", required=True, metavar="NAME", help="devices: v4:4x4x4, v5e:16x16, v5p:4x4x4, v6e:16x16, cpu:8, gpu:h100x8")
  parser.add_argument("--identities", type=int, default=0, metavar="N", help="of the training set (default: those of the data)")
  parser.add_argument("--images", type=int, default=0, metavar="N", help="of an epoch (default: those of the data)")
  parser.add_argument("--price", type=float, default=0.0, metavar="P", help="of one device for an hour")
  parser.add_argument("--estimate", action="store_true", help="compile nothing")
  parser.add_argument("--settings", action="store_true", help="try settings that need less memory even if the run fits")
  parser.add_argument("--small", action="store_true", help="the experiment's small form")
  parser.add_argument("--out", metavar="FILE", help="also write an HTML page")
  parser.add_argument("--json", metavar="FILE", help="also write all figures")
  add_network(parser)
  parser.add_argument("--ANY.FIELD", metavar="VALUE", help="set any field of the experiment, for example --batch_size 8192")
  options, rest = parser.parse_known_args(arguments)
  found = plan_run(
    options.experiment, options.topology, identities=options.identities, images=options.images, price=options.price, small=options.small,
    overrides=parse_overrides(rest), network=options.network, compiling=not options.estimate, settings=options.settings or None,
    out=options.out, json=options.json, command=shlex.join(["jaxface", "plan", *arguments]), say=lambda line: print(line, file=sys.stderr),
  )
  print("\n".join(plan_lines(found)))
  return 1 if found.fits is False else 0
