"""Triplet losses: exact semi-hard mining against the cubic form, batch-hard against pytorch-metric-learning.

  python -m benchmarks.triplets [--batches N ...] [--rounds N] [--eager] [--json FILE]

Each figure is the value and the gradient with respect to the embeddings: 128-d, including normalisation, margin 0.2, 30
images of each identity. The cubic form is semi-hard mining by definition, on a B × B × B array under `jit`, differentiated by
JAX, in blocks of rows: the whole array is slower, and soon exceeds the memory.
Bars: 100 × at B = 1,024, 120 × at 1,800; batch-hard 3 ×, against both of its sides; no more peak memory than the peer.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.torch_sides import COMPILED, EAGER, MEMORY, torch_sides
from benchmarks.worker import Worker, cores

IMAGES, SIZE, MARGIN = 30, 128, 0.2
METRIC_LEARNING = "pytorch-metric-learning"
# Batch sizes with the bar against the cubic form; None: only ours.
SEMI_HARD = {1024: 100.0, 1800: 120.0, 4096: None}
BATCH_HARD = {1024: 3.0, 1800: 3.0}
# Number of elements of the B × B × B array in a block: larger blocks are slower.
BLOCK = 2**26

NOTES = [
  "Ratios are medians over rounds, with quartiles in brackets; the ratio of processor time is more reliable if other programs"
  " used the cores.",
  "The cubic form finds, for all pairs at once, the nearest farther negative in a B × B × B array, and is the same loss:"
  " both values are compared. It is computed in blocks of rows, which is faster than at once.",
  "Batch-hard is pytorch-metric-learning's BatchHardMiner and TripletMarginLoss with LpDistance(power=2): the same loss"
  " (its average over losses above zero is our \"active\"), and both values are compared. Its semi-hard miner uses all"
  " negatives inside the margin and has no counterpart.",
  "Temporaries are the memory of the compiled function without arguments and results; B² is the size of one B × B array.",
]


def batch_of(size: int) -> tuple[np.ndarray, np.ndarray]:
  """Embeddings [B, D] float32 of a half-trained net, and labels [B] int32."""
  random = np.random.default_rng(0)
  label_b = np.arange(size, dtype=np.int32) // IMAGES
  center_cd = 0.5 * random.normal(size=(label_b[-1] + 1, SIZE))
  return (center_cd[label_b] + random.normal(size=(size, SIZE))).astype(np.float32), label_b


def compiled(loss: Callable, size: int) -> tuple[Callable[[], float], dict[str, Any]]:
  """Compiled value and gradient of a loss (embeddings, labels); the work returns the value."""
  import jax

  embedding_bd, label_b = map(jax.device_put, batch_of(size))
  run = jax.jit(jax.value_and_grad(loss)).lower(embedding_bd, label_b).compile()

  def work() -> float:
    return float(jax.block_until_ready(run(embedding_bd, label_b))[0])

  return work, {"temporaries": run.memory_analysis().temp_size_in_bytes}


def jaxface_loss(size: int, mining: str) -> tuple[Callable[[], float], dict[str, Any]]:
  """Ours."""
  from jaxface.losses.triplets import triplet_loss

  return compiled(lambda x_bd, label_b: triplet_loss(x_bd, label_b, mining=mining, margin=MARGIN).mean(), size)


def cubic_loss(size: int) -> tuple[Callable[[], float], dict[str, Any]]:
  """Semi-hard mining by definition, on all triplets at once."""
  import jax
  import jax.numpy as jnp
  from jax import lax

  from jaxface.losses.distances import squared_l2
  from jaxface.losses.unit import unit_rows

  # The largest divisor of the batch whose block fits.
  rows = max(r for r in range(1, size + 1) if size % r == 0 and r * size * size <= BLOCK)

  def cost(distance_rb: jax.Array, row_r: jax.Array, label_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    other_rb = label_b[row_r][:, None] != label_b[None, :]
    pair_rb = ~other_rb & (row_r[:, None] != jnp.arange(size)[None, :])
    candidate_rbb = other_rb[:, None, :] & (distance_rb[:, None, :] > distance_rb[:, :, None])
    near_rb = jnp.where(candidate_rbb, distance_rb[:, None, :], jnp.inf).min(axis=2)
    violation_rb = distance_rb - near_rb + MARGIN
    active_rb = pair_rb & (violation_rb > 0)
    return jnp.where(active_rb, violation_rb, 0.0).sum(), active_rb.sum()

  @jax.custom_vjp
  def mean(distance_bb: jax.Array, label_b: jax.Array) -> jax.Array:
    return forward(distance_bb, label_b)[0]

  def forward(distance_bb: jax.Array, label_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    def block(item: tuple[jax.Array, jax.Array]) -> tuple:
      return jax.value_and_grad(cost, has_aux=True)(*item, label_b)

    blocks = distance_bb.reshape(-1, rows, size), jnp.arange(size).reshape(-1, rows)
    (total_k, active_k), slope_krb = lax.map(block, blocks)
    active = jnp.maximum(active_k.sum(), 1)
    return total_k.sum() / active, slope_krb.reshape(size, size) / active

  mean.defvjp(forward, lambda slope_bb, bar: (bar * slope_bb, None))
  return compiled(lambda x_bd, label_b: mean(squared_l2(unit_rows(x_bd)[0]), label_b), size)


def metric_learning_loss(size: int, compiled: bool) -> tuple[Callable[[], float], dict[str, Any]]:
  """pytorch-metric-learning's batch-hard, eager unless `compiled`: then in parts, since its shapes depend on the numbers."""
  import torch
  from pytorch_metric_learning.distances import LpDistance
  from pytorch_metric_learning.losses import TripletMarginLoss
  from pytorch_metric_learning.miners import BatchHardMiner

  torch.set_num_threads(cores())
  embedding_bd, label_b = map(torch.from_numpy, batch_of(size))
  embedding_bd.requires_grad_()
  distance = LpDistance(power=2)
  miner, loss = BatchHardMiner(distance=distance), TripletMarginLoss(margin=MARGIN, distance=distance)

  def loss_of(embedding_bd: torch.Tensor) -> torch.Tensor:
    return loss(embedding_bd, label_b, miner(embedding_bd, label_b))

  if compiled:
    loss_of = torch.compile(loss_of)

  def run() -> float:
    embedding_bd.grad = None
    value = loss_of(embedding_bd)
    value.backward()
    return value.item()

  return run, {}


def compare(mining: str, size: int, peer: str, build: Callable | None, bar: float | None, rounds: int) -> dict[str, Any]:
  """A row of the table: both sides in their own processes, alternating."""
  sides = {"jaxface": Worker(jaxface_loss, size, mining)}
  if build is not None:
    sides[peer] = Worker(build, size)
    values = {name: side() for name, side in sides.items()}
    if not np.allclose(values["jaxface"], values[peer], rtol=1e-3):
      raise AssertionError(f"{mining}, B = {size}: the sides are not the same loss: {values}")
  timing = interleave(sides, rounds=rounds)
  temporaries = sides["jaxface"].facts["temporaries"]
  peak = {name: side.close() for name, side in sides.items()}
  row: dict[str, Any] = {
    "mining": mining, "batch": size, "jaxface ms": 1e3 * float(np.median(timing.wall["jaxface"])),
    "temporaries MB": temporaries / 1e6, "temporaries / B²": temporaries / (4 * size * size),
    "peak MB": peak["jaxface"] / 1e6,
    "peer": "", "peer ms": "", "peer peak MB": "", "times as fast": "", "by CPU time": "", "bar": "",
  }
  if build is not None:
    middle, low, high = speedup(timing.wall, "jaxface", peer)
    by_cpu = speedup(timing.cpu, "jaxface", peer)[0]
    row |= {
      "peer": peer, "peer ms": 1e3 * float(np.median(timing.wall[peer])), "peer peak MB": peak[peer] / 1e6,
      "times as fast": f"{middle:.1f} ({low:.1f}–{high:.1f})", "by CPU time": f"{by_cpu:.1f}",
      "bar": f"{bar:g} × {'met' if middle >= bar else 'MISSED'}" + (", memory MISSED" if peak["jaxface"] > MEMORY * peak[peer] else ""),
    }
  return row


def main() -> int:
  """Measures and prints; 1 if a bar was missed."""
  parser = benchmark_parser(__doc__, 5, "of the cubic form, others four times as many", eager=True)
  parser.add_argument("--batches", type=int, nargs="+", default=[], help="only these sizes (default: all)")
  options = parse_for_cpu(parser)
  plan: list[tuple[str, int, str, Callable | None, float | None]] = [("semi_hard", size, "cubic form", cubic_loss if bar else None, bar) for size, bar in SEMI_HARD.items()]
  if has("torch") and has("pytorch_metric_learning"):
    plan += [
      ("hard", size, METRIC_LEARNING if peer == EAGER else f"{METRIC_LEARNING}, {COMPILED}", partial(metric_learning_loss, compiled=peer == COMPILED), bar)
      for size, bar in BATCH_HARD.items() for peer in torch_sides(options.eager)
    ]
  rows = []
  for mining, size, peer, build, bar in plan:
    if options.batches and size not in options.batches:
      continue
    announce(f"{mining} {size}")
    rounds = options.rounds if build is cubic_loss else 4 * options.rounds
    rows.append(compare(mining, size, peer, build, bar, rounds))
  facts = {"embedding": SIZE, "images per identity": IMAGES, "threads": cores()}
  versions = machine("jax", "jaxlib", "torch", "pytorch-metric-learning")
  Findings("Triplet mining, value and gradient", versions, facts, rows, NOTES).publish(options.json)
  return int(any("MISSED" in row["bar"] for row in rows))


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
