"""Exact TAR at FAR over all pairs against the bare matrix product of the same size, alternating in one run; and its memory.

  python -m benchmarks.all_pairs [--rounds N] [--json FILE]

The bare side multiplies the same tiles with the same function of JAX and discards the scores. Exits with 1 if the bar was missed. The time
of 10¹² pairs is extrapolated from the largest set: the number of tiles grows as the square of the embeddings, and the scores
collected in memory are bounded.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores, peak_memory

TARGETS = [1e-3, 1e-4, 1e-6]
# Embeddings, features, images of each identity; the second has the shape of LFW, 13,233 images and 87.5 million pairs.
SETS = [(13_233, 128, 2), (13_233, 512, 2), (40_000, 512, 10)]
BAR, GOAL = 0.5, 0.8
FLAT = [10_000, 100_000, 1_000_000]
FEATURES = 64


def embeddings(count: int, size: int, images: int) -> tuple[np.ndarray, np.ndarray]:
  """Unit embeddings [N, D] of people with `images` each, and their identities."""
  random = np.random.default_rng(0)
  identity = np.arange(count) // images
  made = random.standard_normal((identity[-1] + 1, size), np.float32)[identity] + random.standard_normal((count, size), np.float32)
  return made / np.linalg.norm(made, axis=1, keepdims=True), identity


def exact_side(count: int, size: int, images: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """Ours."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  from jaxface.evaluation import all_pairs

  made = embeddings(count, size, images)
  return lambda: all_pairs(*made, TARGETS) and None, {}


def product_side(count: int, size: int, images: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """The matrix product alone."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  from jaxface.evaluation.pair_tiles import TILE

  made, _ = embeddings(count, size, images)
  panels = -(-count // TILE)
  parts = [jax.device_put(np.resize(made[at * TILE :], (TILE, size))) for at in range(panels)]
  product = jax.jit(lambda a, b: a @ b.T)

  def run() -> None:
    for row in range(panels):
      for column in range(row, panels):
        product(parts[row], parts[column]).block_until_ready()

  return run, {}


def memory_side(count: int, size: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """Memory beside the embeddings, of one panel against all others."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  from jaxface.evaluation import pair_tiles

  made, identity = embeddings(count, size, 4)
  tiles = pair_tiles.Tiles(made, np.arange(count), identity, jax.local_devices())
  # The first row of tiles alone: all have the same shape and need the same memory.
  tiles._places = lambda: ((0, column, tiles.devices[0]) for column in range(tiles.panels))  # type: ignore[method-assign]
  before = peak_memory("VmRSS")
  tiles.passed(np.array([0.5], np.float32), np.array([np.inf], np.float32))
  return lambda: None, {"beside": peak_memory() - before}


def main() -> int:
  """Measures and prints."""
  options = parse_for_cpu(benchmark_parser(__doc__, 5, "timed runs of each side"))
  rows, missed = [], []
  for count, size, images in SETS:
    announce(f"{count:,} embeddings of {size}")
    sides = {"exact": Worker(exact_side, count, size, images), "product": Worker(product_side, count, size, images)}
    timing = interleave(sides, rounds=options.rounds)
    for side in sides.values():
      side.close()
    ratio = speedup(timing.wall, "exact", "product")
    seconds = float(np.median(timing.wall["exact"]))
    rows.append({
      "embeddings": count, "features": size, "pairs, millions": count * (count - 1) / 2e6, "seconds": seconds,
      "product alone": float(np.median(timing.wall["product"])), "speed / product": str(ratio),
      "10¹² pairs, hours": seconds * 1e12 / (count * (count - 1) / 2) / 3600,
    })
    if ratio.middle < BAR:
      missed.append(f"{ratio.middle:.2f} with {count:,} × {size}")
  beside = []
  for count in FLAT:
    announce(f"memory with {count:,}")
    worker = Worker(memory_side, count, FEATURES)
    beside.append(f"{worker.facts['beside'] / 1e6:.0f} MB with {count:,}")
    worker.close()
  notes = [
    f"TAR at FAR {', '.join(f'{target:g}' for target in TARGETS)} in one call, with sample, pass and sort.",
    f"Memory beside the embeddings and their order: {', '.join(beside)} embeddings of {FEATURES}.",
    "10¹² pairs are 1.41 million embeddings: extrapolated to this machine's cores, the same time for each pair.",
    f"Bar: at least {BAR} × the product (goal {GOAL}): {'; '.join(missed) or 'met'}.",
  ]
  Findings("Exact figures over all pairs", machine("jax", "jaxlib"), {"threads": cores(), "rounds": options.rounds}, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
