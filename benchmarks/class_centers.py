"""A training step of the class centres alone, dense and sampled, against PyTorch, alternating in one run.

  python -m benchmarks.class_centers [--classes N] [--cases NAME ...] [--rounds N] [--eager] [--json FILE]

Each side runs complete steps on a fixed batch: a linear network with embeddings of 512, CosFace, backward, SGD with momentum and
weight decay, of the centres too. Ours is the step of `jaxface train`, which also computes the norm of the gradient and skips steps
with a gradient that is not finite. PyTorch's dense side is the usual code with the fused optimizer. Its sampled side is Partial FC
with the rows of the sampled classes gathered, and their momentum, moved and written back, so that no gradient of all classes is
made; it draws as arcface_torch does. Both are eager, and with `torch.compile`. Exits with 1 if a bar was missed.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.against_torch import SPEED, compare, measure
from benchmarks.common import equal_malloc, machine
from benchmarks.matrix_peak import NOTE
from benchmarks.options import benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.torch_sides import torch_sides
from benchmarks.worker import cores

BATCH, SIZE = 128, 512
# Of the speed; that of all tables is less.
GOAL = 2.0
# The sides draw their own numbers: the first loss has a standard deviation of 0.7 %, by the target scores of the batch.
TOLERANCE = 0.03


class Case(NamedTuple):
  """How classes are scored.

  Attributes:
    group: one class of every `group` is sampled.
    block: classes scored at once; 0 stores the scores.
  """

  group: int
  block: int


CASES = {
  "all": Case(1, 0), "all, in blocks": Case(1, 4096), "a tenth": Case(10, 0), "a tenth, in blocks": Case(10, 4096),
}


def jaxface_step(case: Case, classes: int) -> tuple[Callable[[], float], dict[str, Any]]:
  """Our compiled step; it returns the loss."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_compilation_cache", False)
  from benchmarks.head_step import start

  run, facts = start(classes, SIZE, BATCH, sample_rate=1 / case.group, block=case.block)
  return run, {**facts, "loss": run()}


def pytorch_step(case: Case, classes: int, compiled: bool = False) -> tuple[Callable[[], float], dict[str, Any]]:
  """PyTorch's step, eager unless `compiled`; it returns the loss."""
  import torch

  from benchmarks.torch_head import start

  torch.set_num_threads(cores())
  step = start(classes, SIZE, BATCH, case.group, compiled=compiled)
  return lambda: step().item(), {"loss": step().item()}


def row_of(name: str, classes: int, rounds: int, peers: list[str]) -> tuple[dict[str, Any], list[str]]:
  """A row of the table and what it missed."""
  # PyTorch's dense side needs more than 19 GB with a million classes.
  classes //= 2 if CASES[name].group == 1 else 1
  return compare(
    name, {"classes": classes, "scored": name}, jaxface_step, pytorch_step, (CASES[name], classes), fact="loss", tolerance=TOLERANCE,
    differ=f"{name}: the first loss differs", rounds=rounds, peers=peers,
    flops=6 * BATCH * (classes / CASES[name].group) * SIZE,
  )


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 9, "timed steps of each side", eager=True)
  parser.add_argument("--classes", type=int, default=1_000_000, help="half of them where all are scored (default: %(default)s)")
  parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
  options = parse_for_cpu(parser)
  peers = torch_sides(options.eager)
  rows, missed, verdict = measure(options.cases, lambda name: row_of(name, options.classes, options.rounds, peers), peers=peers)
  notes = [
    SPEED,
    NOTE,
    "\"in blocks\" recomputes the scores of blocks of 4,096 classes; PyTorch stores them. Temporaries are the memory of our compiled"
    " step beside the state, which it updates in place; peak memory is the maximum of a side's process.",
    f"{verdict} Own goal: {GOAL} ×.",
  ]
  facts = {"batch": BATCH, "features": SIZE, "threads": cores(), "rounds": options.rounds}
  Findings("Class centres", machine("jax", "jaxlib", "torch"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
