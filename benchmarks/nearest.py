"""Exact nearest neighbours against FAISS's flat index, alternating in one run.

  python -m benchmarks.nearest [--gallery N] [--probes N] [--rounds N] [--json FILE]

Both search the same unit embeddings by inner product on the same cores, after the gallery is in memory. Exits with 1 if the bar was missed
or the neighbours differ.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores

SIZE, COUNT = 512, 20
BAR, GOAL = 0.8, 1.2


def embeddings(gallery: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
  """Unit embeddings [M, 512] and [N, 512]."""
  random = np.random.default_rng(0)
  parts = [random.standard_normal((rows, SIZE), np.float32) for rows in (gallery, probes)]
  for part in parts:
    part /= np.linalg.norm(part, axis=1, keepdims=True)
  return parts[0], parts[1]


def jaxface_side(gallery: int, probes: int) -> tuple[Callable[[], Any], dict[str, Any]]:
  """Ours."""
  import jax

  jax.config.update("jax_platforms", "cpu")
  from jaxface.evaluation.nearest import nearest_embeddings

  gallery_md, probe_nd = embeddings(gallery, probes)
  return lambda: nearest_embeddings(probe_nd, gallery_md, COUNT)[0], {}


def faiss_side(gallery: int, probes: int) -> tuple[Callable[[], Any], dict[str, Any]]:
  """FAISS's exact index."""
  import faiss

  faiss.omp_set_num_threads(cores())
  gallery_md, probe_nd = embeddings(gallery, probes)
  index = faiss.IndexFlatIP(SIZE)
  index.add(gallery_md)
  return lambda: index.search(probe_nd, COUNT)[1], {}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 5, "timed searches of each side")
  parser.add_argument("--gallery", type=int, default=1_000_000, help="embeddings of the gallery (default: %(default)s)")
  parser.add_argument("--probes", type=int, default=1_000, help="probes (default: %(default)s)")
  options = parse_for_cpu(parser)
  announce(f"{options.gallery:,} embeddings")
  sides = {"jaxface": Worker(jaxface_side, options.gallery, options.probes)}
  missed, same = [], "not compared"
  if has("faiss"):
    sides["faiss"] = Worker(faiss_side, options.gallery, options.probes)
    ours, theirs = (side() for side in sides.values())
    same = f"{np.mean(ours == theirs):.2%}"
    if np.mean(ours == theirs) < 0.999:
      missed.append(f"only {same} of the neighbours are the same")
  timing = interleave(sides, rounds=options.rounds)
  peak = {name: side.close() for name, side in sides.items()}
  rows = [
    {"side": name, "seconds": float(np.median(timing.wall[name])), "processor seconds": float(np.median(timing.cpu[name])),
     "peak MB": peak[name] / 1e6, "speed / faiss": str(speedup(timing.wall, name, "faiss")) if "faiss" in sides else "–"}
    for name in sides
  ]
  if "faiss" in sides and (ratio := speedup(timing.wall, "jaxface", "faiss").middle) < BAR:
    missed.append(f"{ratio:.2f} × FAISS")
  notes = [
    f"Neighbours that are the same row at the same rank: {same}; scores that differ by rounding may exchange ranks.",
    f"Bar: at least {BAR} × FAISS (goal {GOAL}): {'; '.join(missed) or ('met' if 'faiss' in sides else 'not measured, FAISS is not installed')}.",
  ]
  facts = {"gallery": options.gallery, "probes": options.probes, "features": SIZE, "nearest": COUNT, "threads": cores(), "rounds": options.rounds}
  Findings("Exact nearest neighbours", machine("jax", "jaxlib", "faiss-cpu"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
