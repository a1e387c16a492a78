"""All pairs of growing numbers of embeddings: time and memory, and what follows for 10¹² pairs.

  python -m benchmarks.pair_growth [--count N ...] [--embeddings FILE] [--rounds N] [--json FILE]

The exact TAR at FAR 1e-6 of random identities of eight images (512-d), and of a file of labelled embeddings, such as LFW's:

  jaxface embed --model models/mobilefacenet --images LFW_ALIGNED --out lfw.npz
  python -m benchmarks.pair_growth --embeddings lfw.npz --json docs/pair_growth.json
  python docs/make_scale_page.py
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.all_pairs import SIZE, TRILLION, people, watched
from benchmarks.common import equal_malloc, machine
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores

FAR = 1e-6


def counted(source: int | str) -> tuple[Callable[[], Any], dict[str, Any]]:
  """Seconds and growth of memory in MB of one exact evaluation; of so many random embeddings, or of a file."""
  from jaxface.evaluation import all_pairs_tar_at_far
  from jaxface.formats import read_embeddings

  if isinstance(source, int):
    embedding_nd, label_n = people(source)
  else:
    given = read_embeddings(source)
    if given.label_n is None:
      raise ValueError(f"{source}: has no labels, which all pairs need")
    embedding_nd, label_n = given.embedding_nd, given.label_n
  facts = {"embeddings": len(label_n), "features": embedding_nd.shape[1], "data": Path(source).name if isinstance(source, str) else "random"}
  return lambda: watched(lambda: all_pairs_tar_at_far(embedding_nd, label_n, [FAR])), facts


def row_of(source: int | str, rounds: int) -> dict[str, Any]:
  """Median seconds over rounds after a first one, which compiles; the growth of memory is that of the first, since later ones use it again."""
  side = Worker(counted, source)
  _, grown = side()
  seconds = float(np.median([side()[0] for _ in range(rounds)]))
  facts = side.facts
  side.close()
  pairs = facts["embeddings"] * (facts["embeddings"] - 1) // 2
  return {**facts, "pairs": pairs, "seconds": seconds, "pairs/s": pairs / seconds, "growth MB": grown}


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 3)
  parser.add_argument("--count", type=int, nargs="*", default=[8_192, 16_384, 32_768, 65_536], help="numbers of embeddings (default: 8,192 to 65,536)")
  parser.add_argument("--embeddings", metavar="FILE", help="also all pairs of these labelled embeddings")
  options = parse_for_cpu(parser)
  rows = []
  for source in [*sorted(options.count), *([options.embeddings] if options.embeddings else [])]:
    announce(source)
    rows.append(row_of(source, options.rounds))
  largest = max((row for row in rows if row["features"] == SIZE), key=lambda row: row["embeddings"], default=rows[-1])
  hours = TRILLION / largest["pairs/s"] / 3600
  notes = [
    f"Exact TAR at FAR {FAR:g} over all pairs, from embeddings in memory to the figure: sample, normalisation, products, scores near the threshold and"
    " mated pairs. Growth is that of memory during the first call, with what it compiles.",
    f"10¹² pairs are all pairs of 1.41 million embeddings. Not run; extrapolated from {largest['embeddings']:,} embeddings: {hours:.1f} hours on this machine. Assumptions: one"
    " pass, as here; a block takes the same time, since every block is the same product and does not depend on the others; pairs near the threshold are"
    " as rare as here; reading is not slower than multiplying, since a block that is read is multiplied with eight others; on n devices each"
    " block is split n ways, which was not measured.",
  ]
  facts = {"threads": cores(), "rounds": options.rounds}
  Findings("All pairs", machine("jax", "jaxlib", "numpy"), facts, rows, notes).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
