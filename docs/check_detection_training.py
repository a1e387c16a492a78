"""Judges a detector of `jaxface train mtcnn` on the events that it was not trained on, beside the imported one; for docs/detection.md.

  python docs/check_detection_training.py PHOTOS runs/mtcnn/model [--weights DIR] [--held-out 3]

PHOTOS has `wider_dev`. Prints average precision and recall in each subset, and their ratios. The lower the last of --thresholds, the more of the low end of
the curve there is.
"""

import argparse
import re
from pathlib import Path

from check_detection import mtcnn, precision

from jaxface.detection import import_detector, load_detector
from jaxface.detection.detector_data import split_events
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.evaluation.detection.labelled_photos import read_wider


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", type=Path)
  parser.add_argument("trained", type=Path, help="folder of the trained detector")
  parser.add_argument("--weights", type=Path, default="mtcnn", help="folder of released weights")
  parser.add_argument("--held-out", type=int, default=3, help="of the training: every n-th event")
  parser.add_argument("--thresholds", type=float, nargs=3, default=(0.6, 0.7, 0.7), help="of both detectors")
  options = parser.parse_args()
  folder = options.photos / "wider_dev"
  trained_on, photos = split_events(read_wider(folder), options.held_out)
  print(f"{len(photos)} photos of held-out events; {len(trained_on)} photos were for training", flush=True)
  config = MtcnnConfig(thresholds=tuple(options.thresholds))
  imported = import_detector(options.weights, "mtcnn").params if options.weights.is_dir() else load_detector(options.weights).params
  detectors = {"trained here": load_detector(options.trained).params, "imported": imported}
  lines = {}
  for name, params in detectors.items():
    lines[name] = precision(mtcnn(Mtcnn(params, config)), folder, photos)
    for subset, text in lines[name].items():
      print(f"{subset}, {name}: {text}", flush=True)
  for subset in lines["imported"]:
    ours, theirs = (float(re.search(r"AP ([\d.]+)", lines[name][subset])[1]) for name in detectors)
    print(f"{subset}: AP of the trained one is {ours / theirs:.3f} of the imported one's" if theirs else f"{subset}: nothing found")


if __name__ == "__main__":
  main()
