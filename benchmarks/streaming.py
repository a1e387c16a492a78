"""Training input from a store that answers late: a request for each record against a stream of blocks, in one run.

  python -m benchmarks.streaming [--latency MS] [--rate MB] [--rounds N] [--images N] [--json FILE]

The store is fsspec's memory file system, in which each request waits for a latency and for its bytes at a rate, both chosen, not those of a real bucket. folder is the set on
the disk of this machine. Every side reads the same 112 × 112 JPEGs into batches on the JAX device, as in training (`Loader`), by 32 threads. A round is a window of
each lane, of about two windows' worth of memory and less than the set, so that blocks come from the store in each round.
"""

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.options import benchmark_parser
from benchmarks.page import Findings
from benchmarks.reader import BATCH, SIZE, faces, loader_side
from jaxface.data.config import REMOTE_THREADS, DataConfig, make_order, open_source
from jaxface.formats.writer import write_recordset

# The set is the faces COPIES times; the memory holds two windows of each of the eight lanes, and not the set.
SHARDS, COPIES, WINDOW, MEMORY = 16, 5, 2048, 220
URL = "memory://bucket/set"


def late_store(folder: Path, latency: float, rate: float) -> list[int]:
  """Copies a set into the memory file system and makes its requests wait.

  Args:
    folder: of the set.
    latency: seconds of each request.
    rate: bytes per second of each request.
  Returns:
    A list that receives the number of bytes of each request for a span.
  """
  import fsspec

  store = fsspec.filesystem("memory")
  for path in folder.iterdir():
    store.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
  sizes: list[int] = []
  real = type(store).cat_file

  def cat_file(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
    data = real(self, path, start, end)
    if start is not None:
      sizes.append(len(data))
      time.sleep(latency + len(data) / rate)
    return data

  type(store).cat_file = cat_file
  return sizes


def counted(run: Callable[[], None], sizes: list[int], requests: list[int]) -> Callable[[], None]:
  """A side that appends the number of its requests."""

  def counting() -> None:
    before = len(sizes)
    run()
    requests.append(len(sizes) - before)

  return counting


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 5)
  parser.add_argument("--latency", type=float, default=50, metavar="MS", help="milliseconds of a request (default: %(default)s)")
  parser.add_argument("--rate", type=float, default=50, metavar="MB", help="megabytes per second of a request (default: %(default)s)")
  parser.add_argument("--images", type=int, default=8 * WINDOW, help="per round and side (default: %(default)s)")
  options = parser.parse_args()
  images = -(-options.images // BATCH) * BATCH
  with tempfile.TemporaryDirectory() as root:
    os.environ["XDG_CACHE_HOME"] = f"{root}/cache"
    name, once = faces()
    made = [dataclasses.replace(face, name=f"{face.name}-{copy}", id=copy * len(once) + face.id) for copy in range(COPIES) for face in once]
    write_recordset(Path(root) / "set", made, ["faces"], image_size=SIZE, num_shards=SHARDS)
    sizes = late_store(Path(root) / "set", options.latency / 1000, options.rate * 1e6)
    sides: dict[str, Callable[[], None]] = {}
    requests: dict[str, list[int]] = {}
    for side, records, order in (("folder", f"{root}/set", "uniform"), ("uniform", URL, "uniform"), ("stream", URL, "stream")):
      config = DataConfig(records=records, order=order, threads=REMOTE_THREADS, stream_window=WINDOW, stream_memory=MEMORY)
      source, _ = open_source(config)
      run = loader_side(source, make_order(config, source, BATCH), images)
      requests[side] = []
      sides[side] = counted(run, sizes, requests[side])
    timing = interleave(sides, rounds=options.rounds)
  rows = []
  for side in sides:
    middle, low, high = speedup(timing.wall, side, "uniform")
    rows.append({
      "side": side, "images/s": images / float(np.median(timing.wall[side])), "speed / uniform (quartiles)": f"{middle:.2f} ({low:.2f}–{high:.2f})",
      "CPU µs/image": 1e6 * float(np.median(timing.cpu[side])) / images, f"requests for {images:,} images": float(np.median(requests[side])),
    })
  facts = {
    "data": f"{name}, {len(made):,} images of {np.mean([len(each.image) for each in made]) / 1000:.1f} kB in {SHARDS} shards", "latency (ms)": options.latency,
    "rate (MB/s)": options.rate, "threads": REMOTE_THREADS, "window": WINDOW, "memory (MB)": MEMORY, "rounds": options.rounds,
  }
  notes = [f"No bar: latency and rate are chosen. The set, the faces {COPIES} times, has {sum(len(each.image) for each in made) / 1e6:.0f} MB."]
  Findings("Training input from a store that answers late", machine("jax", "fsspec", "simplejpeg", "numpy"), facts, rows, notes).publish(options.json)
  return 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
