"""Time and memory of a training step against the number of identities, and the memory of a run's start and resume.

  python -m benchmarks.class_growth [--largest N] [--rounds N] [--json FILE]

The step of `benchmarks.class_centers` with one class of ten sampled, in blocks, on one device. There is no peer in it: the figures say
how a step grows, see docs/scale.md. The last lines are of 1,000,000 identities: the peak of a process that makes the first state, and
of one that reads it from a checkpoint. Exits with 1 if a bar was missed.
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores, peak_memory

BATCH, GROUP, BLOCK = 128, 10, 4096
# Classes and features; ten million of 512 features would need 41 GB here.
SIZES = [(10_000, 128), (100_000, 128), (1_000_000, 128), (10_000_000, 128), (10_000, 512), (100_000, 512), (1_000_000, 512)]
LARGE = (1_000_000, 512)
# Temporaries in bytes and peak memory relative to the state, of `LARGE`.
TEMPORARIES, PEAK = 100e6, 1.3


def step(classes: int, size: int) -> tuple[Callable[[], float], dict[str, Any]]:
  """A step in blocks with sampled classes."""
  from benchmarks.head_step import start

  run, facts = start(classes, size, BATCH, sample_rate=1 / GROUP, block=BLOCK)
  return run, {**facts, "loss": run()}


def head_and_states(classes: int, size: int, folder: str) -> tuple[Any, Any]:
  """The head of `step` on one device, and the checkpoints in a folder."""
  from benchmarks.head_step import head_step
  from jaxface.checkpoint import Checkpoints
  from jaxface.training.config import MeshConfig
  from jaxface.training.mesh import make_mesh

  head = head_step(classes, size, BATCH, make_mesh(MeshConfig(devices=1)), sample_rate=1 / GROUP, block=BLOCK)
  return head, Checkpoints(folder)


def saved(classes: int, size: int, folder: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """Writes a first state as a checkpoint; the work is nothing."""
  import jax

  head, states = head_and_states(classes, size, folder)
  states.save(0, jax.jit(head.step.init, out_shardings=head.shardings)(jax.random.key(0)))
  states.close()
  return lambda: None, {}


def restored(classes: int, size: int, folder: str) -> tuple[Callable[[], None], dict[str, Any]]:
  """Reads that checkpoint; the facts are the process's memory before and at its peak."""
  import jax

  head, states = head_and_states(classes, size, folder)
  state = jax.block_until_ready(states.restore(head.state))
  facts = {"peak": peak_memory(), "step": int(state.step)}
  states.close()
  return lambda: None, facts


def grown(classes: int, size: int, rounds: int) -> tuple[dict[str, Any], dict[str, int]]:
  """A row of the table, and the facts of the worker."""
  worker = Worker(step, classes, size)
  timing = interleave({"step": worker}, rounds=rounds, warmup=2)
  peak = worker.close()
  row = {
    "identities": classes, "features": size, "step ms": 1e3 * float(np.median(timing.wall["step"])),
    "processor ms": 1e3 * float(np.mean(timing.cpu["step"])), "state MB": worker.facts["state"] / 1e6,
    "temporaries MB": worker.facts["temporaries"] / 1e6, "peak MB": peak / 1e6,
  }
  return row, worker.facts


def peaks(facts: dict[str, int]) -> dict[str, float]:
  """Peak memory relative to the state when `LARGE` starts and when it resumes."""
  with tempfile.TemporaryDirectory() as folder:
    Worker(saved, *LARGE, folder).close()
    reader = Worker(restored, *LARGE, folder)
    reader.close()
  return {"start": facts["initial peak"] / facts["state"], "resume": reader.facts["peak"] / facts["state"]}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 7, "timed steps of each size")
  parser.add_argument("--largest", type=int, default=SIZES[3][0], help="leave out more identities than this (default: %(default)s)")
  options = parse_for_cpu(parser)
  rows, missed, notes = [], [], []
  for classes, size in SIZES:
    if classes > options.largest:
      continue
    announce(f"{classes:,} identities of {size} features")
    row, facts = grown(classes, size, options.rounds)
    rows.append(row)
    if (classes, size) == LARGE:
      announce("its checkpoint")
      found = peaks(facts)
      notes.append(
        f"{classes:,} identities of {size} features: temporaries {facts['temporaries'] / 1e6:.0f} MB (bar {TEMPORARIES / 1e6:.0f}); peak memory of"
        f" the whole process relative to the state: {found['start']:.2f} when a run starts, {found['resume']:.2f} when it resumes (bar {PEAK})."
      )
      missed += ["temporaries"] * (facts["temporaries"] > TEMPORARIES) + [name for name, ratio in found.items() if ratio > PEAK]
  notes += [
    "Temporaries are the memory of the compiled step beside the state, which it updates in place. Peak memory is the maximum of the"
    " process, with Python, JAX and the compiler.",
    f"Bars: {'missed: ' + ', '.join(missed) if missed else 'met'}.",
  ]
  facts = {"batch": BATCH, "sampled": f"1/{GROUP}", "block": BLOCK, "threads": cores(), "rounds": options.rounds}
  Findings("Growth with the number of identities", machine("jax", "jaxlib"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
