"""Training input from files of other programs against jaxface's own shards and PyTorch's DataLoader, in one run.

  python -m benchmarks.containers [--rounds N] [--images N] [--json FILE]

Every side reads the same 112 × 112 JPEGs in the same shuffled order into batches on the JAX device, as in training (`Loader`); pytorch is a DataLoader over bytes in
memory with the same decoder. Bars: rec ≥ 0.95 shards, rec ≥ 1.1 pytorch.
"""

import io
import os
import struct
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import benchmark_parser
from benchmarks.page import Findings
from benchmarks.reader import BATCH, SIZE, faces, loader_side, pytorch_side
from jaxface.data.config import open_records
from jaxface.data.order import UniformOrder
from jaxface.formats.recordio import MAGIC
from jaxface.formats.writer import write_recordset

BAR_SHARDS, BAR_TORCH = 0.95, 1.1


def write_rec(folder: Path, images: list[bytes]) -> None:
  """An MXNet record file, one frame per image."""
  assert not any(MAGIC in image for image in images), "would need several frames"
  with open(folder / "train.rec", "wb") as out:
    for number, image in enumerate(images):
      content = struct.pack("<IfQQ", 0, 0.0, number, 0) + image
      out.write(MAGIC + struct.pack("<I", len(content)) + content + bytes(-len(content) % 4))


def write_tar(folder: Path, images: list[bytes]) -> None:
  """A WebDataset tar."""
  with tarfile.open(folder / "train.tar", "w") as out:
    for number, image in enumerate(images):
      for suffix, data in ((".jpg", image), (".cls", b"0")):
        entry = tarfile.TarInfo(f"{number:08d}{suffix}")
        entry.size = len(data)
        out.addfile(entry, io.BytesIO(data))


def write_zip(folder: Path, images: list[bytes], method: int = zipfile.ZIP_STORED) -> None:
  """A ZIP file with one identity."""
  with zipfile.ZipFile(folder / "train.zip", "w", method) as out:
    for number, image in enumerate(images):
      out.writestr(f"0/{number}.jpg", image)


def write_deflated(folder: Path, images: list[bytes]) -> None:
  """The same, deflated."""
  write_zip(folder, images, zipfile.ZIP_DEFLATED)


def write_parquet(folder: Path, images: list[bytes]) -> None:
  """A Parquet file as of Hugging Face's `datasets`."""
  kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  pq.write_table(pa.table({"image": pa.array([{"bytes": image, "path": None} for image in images], kind), "label": [0] * len(images)}), folder / "train.parquet")


def write_lmdb(folder: Path, images: list[bytes]) -> None:
  """A database with numbered keys."""
  import lmdb

  with lmdb.open(str(folder), map_size=4 * sum(map(len, images)) + (1 << 24)) as out, out.begin(write=True) as writing:
    writing.put(b"num-samples", str(len(images)).encode())
    for number, image in enumerate(images, start=1):
      writing.put(b"image-%09d" % number, image)
      writing.put(b"label-%09d" % number, b"0")


WRITERS = {"rec": write_rec, "tar": write_tar, "zip": write_zip, "zip deflated": write_deflated, "parquet": write_parquet, "lmdb": write_lmdb}


def main() -> int:
  """Measures and prints; exits with 1 if a bar is missed."""
  parser = benchmark_parser(__doc__, 15)
  parser.add_argument("--images", type=int, default=30 * BATCH, help="per round and side (default: %(default)s)")
  options = parser.parse_args()
  images = -(-options.images // BATCH) * BATCH
  threads = len(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as root:
    name, made = faces()
    data = [bytes(face.image) for face in made]
    order, sides = UniformOrder(len(data)), {}
    if has("torch"):
      # First, since its workers are forked, which is unsafe after JAX has started threads.
      sides["pytorch"] = pytorch_side(data, images, threads)
      sides["pytorch"]()
    write_recordset(Path(root) / "shards", made, ["faces"], image_size=SIZE, num_shards=4)
    names = ["shards", *(side for side in WRITERS if side != "lmdb" or has("lmdb"))]
    for side in names:
      folder = Path(root) / side
      if side in WRITERS:
        folder.mkdir()
        WRITERS[side](folder, data)
      sides[side] = loader_side(open_records(folder, threads), order, images)
    # The packed set of this library is a TFDS folder; without its manifest it is read as one.
    tfds = Path(root) / "tfds"
    write_recordset(tfds, made, ["faces"], image_size=SIZE, num_shards=4)
    (tfds / "manifest.json").unlink()
    sides["tfds"] = loader_side(open_records(tfds, threads), order, images)
    timing = interleave(sides, rounds=options.rounds)
  rows = []
  for side in sides:
    row = {"side": side, "images/s": images / float(np.median(timing.wall[side])), "CPU µs/image": 1e6 * float(np.median(timing.cpu[side])) / images}
    for peer in ("shards", "pytorch"):
      if peer in sides:
        middle, low, high = speedup(timing.wall, side, peer)
        row[f"speed / {peer} (quartiles)"] = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    row["CPU of shards / CPU"] = speedup(timing.cpu, side, "shards")[0]
    rows.append(row)
  missed = [
    f"rec is {got:.2f} × {peer}, the bar is {bar}"
    for peer, bar in (("shards", BAR_SHARDS), ("pytorch", BAR_TORCH))
    if peer in sides and (got := speedup(timing.wall, "rec", peer)[0]) < bar
  ]
  facts = {"data": f"{name}, {len(data):,} images of {np.mean([len(each) for each in data]) / 1000:.1f} kB", "threads": threads, "rounds": options.rounds}
  notes = [
    *([] if "pytorch" in sides else ["PyTorch is not installed: its bar was not measured."]),
    *([] if "lmdb" in sides else ["lmdb is not installed: it was not measured."]),
    f"Bars: rec ≥ {BAR_SHARDS} shards, rec ≥ {BAR_TORCH} pytorch: {'; '.join(missed) or 'met'}.",
  ]
  Findings("Training input from files of other programs", machine("jax", "torch", "lmdb", "pyarrow", "simplejpeg", "numpy"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
