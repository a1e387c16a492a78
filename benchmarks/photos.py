"""Photos to aligned faces, and the search of a face in a large gallery.

  python -m benchmarks.photos PHOTOS DETECTOR [--count 200] [--people 100000] [--rounds 3]

Aligns some photos of a folder with the tasks side by side, as `jaxface align` does, and one after another, in turns, and prints photos per
second, the share of the cores that was busy, and the factor within each round. Then times `Gallery.identify` with random embeddings.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from jaxface.detection import load_detector
from jaxface.formats.parallel import num_cores
from jaxface.formats.walk import walk
from jaxface.gallery import Gallery, Maker, read_gallery, write_gallery
from jaxface.pipeline.photos import faces


def align(photos: list[Path], detector: object, tasks: int) -> tuple[float, float]:
  """Seconds of wall time and of processor time."""
  faces.CPU_TASKS = tasks
  wall, busy = time.perf_counter(), time.process_time()
  found = list(faces.find_faces(photos, detector=detector))
  assert len(found) == len(photos)
  return time.perf_counter() - wall, time.process_time() - busy


def measure_align(photos: list[Path], folder: str, rounds: int) -> None:
  detector, side_by_side = load_detector(folder), faces.CPU_TASKS
  align(photos, detector, 1)  # compiles
  runs = {"side by side": side_by_side, "one after another": 1}
  seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
  for _ in range(rounds):
    for name, tasks in runs.items():
      seconds[name].append(align(photos, detector, tasks))
  for name, pairs in seconds.items():
    wall, busy = (statistics.median(times) for times in zip(*pairs))
    print(f"{name}: {len(photos) / wall:.1f} photos/s, {busy / wall:.2f} of {num_cores()} cores busy, {1000 * busy / len(photos):.0f} ms of processor time a photo")
  factors = [slow[0] / fast[0] for fast, slow in zip(*seconds.values())]
  print(f"faster by {statistics.median(factors):.2f} ({min(factors):.2f} to {max(factors):.2f})")


def measure_identify(people: int, size: int, folder: Path) -> None:
  rng = np.random.default_rng(0)
  embedding_nd = rng.normal(size=(people, size)).astype(np.float32)
  names = [f"person {number:07}" for number in range(people)]
  start = time.perf_counter()
  gallery = Gallery.empty(Maker("random", "0", "arcface112", "sum"), size).enrol(names, names, embedding_nd)
  enrolled = time.perf_counter()
  file = folder / "random.gallery"
  write_gallery(file, gallery)
  written = time.perf_counter()
  gallery = read_gallery(file)
  probe_qd = rng.normal(size=(50, size))
  gallery.identify(probe_qd[:1], threshold=0.4)
  ready = time.perf_counter()
  searches = []
  for probe_d in probe_qd:
    begin = time.perf_counter()
    gallery.identify(probe_d[None], threshold=0.4)
    searches.append(time.perf_counter() - begin)
  print(
    f"{people:,} people, embeddings of {size}: enrolled in {enrolled - start:.1f} s, written in {written - enrolled:.1f} s, opened with the"
    f" first search in {ready - written:.1f} s; a search {1000 * statistics.median(searches):.1f} ms (median of {len(searches)})"
  )


def main() -> None:
  import tempfile

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", type=Path)
  parser.add_argument("detector", help="folder of a detector, or its name")
  parser.add_argument("--count", type=int, default=200, metavar="N", help="photos (default: %(default)s)")
  parser.add_argument("--people", type=int, default=100_000, metavar="N", help="in the gallery (default: %(default)s)")
  parser.add_argument("--size", type=int, default=128, metavar="N", help="numbers of an embedding (default: %(default)s)")
  parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    measure_identify(options.people, options.size, Path(folder))
  measure_align([options.photos / path for path in walk(options.photos).paths][: options.count], options.detector, options.rounds)


if __name__ == "__main__":
  main()
