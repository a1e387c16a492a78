"""Memory of a step that a plan predicts for forced CPU devices against what a process takes.

  python -m benchmarks.plan_memory [--json FILE]

A process with N devices compiles the step of a run, then makes the first state and takes two steps. Measured is the growth of its resident
memory from before the state to the peak of the steps. Predicted is the compiler's figure for a device, times N; and the estimate, which
needs no compiler. There is no peer.
"""

import ctypes
import functools
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.planned import CLASSES, LINEAR, start, step_on, with_devices
from benchmarks.worker import peak_memory

# Network, its options, side of images, images per device: mostly activations; and class centres with a linear network: mostly state.
CASES = [("smallresnet", {"widths": (64, 128), "units": (1, 1)}, 96, 64), ("linear", {}, 8, 64)]
DEVICES = (2, 8)


def measured(model: str, options: dict[str, Any], side: int, each: int, count: int) -> tuple[Callable[[], None], dict[str, int]]:
  """Facts of a process: bytes that it took, and those predicted."""
  import jax

  from jaxface.planning.estimate import estimate, traced

  jax.config.update("jax_enable_compilation_cache", False)
  step_of = functools.partial(step_on, model, options, side, each * count)
  compiled, init, batch = start(step_of(jax.devices("cpu")[:count]))
  memory = compiled.memory_analysis()
  guess = estimate(*traced(lambda: step_of(count))).memory
  rows = batch()
  gc.collect()
  ctypes.CDLL(None).malloc_trim(0)
  before = peak_memory("VmRSS")
  Path("/proc/self/clear_refs").write_text("5")  # resets the peak
  state = init()
  for _ in range(2):
    state, _ = jax.block_until_ready(compiled(state, rows))
  taken = peak_memory() - before + sum(leaf.nbytes for leaf in rows.values())
  each_device = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  return lambda: None, {"taken": taken, "predicted": count * each_device, "estimated": count * guess, "arguments": count * memory.argument_size_in_bytes}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 1, "not used, memory is measured once")
  options = parse_for_cpu(parser)
  rows = []
  for model, settings, side, each in CASES:
    for count in DEVICES:
      announce(f"{model} on {count} devices")
      worker = with_devices(count, measured, model, settings, side, each, count)
      worker.close()
      facts = worker.facts
      rows.append({
        "network": model, "devices": count, "batch": each * count, "state and batch MB": facts["arguments"] / 1e6, "predicted MB": facts["predicted"] / 1e6,
        "measured MB": facts["taken"] / 1e6, "predicted / measured": f"{facts['predicted'] / facts['taken']:.2f}", "estimated MB": facts["estimated"] / 1e6,
        "estimated / predicted": f"{facts['estimated'] / facts['predicted']:.2f}",
      })
  notes = [
    "Megabytes of all devices together. Predicted is what the compiler says of a device, times their number; the measured growth also"
    " contains the scratch memory of native layers and of threads, which the compiler does not know, and pages that the process had.",
    "The estimate is made for accelerators, whose compilers store fewer elementwise results than a CPU's.",
  ]
  Findings("Memory of a planned step on forced devices", machine("jax", "jaxlib"), {"identities": CLASSES, "identities of the linear network": LINEAR[0]}, rows, notes).publish(options.json)
  return 0


if __name__ == "__main__":
  sys.exit(main())
