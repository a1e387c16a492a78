"""Judges a detector of `jaxface train mtcnn` on the events that it was not trained on, beside the imported one; for docs/detection.md.

  python docs/check_detection_training.py PHOTOS runs/mtcnn/model [--weights DIR] [--held-out 3] [--picture docs/detection.svg]

PHOTOS has `wider_dev`. Prints average precision and recall in each subset, and their ratios. The lower the last of --thresholds, the more of the low end of
the curve there is.
"""

import argparse
from pathlib import Path

from check_detection import curves, mtcnn

from jaxface.detection import import_detector, load_detector
from jaxface.detection.detector_data import split_events
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.evaluation.detection.labelled_photos import read_wider
from jaxface.evaluation.detection.precision import Precision

OURS, THEIRS = "trained here", "imported"


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", type=Path)
  parser.add_argument("trained", type=Path, help="folder of the trained detector")
  parser.add_argument("--weights", type=Path, default="mtcnn", help="folder of released weights")
  parser.add_argument("--held-out", type=int, default=3, help="of the training: every n-th event")
  parser.add_argument("--thresholds", type=float, nargs=3, default=(0.6, 0.7, 0.7), help="of both detectors")
  parser.add_argument("--picture", type=Path, metavar="FILE", help="also draw the curves, .svg")
  options = parser.parse_args()
  folder = options.photos / "wider_dev"
  trained_on, photos = split_events(read_wider(folder), options.held_out)
  print(f"{len(photos)} photos of held-out events; {len(trained_on)} photos were for training", flush=True)
  config = MtcnnConfig(thresholds=tuple(options.thresholds))
  imported = import_detector(options.weights, "mtcnn").params if options.weights.is_dir() else load_detector(options.weights).params
  detectors = {OURS: load_detector(options.trained).params, THEIRS: imported}
  found: dict[str, dict[str, Precision]] = {}
  for name, params in detectors.items():
    found[name] = {
      subset.split(",")[0]: curve for subset, curve in curves(mtcnn(Mtcnn(params, config)), folder, photos).items() if "inside" in subset
    }
    for subset, curve in found[name].items():
      print(f"{subset}, {name}: AP {curve.average:.3f}, recall {curve.recall:.3f} ({curve.faces} faces, {curve.boxes} boxes)", flush=True)
  for subset in found[THEIRS]:
    ours, theirs = (found[name][subset].average for name in (OURS, THEIRS))
    print(f"{subset}: AP of the trained one is {ours / theirs:.3f} of the imported one's" if theirs else f"{subset}: nothing found")
  if options.picture:
    draw(options.picture, found)


def draw(path: Path, found: dict[str, dict[str, Precision]]) -> None:
  """Precision over recall, a panel for each subset."""
  import matplotlib

  matplotlib.use("svg")
  import matplotlib.pyplot as plt

  plt.rcParams["svg.hashsalt"] = "jaxface"
  figure, panels = plt.subplots(1, len(found[OURS]), figsize=(10, 3.2), sharey=True)
  for panel, subset in zip(panels, found[OURS]):
    for name, of in found.items():
      panel.plot(of[subset].recall_k, of[subset].precision_k, label=f"{name}, AP {of[subset].average:.3f}", drawstyle="steps-pre")
    panel.set(title=f"{subset}, {of[subset].faces} faces", xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
    panel.legend(loc="lower left", fontsize=8)
  panels[0].set_ylabel("precision")
  figure.tight_layout()
  figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
  main()
