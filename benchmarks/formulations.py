"""Our training step with each formulation of its layers: oneDNN, the pure formulations, and XLA's operations.

  python -m benchmarks.formulations [--nets NAME ...] [--dtype NAME] [--batch N] [--rounds N] [--json FILE]

The step of `benchmarks.training` in processes that differ in one environment variable, JAXFACE_CPU_CONV, and alternate.
The batch is a quarter of that there, because plain XLA is slow and needs much memory. There is no bar: this shows the effect of
the native library, and the speed without it.
"""

import sys
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.nets import NETS
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.training import jaxface_step
from benchmarks.worker import Worker, cores

SIDES = ("onednn", "pure", "xla")
# iresnet50 has the same layers as iresnet18, but more of them.
DEFAULT = [name for name in NETS if name != "iresnet50"]

NOTES = [
  "JAXFACE_CPU_CONV is onednn, pure or xla. Speed is images/s of oneDNN divided by images/s of the other, per round:"
  " median, and quartiles in brackets.",
  "There is no bar.",
]


def compare(net: str, dtype: str, batch_size: int, rounds: int) -> dict[str, Any]:
  """A row of the table."""
  sides = {name: Worker(jaxface_step, net, dtype, batch_size, name) for name in SIDES}
  timing = interleave(sides, rounds=rounds)
  row: dict[str, Any] = {"network": net, "type": dtype, "batch": batch_size}
  row |= {f"{name} images/s": batch_size / float(np.median(timing.wall[name])) for name in sides}
  row |= {f"onednn / {peer}": str(speedup(timing.wall, "onednn", peer)) for peer in SIDES[1:]}
  row |= {f"{name} compile s": side.facts["compile_seconds"] for name, side in sides.items()}
  return row | {f"{name} peak MB": side.close() / 1e6 for name, side in sides.items()}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 3, "timed steps of each")
  parser.add_argument("--nets", nargs="+", choices=list(NETS), default=DEFAULT, help=f"default: {DEFAULT}")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default: %(default)s")
  parser.add_argument("--batch", type=int, help="images per step (default: a quarter of that in benchmarks.training)")
  options = parse_for_cpu(parser)
  rows = []
  for net in options.nets:
    announce(net)
    rows.append(compare(net, options.dtype, options.batch or NETS[net].batch // 4, options.rounds))
  facts = {"threads": cores(), "rounds": options.rounds}
  Findings("Formulations of the training step", machine("jax", "jaxlib"), facts, rows, NOTES).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
