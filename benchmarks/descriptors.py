"""Local binary patterns and HOG of faces against scikit-image on this CPU, alternating in one run.

  python -m benchmarks.descriptors [--photos DIR] [--rounds N] [--json FILE]

Grey images of 112×112 pixels: synthetic faces, or the first of a folder of aligned faces. One image in each call, and 64 in one call; scikit-image
has no batches and is called for each image. Histograms are scikit-image's labels, counted in cells by NumPy. Settings are the defaults of
`jaxface.descriptors`. Results are compared before timing. Exits with 1 if the bar was missed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import cores

SIZE, BATCH = 112, 64
# Repetitions of one image in each timing: a call takes less than a millisecond.
REPEAT = 20
BAR, GOAL = 1.0, 5.0
RADIUS, NEIGHBOURS, CELLS, CELL, BLOCK, ORIENTATIONS = 2.0, 8, 7, 8, 2, 9
# Of the labels: scikit-image interpolates in float64, and rounds where a neighbour is as bright as its pixel. Of the numbers: float32.
LEAST_EQUAL, TOLERANCE = 0.999, 1e-5
Describe = Callable[[np.ndarray], np.ndarray]


def faces(folder: Path | None) -> np.ndarray:
  """[64, 112, 112] float32 grey images, of a folder or synthetic."""
  from jaxface.data.folder import FolderSource
  from jaxface.data.image_statistics import grey_images
  from jaxface.data.synthetic import SyntheticSource

  source = SyntheticSource(BATCH, 1, SIZE) if folder is None else FolderSource(folder, size=(SIZE, SIZE))
  image_nhwc = np.empty((BATCH, *source.image_shape), np.uint8)
  for error in source.read(np.arange(BATCH), image_nhwc):
    raise error
  return grey_images(image_nhwc)


def ours() -> dict[str, Describe]:
  """Functions of [B, H, W] to [B, ...]."""
  from jaxface import descriptors

  return {
    "LBP labels": lambda grey_bhw: np.asarray(descriptors.local_binary_patterns(grey_bhw, radius=RADIUS, neighbours=NEIGHBOURS)),
    "LBP histograms": lambda grey_bhw: np.asarray(descriptors.lbp_histograms(grey_bhw, cells=(CELLS, CELLS), radius=RADIUS, neighbours=NEIGHBOURS)),
    "HOG": lambda grey_bhw: np.asarray(descriptors.hog(grey_bhw, orientations=ORIENTATIONS, cell=CELL, block=BLOCK)),
  }


def scikit_image() -> dict[str, Describe]:
  """The same functions of scikit-image, image by image."""
  import warnings

  from skimage import feature

  # It warns of labels of real numbers, which may differ by rounding; the comparison counts them.
  warnings.filterwarnings("ignore", message="Applying `local_binary_pattern` to floating-point images")
  labels = NEIGHBOURS * (NEIGHBOURS - 1) + 3
  row_h = np.arange(SIZE) * CELLS // SIZE
  place_hw = (row_h[:, None] * CELLS + row_h) * labels

  def label(grey_hw: np.ndarray) -> np.ndarray:
    return feature.local_binary_pattern(grey_hw, NEIGHBOURS, RADIUS, "nri_uniform").astype(np.int64)

  def histograms(grey_hw: np.ndarray) -> np.ndarray:
    count_kl = np.bincount((place_hw + label(grey_hw)).ravel(), minlength=CELLS**2 * labels).reshape(-1, labels)
    return (count_kl / count_kl.sum(1, keepdims=True)).ravel()

  def hog(grey_hw: np.ndarray) -> np.ndarray:
    return feature.hog(grey_hw, ORIENTATIONS, (CELL, CELL), (BLOCK, BLOCK), feature_vector=False)

  one = {"LBP labels": label, "LBP histograms": histograms, "HOG": hog}
  return {name: lambda grey_bhw, describe=describe: np.stack([describe(grey_hw) for grey_hw in grey_bhw]) for name, describe in one.items()}


def compare(name: str, mine: np.ndarray, theirs: np.ndarray) -> str:
  """How close the results are, as text.

  Raises:
    RuntimeError: they differ by more than rounding explains.
  """
  away = np.abs(mine - theirs)
  if name == "HOG":
    if not away.max() <= TOLERANCE:
      raise RuntimeError(f"{name}: differs from scikit-image by {away.max():.1e}, should be at most {TOLERANCE:.0e}")
    return f"differ by {away.max():.1e}"
  # Share of pixels. A pixel with another label moves two numbers of its cell's histogram.
  equal = float((away == 0).mean()) if name == "LBP labels" else 1 - float(away.sum()) / 2 / (len(mine) * CELLS**2)
  if not equal >= LEAST_EQUAL:
    raise RuntimeError(f"{name}: {100 * equal:.3f} % of the pixels are as in scikit-image, should be at least {100 * LEAST_EQUAL:g} %")
  return f"{100 * equal:.3f} % equal"


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 15, "timed runs of each side")
  parser.add_argument("--photos", type=Path, metavar="DIR", help="folder of aligned faces, a folder for each person (default: synthetic faces)")
  options = parse_for_cpu(parser)
  if not has("skimage"):
    return 0
  grey_bhw = faces(options.photos)
  sides, rows, middles = {"jaxface": ours(), "scikit-image": scikit_image()}, [], {}
  for name in sides["jaxface"]:
    close = compare(name, *(side[name](grey_bhw) for side in sides.values()))
    for count in (1, BATCH):
      announce(f"{name}, {count}")
      part_bhw, times = grey_bhw[:count], REPEAT if count == 1 else 1
      timing = interleave({
        side: lambda describe=described[name], part_bhw=part_bhw, times=times: [describe(part_bhw) for _ in range(times)]
        for side, described in sides.items()
      }, rounds=options.rounds)
      speed = speedup(timing.wall, "jaxface", "scikit-image")
      middles[name, count] = speed.middle
      rows.append({
        "descriptor": name, "images": count,
        **{f"{side} ms/image": 1e3 * float(np.median(timing.wall[side])) / count / times for side in sides},
        "times as fast": str(speed), "by CPU time": f"{speedup(timing.cpu, 'jaxface', 'scikit-image').middle:.2f}", "results": close,
      })
  missed = min(middles.values()) < BAR
  far = min(speed for (_, count), speed in middles.items() if count == BATCH) >= GOAL
  notes = [
    "Times as fast: scikit-image's time divided by jaxface's, per round: median, and quartiles in brackets; the ratio of processor time is more reliable if"
    " other programs used the cores.",
    "Results: share of pixels with the same label, or largest difference of a number, of all 64 images.",
    f"Bar: at least {BAR:g} × scikit-image: {'missed' if missed else 'met'}. Goal: {GOAL:g} × with {BATCH} images in one call: {'met' if far else 'missed'}.",
  ]
  facts = {
    "images": f"{SIZE} × {SIZE}, {'synthetic' if options.photos is None else options.photos.name}", "threads": cores(), "rounds": options.rounds,
  }
  Findings("Local binary patterns and HOG", machine("jax", "jaxlib", "numpy", "scikit-image"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
