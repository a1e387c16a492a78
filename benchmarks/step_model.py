"""The planned time of a training step against the measured one on this CPU, for four networks.

  python -m benchmarks.step_model [--nets NAME ...] [--rounds N] [--json FILE]

The plan's model: each operation of the traced step takes the longer of its products at peak speed and its bytes at the memory's full speed.
Both speeds are measured in the same run, in turns with the steps: a matrix product of 1,536 × 1,536, and a sum of two arrays of 128 MB.
Seconds are of the processors, so that other programs on the cores change them little. A real step is slower than this bound: the second
prediction multiplies it by the factor of the other three networks. There is no peer.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.planned import CLASSES, start, step_on
from benchmarks.worker import Worker, cores

# Network, its options, side of images, images of a step.
NETS: dict[str, tuple[str, dict[str, Any], int, int]] = {
  "smallresnet": ("smallresnet", {}, 96, 16),
  "iresnet of 4 units": ("iresnet", {"units": (1, 1, 1, 1), "width": 0.5}, 112, 8),
  "deepid": ("deepid", {}, 0, 256),
  "vit of 2 blocks": ("vit", {"channels": 256, "depth": 2, "heads": 4}, 112, 16),
}
SIDE, LENGTH = 1536, 32_000_000


def products() -> tuple[Callable[[], None], dict[str, Any]]:
  """A matrix product in XLA."""
  import jax
  import jax.numpy as jnp

  a = jnp.ones((SIDE, SIDE))
  run = jax.jit(lambda a: a @ a)

  def work() -> None:
    jax.block_until_ready(run(a))

  return work, {}


def memory() -> tuple[Callable[[], None], dict[str, Any]]:
  """A sum of two arrays into a third."""
  import jax
  import jax.numpy as jnp

  a, b = jnp.ones(LENGTH), jnp.ones(LENGTH)
  run = jax.jit(lambda a, b, out: a + b, donate_argnums=2)
  out = jnp.zeros(LENGTH)

  def work() -> None:
    nonlocal out
    out = jax.block_until_ready(run(a, b, out))

  return work, {}


def step(net: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """A training step; the facts are the operations of its trace, products and bytes of each."""
  import jax

  jax.config.update("jax_enable_compilation_cache", False)
  from jaxface.planning.estimate import estimate, traced

  found = estimate(*traced(lambda: step_on(*NETS[net], 1)))
  compiled, init, batch = start(step_on(*NETS[net], jax.devices("cpu")[:1]))
  state, rows = init(), batch()

  def run() -> None:
    nonlocal state
    state, _ = jax.block_until_ready(compiled(state, rows))

  return run, {"tasks": [(one.flops, one.nbytes, one.times) for one in found.tasks]}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 7, "timed steps of each side")
  parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS), help="default: all")
  options = parse_for_cpu(parser)
  tasks, sides = {}, {"products": Worker(products), "memory": Worker(memory)}
  for net in options.nets:
    announce(net)
    sides[net] = Worker(step, net)
    tasks[net] = sides[net].facts["tasks"]
  announce("measuring in turns")
  timing = interleave(sides, rounds=options.rounds, warmup=2)
  for one in sides.values():
    one.close()
  middle = {name: float(np.median(seconds)) for name, seconds in timing.cpu.items()}
  flops, bandwidth = 2 * SIDE**3 / middle["products"], 3 * 4 * LENGTH / middle["memory"]
  bound = {net: sum(times * max(f / flops, b / bandwidth) for f, b, times in tasks[net]) for net in options.nets}
  factor = {net: middle[net] / bound[net] for net in options.nets}
  rows = []
  for net in options.nets:
    others = [factor[other] for other in options.nets if other != net] or [1.0]
    guess = bound[net] * float(np.exp(np.mean(np.log(others))))
    work = sum(times * f for f, _, times in tasks[net])
    rows.append({
      "network": net, "batch": NETS[net][3], "GFLOP": work / 1e9, "GB": sum(times * b for _, b, times in tasks[net]) / 1e9,
      "measured ms": 1e3 * middle[net], "bound ms": 1e3 * bound[net], "measured / bound": f"{factor[net]:.2f}", "predicted ms": 1e3 * guess,
      "error": f"{100 * (guess / middle[net] - 1):+.0f} %", "wall ms": 1e3 * float(np.median(timing.wall[net])),
      "share of peak": f"{100 * work / flops / middle[net]:.0f} %",
    })
  errors = [abs(float(row["error"].split()[0])) for row in rows]
  notes = [
    f"Peak of the run: {flops / 1e9:.0f} GFLOP and {bandwidth / 1e9:.1f} GB per second of processor time, float32.",
    "Milliseconds are of processor time of both cores, but for the wall time. Predicted is the bound times the geometric mean of what the"
    " other networks take beside their bounds.",
    f"Error of the predictions: at most {max(errors):.0f} %, in the mean {np.mean(errors):.0f} %.",
  ]
  facts = {"identities": CLASSES, "threads": cores(), "rounds": options.rounds}
  Findings("Planned time of a training step", machine("jax", "jaxlib"), facts, rows, notes).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
