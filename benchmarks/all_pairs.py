"""All-pairs figures against the bare matrix product, nearest embeddings against FAISS, and memory.

  python -m benchmarks.all_pairs [--count N] [--gallery M] [--memory N ...] [--rounds N] [--json FILE]

Embeddings are 512-d: random identities of eight images, with noise. The bare product multiplies the same blocks of unit
embeddings, and does nothing with the result. Bars: all pairs 0.5 (goal 0.8) of XLA's bare product, nearest 0.8 (goal 1.2) of
FAISS flat.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import Worker, cores

SIZE, IMAGES, ROWS, NEAREST = 512, 8, 2048, 20
FLAT = "FAISS flat"
TRILLION = 10**12

NOTES = [
  "Ratios are medians over rounds with quartiles in brackets: the speed of the side relative to its peer. The ratio of processor time is"
  " more reliable if other programs used the cores.",
  "All pairs: the exact TAR and threshold at the target FARs, from embeddings to figures, including the sample, normalisation and mated"
  " pairs. The NumPy product uses its OpenBLAS.",
  "Recall is the share of the exact nearest that the side finds. FAISS HNSW is an approximate index (32 neighbours, efSearch 64);"
  " its time is without that of building it. FAISS flat is exact up to rounding of float32: equal scores may be exchanged.",
  "Memory: peak of the process minus that before the call. The embeddings are in a mapped file, whose pages are not counted as long as"
  " the system can drop them (RssAnon).",
]


def people(count: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
  """Embeddings [N, D] float32 and labels."""
  random = np.random.default_rng(0)
  label_n = np.arange(count) // IMAGES
  center_cd = random.standard_normal((label_n[-1] + 1, size), np.float32)
  embedding_nd = random.standard_normal((count, size), np.float32)
  for image in range(IMAGES):
    embedding_nd[image::IMAGES] += center_cd[: len(embedding_nd[image::IMAGES])]
  return embedding_nd, label_n


def unit(embedding_nd: np.ndarray) -> np.ndarray:
  for start in range(0, len(embedding_nd), ROWS):
    part_rd = embedding_nd[start : start + ROWS]
    part_rd /= np.linalg.norm(part_rd, axis=1, keepdims=True)
  return embedding_nd


def ours(count: int, targets: list[float]) -> tuple[Callable[[], Any], dict[str, Any]]:
  """Exact TAR at FAR over all pairs."""
  from jaxface.evaluation import all_pairs_tar_at_far

  arrays = people(count)
  return lambda: all_pairs_tar_at_far(*arrays, targets)[targets[0]].threshold, {}


def bare(count: int, library: str) -> tuple[Callable[[], Any], dict[str, Any]]:
  """The products of the same blocks."""
  import jax

  from jaxface.evaluation.streaming.score_blocks import products

  unit_nd = unit(people(count)[0])
  block = [unit_nd[start : start + ROWS] for start in range(0, count, ROWS)]

  def numpy_work() -> None:
    for left in range(len(block)):
      for right in range(left, len(block)):
        block[left] @ block[right].T

  placed = [jax.device_put(each) for each in block] if library == "XLA" else []

  def xla_work() -> None:
    # As ours, at most one product ahead of the one that is waited for.
    before = None
    for left in range(len(block)):
      for right in range(left, len(block)):
        product_rr = products(placed[left], placed[right])
        if before is not None:
          before.block_until_ready()
        before = product_rr
    if before is not None:
      before.block_until_ready()

  return xla_work if library == "XLA" else numpy_work, {}


def search(side: str, count: int, probes: int) -> tuple[Callable[[], Any], dict[str, Any]]:
  """Nearest rows; the work returns them."""
  probe_qd = unit(people(probes)[0] + np.random.default_rng(1).standard_normal((probes, SIZE), np.float32))
  if side == "jaxface":
    from jaxface.evaluation import nearest_embeddings

    gallery_md = unit(people(count)[0])
    return lambda: nearest_embeddings(probe_qd, gallery_md, NEAREST).row, {}
  import faiss

  faiss.omp_set_num_threads(cores())
  index = faiss.IndexFlatIP(SIZE) if side == FLAT else faiss.IndexHNSWFlat(SIZE, 32, faiss.METRIC_INNER_PRODUCT)
  if side != FLAT:
    index.hnsw.efSearch = 64
  # Not kept: the index has a copy.
  added_md = unit(people(count)[0])
  start = time.perf_counter()
  index.add(added_md)
  facts = {"build s": time.perf_counter() - start}
  return lambda: index.search(probe_qd, NEAREST)[1], facts


def anonymous() -> int:
  """Resident memory without mapped files, in bytes."""
  lines = Path("/proc/self/status").read_text().splitlines()
  return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def watched(call: Callable[[], Any]) -> tuple[float, float]:
  """Seconds of a call, and the largest growth of memory during it, in MB."""
  gc.collect()
  before, peak, done = anonymous(), [0], threading.Event()

  def watch() -> None:
    while not done.wait(0.02):
      peak[0] = max(peak[0], anonymous())

  thread = threading.Thread(target=watch)
  thread.start()
  start = time.perf_counter()
  call()
  seconds = time.perf_counter() - start
  done.set()
  thread.join()
  return seconds, max(peak[0] - before, 0) / 1e6


def memory(count: int, folder: str) -> tuple[Callable[[], Any], dict[str, Any]]:
  """Seconds and growth of memory of a search and of a two-set count, of 2,048 probes in a mapped gallery."""
  from jaxface.evaluation import count_all_pairs, nearest_embeddings

  path = Path(folder, f"{count}.npy")
  gallery_md = np.lib.format.open_memmap(path, "w+", np.float32, (count, SIZE))
  for start in range(0, count, 8 * ROWS):
    rows = min(8 * ROWS, count - start)
    gallery_md[start : start + rows] = np.random.default_rng(start).standard_normal((rows, SIZE), np.float32)
  gallery_md.flush()
  del gallery_md
  gallery_md = np.load(path, mmap_mode="r")
  probe_qd = np.random.default_rng(9).standard_normal((ROWS, SIZE), np.float32)

  def work() -> dict[str, float]:
    search_s, grown = watched(lambda: nearest_embeddings(probe_qd, gallery_md, NEAREST))
    count_s, more = watched(lambda: count_all_pairs(probe_qd, np.arange(ROWS), [0.2], gallery_md=gallery_md, gallery_label_m=np.arange(count)))
    return {"search s": search_s, "count s": count_s, "growth MB": max(grown, more)}

  return work, {}


def ratio(timing: Any, name: str, peer: str) -> dict[str, str]:
  return {"speed / peer": str(speedup(timing.wall, name, peer)), "by CPU time": f"{speedup(timing.cpu, name, peer)[0]:.2f}"}


def all_pairs_rows(count: int, rounds: int) -> list[dict[str, Any]]:
  """Table of all-pairs figures; the last row extrapolates to a trillion pairs."""
  plan = {"FAR 1e-6": [1e-6], "FAR 1e-3": [1e-3], "FAR 1e-6, 1e-4, 1e-3": [1e-6, 1e-4, 1e-3], "FAR 0.1": [0.1]}
  sides = {name: Worker(ours, count, targets) for name, targets in plan.items()}
  sides |= {library: Worker(bare, count, library) for library in ("XLA", "NumPy")}
  timing = interleave(sides, rounds=rounds)
  for side in sides.values():
    side.close()
  pairs, rows = count * (count - 1) // 2, []
  for name in sides:
    seconds = float(np.median(timing.wall[name]))
    row = {"measurement": f"all pairs of {count:,}", "side": name, "seconds": seconds, "pairs/s": pairs / seconds}
    row |= {"peer": "bare XLA", **ratio(timing, name, "XLA"), "recall": "", "growth MB": ""}
    bar = speedup(timing.wall, name, "XLA").middle >= 0.5
    row["bar"] = f"0.5 {'met' if bar else 'MISSED'}" if name == "FAR 1e-6" else ""
    rows.append(row)
  hours = TRILLION / rows[0]["pairs/s"] / 3600
  return [*rows, rows[0] | {"measurement": "10¹² pairs, extrapolated", "seconds": f"{hours:.1f} h", "bar": ""}]


def search_rows(count: int, probes: int, rounds: int) -> list[dict[str, Any]]:
  """Table of searches, one peer at a time: each holds a gallery."""
  rows = []
  for peer in (FLAT, "FAISS HNSW") if has("faiss") else ():
    # An approximate index takes long to build.
    size = count if peer == FLAT else min(count, 20_000)
    announce(f"nearest of {size}: {peer}")
    sides = {name: Worker(search, name, size, probes) for name in ("jaxface", peer)}
    found = {name: side() for name, side in sides.items()}
    hit = np.mean([len(np.intersect1d(a, b)) for a, b in zip(found["jaxface"], found[peer])]) / NEAREST
    timing = interleave(sides, rounds=rounds, warmup=0)
    facts = sides[peer].facts
    for side in sides.values():
      side.close()
    seconds = {name: float(np.median(timing.wall[name])) for name in sides}
    middle = speedup(timing.wall, "jaxface", peer).middle
    base = {"measurement": f"top-{NEAREST} of {size:,}, {probes:,} probes", "side": "jaxface", "seconds": seconds["jaxface"]}
    base |= {"pairs/s": probes * size / seconds["jaxface"], "peer": peer, **ratio(timing, "jaxface", peer), "recall": "1", "growth MB": ""}
    bar = f"0.8 {'met' if middle >= 0.8 else 'MISSED'}" if peer == FLAT else ""
    built = f" (built in {facts['build s']:.0f} s)" if peer != FLAT else ""
    other = {"side": peer + built, "seconds": seconds[peer], "pairs/s": probes * size / seconds[peer], "peer": "", "bar": ""}
    other |= {"speed / peer": "", "by CPU time": "", "recall": f"{hit:.4f}"}
    rows += [base | {"bar": bar}, base | other]
  return rows


def memory_rows(counts: list[int]) -> list[dict[str, Any]]:
  """Table of memory."""
  import tempfile

  rows = []
  with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
    for count in counts:
      announce(f"memory {count}")
      side = Worker(memory, count, folder)
      facts = side()
      side.close()
      Path(folder, f"{count}.npy").unlink()
      for name in ("search", "count"):
        seconds = facts[f"{name} s"]
        row = {"measurement": f"{name}, {ROWS:,} probes in {count:,} mapped", "side": "jaxface", "seconds": seconds}
        row |= {"pairs/s": ROWS * count / seconds, "peer": "", "speed / peer": "", "by CPU time": "", "recall": ""}
        rows.append(row | {"growth MB": facts["growth MB"], "bar": ""})
  return rows


def main() -> int:
  """Measures and prints; 1 if a bar was missed."""
  parser = benchmark_parser(__doc__, 5)
  parser.add_argument("--count", type=int, default=32_768, help="embeddings of all pairs (default: 32,768; 0: none)")
  parser.add_argument("--gallery", type=int, default=1_000_000, help="embeddings searched (default: 1,000,000; 0: none)")
  parser.add_argument("--probes", type=int, default=1024, help="embeddings searched for (default: 1,024)")
  parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="sizes (default: 1e4 1e5 1e6)")
  options = parse_for_cpu(parser)
  rows = []
  if options.count:
    announce("all pairs")
    rows += all_pairs_rows(options.count, options.rounds)
  if options.gallery:
    rows += search_rows(options.gallery, options.probes, options.rounds)
  rows += memory_rows(options.memory)
  facts = {"embedding": SIZE, "images per identity": IMAGES, "threads": cores(), "rounds": options.rounds}
  versions = machine("jax", "jaxlib", "numpy", "faiss-cpu")
  Findings("All pairs and nearest embeddings", versions, facts, rows, NOTES).publish(options.json)
  return int(any("MISSED" in row["bar"] for row in rows))


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
