"""One optimizer step of jaxface against the same step in PyTorch, alternating in one run.

  python -m benchmarks.training [--nets NAME ...] [--dtypes NAME ...] [--batch N] [--rounds N] [--eager] [--json FILE]

Both sides have a fixed batch of uint8 images and run a complete step: normalise, forward, CosFace over 5,000 identities,
backward, SGD with momentum and weight decay. Augmentation is off. Ours is the step of `jaxface train`, which
also computes the norm of the gradient and guards against non-finite gradients. PyTorch runs the same network channels last,
with a thread per core and the fused optimizer, eager and with `torch.compile`; its bfloat16 is autocast. Exits with 1 if a bar
was missed against the faster of the two, or a row takes more memory than the smaller one; `--eager` skips `torch.compile`. A matrix
product takes turns with them: rows have the share of its speed.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.matrix_peak import NOTE, PRODUCT, product_side, share_cells
from benchmarks.nets import NETS, multiply_adds, same_parameters
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.torch_sides import COMPILED, missed_by, torch_sides, verdict, verdict_cells
from benchmarks.worker import Worker, cores

DTYPES = ("float32", "bfloat16")
CLASSES = 5000

NOTES = [
  "Speed is images/s of jaxface divided by images/s of PyTorch, per round: median, and quartiles in brackets. The ratio of"
  " processor time is more reliable if other programs used the cores. The peer of a row is PyTorch's faster side; memory is compared with"
  " its smaller side.",
  NOTE,
  "Both of PyTorch's sides are channels last and use the fused optimizer; bfloat16 is autocast. PyTorch's oneDNN is newer than"
  " ours. There is no Intel extension for this version.",
  "half_iresnet18 is iresnet18 with half the channels, on images of 64 × 64.",
  "Compilation is cold: tracing, lowering and compiling the step without a persistent cache. torch.compile's seconds are those"
  " of its first step, with its existing cache on disk.",
  "Temporaries are the memory of the compiled step without arguments and results; peak memory is the maximum of a side's"
  " process, including libraries and compilation.",
]


def jaxface_step(
  net: str, dtype: str, batch_size: int, formulation: str | None = None
) -> tuple[Callable[[], float], dict[str, Any]]:
  """Our compiled step; it returns the loss.

  Args:
    net: a key of `NETS`.
    dtype: "float32" or "bfloat16".
    batch_size: images.
    formulation: formulation of the layers in this process; None for that of training.
  """
  import jax

  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_compilation_cache", False)
  from benchmarks.net_step import ready
  from jaxface.layers.formulation import VARIABLE, current_formulation

  if formulation is not None:
    os.environ[VARIABLE] = formulation
  compiled, state, batch, parameters, seconds = ready(NETS[net], CLASSES, dtype, batch_size)

  def run() -> float:
    nonlocal state
    state, metrics = jax.block_until_ready(compiled(state, batch))
    if int(metrics["bad_steps"]):
      raise AssertionError("a step was not finite and was skipped: the timing is not of training")
    return float(metrics["loss"])

  classes_by_size = CLASSES * state.params["terms"][0]["center_cd"].shape[1]
  return run, {
    "flops": 6 * batch_size * (multiply_adds(NETS[net]) + classes_by_size),
    "formulation": current_formulation(),
    "parameters": parameters,
    "compile_seconds": seconds,
    "temporaries": compiled.memory_analysis().temp_size_in_bytes,
  }


def pytorch_step(
  net: str, dtype: str, batch_size: int, compiled: bool = False
) -> tuple[Callable[[], float], dict[str, Any]]:
  """PyTorch's step, eager unless `compiled`; it returns the loss."""
  import torch

  from benchmarks.torch_step import ready

  torch.set_num_threads(cores())
  # Flush denormals, as XLA does on its threads.
  torch.set_flush_denormal(True)
  step, facts = ready(NETS[net], CLASSES, dtype, batch_size, compiled)
  return lambda: step().item(), facts


def compare(
  net: str, dtype: str, batch_size: int, rounds: int, peers: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
  """A row of the table and what it missed: the sides in their own processes, alternating with a matrix product."""
  sides = {"jaxface": Worker(jaxface_step, net, dtype, batch_size)}
  sides |= {peer: Worker(pytorch_step, net, dtype, batch_size, peer == COMPILED) for peer in peers}
  parameters = same_parameters(net, {name: side.facts["parameters"] for name, side in sides.items()})
  product = Worker(product_side, dtype)
  timing = interleave({**sides, PRODUCT: product}, rounds=rounds)
  product.close()
  ours = sides["jaxface"].facts
  peak = {name: side.close() for name, side in sides.items()}
  row: dict[str, Any] = {"network": net, "type": dtype, "batch": batch_size, "parameters": parameters}
  row |= {f"{name} images/s": batch_size / float(np.median(timing.wall[name])) for name in sides}
  speed, by_cpu = ({peer: speedup(seconds, "jaxface", peer) for peer in peers} for seconds in (timing.wall, timing.cpu))
  row |= verdict_cells(speed, by_cpu, peak)
  row |= share_cells(ours["flops"], timing.wall, product.facts["flops"], list(sides))
  row |= {"convolutions": ours["formulation"], "compile s": ours["compile_seconds"]}
  if COMPILED in sides:
    row[f"{COMPILED} s"] = sides[COMPILED].facts["first_seconds"]
  row["temporaries MB"] = ours["temporaries"] / 1e6
  row |= {f"{name} peak MB": peak[name] / 1e6 for name in sides}
  return row, missed_by(f"{net} in {dtype}", speed, peak)


def main() -> int:
  """Measures and prints; exits with 1 if a bar is missed."""
  parser = benchmark_parser(__doc__, 7, "timed steps of each side", eager=True)
  parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS), help="default: all")
  parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES), help="default: both")
  sizes = ", ".join(f"{name} {net.batch}" for name, net in NETS.items())
  parser.add_argument("--batch", type=int, help=f"images per step (default: {sizes})")
  options = parse_for_cpu(parser)
  peers = torch_sides(options.eager)
  rows, missed = [], []
  for net in options.nets:
    for dtype in options.dtypes:
      announce(f"{net} {dtype}")
      row, wrong = compare(net, dtype, options.batch or NETS[net].batch, options.rounds, peers)
      rows.append(row)
      missed += wrong
  facts = {"identities": CLASSES, "threads": cores(), "rounds": options.rounds}
  versions = machine("jax", "jaxlib", "torch")
  Findings("Training step", versions, facts, rows, [*NOTES, verdict(missed, peers)]).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
