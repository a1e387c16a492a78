"""DDFD's heat maps against its network in sliding windows, on one photo of 320×240 pixels on this CPU, alternating in one run.

  python -m benchmarks.heat_map [--photo FILE] [--smallest 24] [--rounds N] [--json FILE]

heat map         `Ddfd.heat_maps`: the network over whole levels of the image pyramid, its dense layers as convolutions
sliding windows  the same network on each window of the same levels, 256 windows in one call

Both give the score of each window; the scores are compared before timing. The network is that of `jaxface train ddfd` (windows of 48
pixels, distance 8), with random parameters, on which time does not depend. The photo is synthetic, or a file that is cropped and resized.
Exits with 1 if the bar was missed.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import equal_malloc, interleave, machine, speedup
from benchmarks.options import announce, benchmark_parser, parse_for_cpu
from benchmarks.page import Findings
from benchmarks.worker import cores

if TYPE_CHECKING:
  from jaxface.detection import Ddfd

SIZE, WINDOWS = (240, 320), 256
BAR = 4.0
TOLERANCE = 1e-4
NAMES = ("heat map", "sliding windows")


def some_photo(file: Path | None) -> np.ndarray:
  """[240, 320, 3] uint8."""
  from jaxface.data.synthetic import SyntheticSource
  from jaxface.formats.images import decode_image, fit_image

  if file is not None:
    return fit_image(decode_image(file.read_bytes(), where=str(file)), SIZE)
  image_nhwc = np.empty((1, SIZE[1], SIZE[1], 3), np.uint8)
  for error in SyntheticSource(1, 1, SIZE[1]).read(np.arange(1), image_nhwc):
    raise error
  return image_nhwc[0, : SIZE[0]]


def some_detector(smallest: float) -> "Ddfd":
  """The network of the default settings, with random parameters."""
  import jax
  import jax.numpy as jnp

  from jaxface.detection import Ddfd, DdfdConfig
  from jaxface.detection.ddfd_net import HeatMapNet

  net = HeatMapNet()
  params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, net.window, net.window, 3)))["params"]
  return Ddfd({"net": jax.tree.map(np.asarray, params)}, DdfdConfig(smallest=smallest))


def sliding(detector: "Ddfd", photo: np.ndarray, windows: int = WINDOWS) -> np.ndarray:
  """[K] scores of all windows inside of the photo, in the order of `mapped`.

  Args:
    detector: the detector.
    photo: [h, w, 3] uint8 of a size class.
    windows: windows of a call; the last call has the rest and zeros.
  """
  from jaxface.detection.cell_pyramid import draw_levels
  from jaxface.detection.ddfd_net import STRIDE, heat_map

  side, scores = detector.net.window, []
  for canvas in detector.canvases(*photo.shape[:2]):
    drawn_hwc = draw_levels(photo.astype(np.float32), canvas)
    view_rcchw = np.lib.stride_tricks.sliding_window_view(drawn_hwc, (side, side), (0, 1))[::STRIDE, ::STRIDE]
    at_k2 = canvas.at_k2[canvas.inside(*photo.shape[:2])]
    for start in range(0, len(at_k2), windows):
      part_k2 = at_k2[start : start + windows]
      window_nhwc = np.zeros((windows, side, side, 3), np.float32)
      window_nhwc[: len(part_k2)] = np.moveaxis(view_rcchw[part_k2[:, 0], part_k2[:, 1]], 1, -1)
      scores.append(np.asarray(heat_map(detector.net, detector.params["net"], window_nhwc)).ravel()[: len(part_k2)])
  return np.concatenate(scores)


def mapped(detector: "Ddfd", photo: np.ndarray) -> np.ndarray:
  """[K] the same scores by heat maps."""
  return np.concatenate([score_bk[0][np.isfinite(score_bk[0])] for score_bk in detector.heat_maps(photo[None], np.array([photo.shape[:2]]))])


def compare(mine: np.ndarray, theirs: np.ndarray) -> str:
  """How close the scores are, as text.

  Raises:
    RuntimeError: they differ by more than rounding explains, or all are the same, so that they could not differ.
  """
  if len(mine) and not np.ptp(mine) > 100 * TOLERANCE:
    raise RuntimeError(f"all scores lie within {np.ptp(mine):.0e}: the comparison says nothing")
  if mine.shape != theirs.shape or not np.abs(mine - theirs).max() <= TOLERANCE:
    away = np.abs(mine - theirs).max() if mine.shape == theirs.shape else f"numbers of windows, {len(mine)} and {len(theirs)}"
    raise RuntimeError(f"scores of heat maps and windows differ by {away}, should be at most {TOLERANCE:.0e}")
  return f"differ by {np.abs(mine - theirs).max():.1e}"


def main() -> int:
  """Measures and prints."""
  parser = benchmark_parser(__doc__, 5, "timed runs of each side")
  parser.add_argument("--photo", type=Path, metavar="FILE", help="a photo (default: a synthetic face)")
  parser.add_argument("--smallest", type=float, default=24.0, metavar="PIXELS", help="side of the smallest face (default: %(default)g)")
  options = parse_for_cpu(parser)
  photo, detector = some_photo(options.photo), some_detector(options.smallest)
  announce("scores of both")
  scores = mapped(detector, photo)
  close = compare(scores, sliding(detector, photo))
  announce("times of both")
  sides = dict(zip(NAMES, (lambda: mapped(detector, photo), lambda: sliding(detector, photo))))
  timing = interleave(sides, rounds=options.rounds, warmup=0)
  rows = []
  for name in NAMES:
    seconds = float(np.median(timing.wall[name]))
    rows.append({
      "side": name, "images/s": 1 / seconds, "windows/s": len(scores) / seconds,
      "times as fast as sliding windows": str(speedup(timing.wall, name, NAMES[1])), "by CPU time": f"{speedup(timing.cpu, name, NAMES[1]).middle:.2f}",
      "scores": close,
    })
  missed = speedup(timing.wall, *NAMES).middle < BAR
  notes = [
    "Times as fast: time of the sliding windows divided by that of the side, per round: median, and quartiles in brackets. Drawing the levels is part of both.",
    "Neighbouring windows share most of their pixels: a window has 48 pixels a side, and the next one begins 8 pixels further.",
    f"Bar: heat map ≥ {BAR:g} × sliding windows: {'missed' if missed else 'met'}.",
  ]
  facts = {
    "photo": f"{SIZE[1]} × {SIZE[0]}, {'synthetic' if options.photo is None else options.photo.name}", "smallest face": options.smallest,
    "scales": sum(len(canvas.scales) for canvas in detector.canvases(*SIZE)), "windows": len(scores), "threads": cores(), "rounds": options.rounds,
  }
  Findings("Heat maps of DDFD", machine("jax", "jaxlib", "numpy"), facts, rows, notes).publish(options.json)
  return 1 if missed else 0


if __name__ == "__main__":
  equal_malloc()
  sys.exit(main())
