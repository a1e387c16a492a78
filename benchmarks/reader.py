"""The reader against libjpeg-turbo alone and PyTorch's DataLoader, with the same number of threads, in one run.

  python -m benchmarks.reader [--records DIR] [--rounds N] [--json FILE]

All sides decode the same 112 × 112 JPEGs in the same shuffled order with the same decoder (simplejpeg) and options:

raw      decodes bytes in memory and discards the result: the speed of libjpeg-turbo, the limit
reader   ours: memory map, checksums, decoding into batches
loader   ours, complete: order, reader, damage policy, copy to the JAX device
pytorch  DataLoader over bytes in memory, decoded in worker processes, collated to uint8 tensors
serial   the reader without decoding: all that its threads may have to do one at a time, under Python's lock

The reader's processor time divided by that of serial bounds the speed of many threads on as many cores.

Bars: reader ≥ 0.75 raw (goal 0.9), loader ≥ 1.1 pytorch, 8 threads ≥ 6 × one by that bound. If the reader seems faster than raw, other programs used the
cores: the ratio of processor time is then more reliable.
"""

import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import simplejpeg

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import benchmark_parser
from benchmarks.page import Findings
from jaxface.data.loader import Loader, empty_images
from jaxface.data.order import UniformOrder
from jaxface.data.records import RecordSource
from jaxface.formats.face import Face
from jaxface.formats.images import encode_jpeg
from jaxface.formats.recordset import RecordSet
from jaxface.formats.writer import write_recordset

BATCH = 128
# Threads of a machine with many cores, and how much faster than one they must be able to be.
THREADS, SCALE = 8, 6
SIZE = (112, 112, 3)


def faces() -> tuple[str, list[Face]]:
  """Real aligned faces if JAXFACE_DATA has them, otherwise noise that compresses to a similar size."""
  root = Path(os.environ.get("JAXFACE_DATA", "")) / "celeba_aligned112"
  if os.environ.get("JAXFACE_DATA") and root.is_dir():
    files = sorted(root.glob("*/*.jpg"))
    return root.name, [Face(file.read_bytes(), 0, f"faces/{n}", n) for n, file in enumerate(files)]
  random = np.random.default_rng(0)
  images = []
  for number in range(8192):
    coarse = random.integers(0, 256, (28, 28, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    images.append(Face(encode_jpeg(coarse, quality=80), 0, f"faces/{number}", number))
  return "synthetic", images


def raw_side(data: list[bytes], order: UniformOrder, images: int, threads: int) -> Callable[[], None]:
  """Decodes and discards; threads share one iterator to balance their load."""
  pool = ThreadPoolExecutor(threads)
  start = 0

  def decode(records):
    for record in records:
      simplejpeg.decode_jpeg(data[record])

  def run():
    nonlocal start
    records = iter(order.rows(start, start + images)[1].tolist())
    start += images
    for each in [pool.submit(decode, records) for _ in range(threads)]:
      each.result()

  return run


def reader_side(source: RecordSource, order: UniformOrder, images: int) -> Callable[[], None]:
  """Reads batches, two at a time like the loader."""
  pool = ThreadPoolExecutor(2)
  start = 0

  def read(record_b):
    assert not source.read(record_b, empty_images((BATCH, *SIZE)))

  def run():
    nonlocal start
    ahead = deque()
    for record_b in order.rows(start, start + images)[1].reshape(-1, BATCH):
      ahead.append(pool.submit(read, record_b))
      if len(ahead) > 2:
        ahead.popleft().result()
    for each in ahead:
      each.result()
    start += images

  return run


def serial_side(source: RecordSource, order: UniformOrder, images: int) -> Callable[[], None]:
  """The reader with a decoder that does nothing."""
  read = reader_side(source, order, images)

  def run():
    with mock.patch("jaxface.data.records.simplejpeg.decode_jpeg", lambda data, buffer: buffer):
      read()

  return run


def loader_side(source: RecordSource, order: UniformOrder, images: int) -> Callable[[], None]:
  """Batches as in training."""
  step, steps = 0, images // BATCH

  def run():
    nonlocal step
    with Loader(source, order, BATCH, start_step=step, steps=steps) as loader:
      for batch in loader:
        batch["image"].block_until_ready()
    step += steps

  return run


class Faces:
  """The same bytes as a PyTorch dataset."""

  def __init__(self, data: list[bytes]):
    self.data = data

  def __len__(self) -> int:
    return len(self.data)

  def __getitem__(self, record: int) -> tuple[np.ndarray, int]:
    return simplejpeg.decode_jpeg(self.data[record]), 0


def pytorch_side(data: list[bytes], images: int, workers: int) -> Callable[[], None]:
  """A DataLoader with a worker per core; its processes are reused."""
  import torch
  from torch.utils.data import DataLoader, RandomSampler

  dataset = Faces(data)
  sampler = RandomSampler(dataset, num_samples=images)
  loader = DataLoader(
    dataset, BATCH, sampler=sampler, num_workers=workers, persistent_workers=True, prefetch_factor=4
  )

  def run():
    for image_bhwc, _ in loader:
      assert image_bhwc.dtype == torch.uint8

  return run


def main() -> int:
  """Measures and prints; exits with 1 if a bar is missed."""
  parser = benchmark_parser(__doc__, 15)
  parser.add_argument("--records", metavar="DIR", help="packed set of 112 × 112 faces (default: one is made)")
  parser.add_argument("--images", type=int, default=60 * BATCH, help="per round and side (default: %(default)s)")
  options = parser.parse_args()
  images = -(-options.images // BATCH) * BATCH
  threads = len(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as folder:
    name = options.records
    if name is None:
      name, made = faces()
      write_recordset(folder, made, ["faces"], image_size=SIZE, num_shards=4)
    records = RecordSet.open(options.records or folder)
    data = [bytes(records.image(record)) for record in range(records.num_records)]
    order = UniformOrder(len(data))
    sides = {}
    if has("torch"):
      # First, since its workers are forked, which is unsafe after JAX has started threads.
      sides["pytorch"] = pytorch_side(data, images, threads)
      sides["pytorch"]()
    source = RecordSource(records, threads)
    sides["raw"] = raw_side(data, order, images, threads)
    sides["reader"] = reader_side(source, order, images)
    sides["serial"] = serial_side(source, order, images)
    sides["loader"] = loader_side(source, order, images)
    timing = interleave(sides, rounds=options.rounds)
  rows = []
  for side in [side for side in ("raw", "reader", "serial", "loader", "pytorch") if side in sides]:
    cpu = 1e6 * float(np.median(timing.cpu[side])) / images
    row = {"side": side, "images/s": images / float(np.median(timing.wall[side])), "CPU µs/image": cpu}
    for peer in ("raw", "pytorch"):
      if peer in sides:
        middle, low, high = speedup(timing.wall, side, peer)
        row[f"speed / {peer} (quartiles)"] = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    row["CPU of raw / CPU"] = speedup(timing.cpu, side, "raw")[0]
    rows.append(row)
  facts = {
    "data": f"{name}, {len(data):,} images of {np.mean([len(each) for each in data]) / 1000:.1f} kB",
    "threads": threads,
    "rounds": options.rounds,
  }
  bars = [("reader", "raw", 0.75), ("loader", "pytorch", 1.1)]
  missed = [
    f"{ours} is {got:.2f} × {peer}, the bar is {bar}"
    for ours, peer, bar in bars
    if peer in sides and (got := speedup(timing.wall, ours, peer)[0]) < bar
  ]
  scale = min(THREADS, speedup(timing.cpu, "serial", "reader")[0])
  if scale < SCALE:
    missed.append(f"{THREADS} threads are {scale:.1f} × one, the bar is {SCALE}")
  notes = [
    f"serial: the reader without decoding, which is all that threads may have to do one at a time. {THREADS} threads on as many cores are"
    f" therefore up to {scale:.1f} × as fast as one.",
    "raw: libjpeg-turbo alone on bytes in memory; reader: memory map, checksums, decoding into batches; loader: order,"
    " reader, damage policy, copy to the device; pytorch: DataLoader with the same decoder in worker processes.",
    *([] if "pytorch" in sides else ["PyTorch is not installed: its bar was not measured."]),
    f"Bars: reader ≥ 0.75 raw (goal 0.9), loader ≥ 1.1 pytorch, {THREADS} threads ≥ {SCALE} × one: {'; '.join(missed) or 'met'}.",
  ]
  versions = machine("jax", "torch", "simplejpeg", "numpy")
  Findings("Reading JPEGs", versions, facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
