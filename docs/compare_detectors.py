"""Detectors on the same photos: CMU+MIT, and the events of WIDER FACE that none of them was trained on here; precision over recall in one picture.

  python docs/compare_detectors.py PHOTOS --model "HOG + SVM=runs/hogsvm/model" [--yunet FILE] [--dlib] [--mtcnn DIR] [--held-out 3]

PHOTOS has `wider_dev` and `cmu_mit` (docs/detection.md). --mtcnn: released weights; --model NAME=DIR, repeatable: a detector that was trained here; --yunet:
weights for OpenCV's FaceDetectorYN; --dlib: dlib's `get_frontal_face_detector` (pip install dlib). Detectors run with low thresholds, for the
low ends of their curves. Measured ones are kept in docs/detectors.json, and one that is named again is measured again. Writes the table in docs/detection.md and
docs/detectors.svg.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from check_detection import Find, curves, mtcnn, yunet
from generated import replace_part
from tqdm import tqdm

from jaxface.detection import Detections, import_detector, load_detector
from jaxface.detection.detector_data import split_events
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.evaluation.detection.labelled_photos import read_box_list, read_wider
from jaxface.evaluation.detection.precision import Precision
from jaxface.formats.atomic import atomic_file, write_json
from jaxface.formats.images import decode_image

PAGE, KEPT, PICTURE = (Path(__file__).with_name(name) for name in ("detection.md", "detectors.json", "detectors.svg"))
# What a box must share with a face. Detectors disagree on what a box contains, the labels of CMU+MIT most of all.
LEAST = (0.5, 0.3)
# Least scores: of P-Net, R-Net and O-Net, and of other detectors.
THRESHOLDS, THRESHOLD = (0.5, 0.5, 0.1), 0.1
# dlib's smallest face has 80 pixels in a photo that is doubled as often as this; least value of its classifier.
DOUBLED, DLIB_LEAST = 2, -0.5
POINTS = 100
ORDER = "WIDER hard"


def dlib_faces() -> Find:
  """dlib's HOG and SVM."""
  import dlib

  net = dlib.get_frontal_face_detector()

  def find(photos: list[Path]) -> list[Detections]:
    found = []
    for photo in tqdm(photos, leave=False):
      image = decode_image(photo.read_bytes(), where=str(photo))
      boxes, scores, _ = net.run(image, DOUBLED, DLIB_LEAST)
      box_n4 = np.array([(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in boxes], np.float32).reshape(-1, 4)
      order = np.argsort(-np.array(scores, np.float32), kind="stable")
      found.append(Detections(box_n4[order], np.array(scores, np.float32)[order], None, image.shape[:2]))
    return found

  return find


def measure(find: Find, photos: Path, held_out: int) -> dict[str, Any]:
  """Curves of a detector by set of photos."""
  wider, cmu, made = split_events(read_wider(photos / "wider_dev"), held_out)[1], read_box_list(photos / "cmu_mit"), {}
  # As WIDER FACE's evaluation counts, the last pixel of a box is inside; in the list of CMU+MIT it is outside.
  for folder, labelled, which in (("cmu_mit", cmu, "outside"), ("wider_dev", wider, "inside")):
    faces = find([photos / folder / photo.name for photo in labelled])
    for least in LEAST if folder == "cmu_mit" else LEAST[:1]:
      for subset, curve in curves(lambda _, faces=faces: faces, photos / folder, labelled, least).items():
        if which in subset:
          name = "CMU+MIT" if folder == "cmu_mit" else f"WIDER {subset.split(',')[0]}"
          made[name if least == LEAST[0] else f"{name}, overlap {least}"] = plain(curve)
  return made


def plain(curve: Precision) -> dict[str, Any]:
  """A curve as JSON, by about 100 of its points at equal steps of recall: most scores are low."""
  at = np.unique(np.searchsorted(curve.recall_k, np.linspace(0, curve.recall, POINTS))) if len(curve.recall_k) else np.zeros(0, int)
  return {
    "average": round(curve.average, 4), "recall": round(curve.recall, 4), "faces": curve.faces, "boxes": curve.boxes,
    "recall_k": curve.recall_k[at].round(4).tolist(), "precision_k": curve.precision_k[at].round(4).tolist(),
  }


def stored() -> dict[str, Any]:
  """Detectors that were measured."""
  return json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}


def table(kept: dict[str, Any]) -> str:
  """Average precision and recall, by detector."""
  sets = next(iter(kept.values()))
  lines = ["| detector | " + " | ".join(f"{name} ({of['faces']} faces)" for name, of in sets.items()) + " |", "|---" * (1 + len(sets)) + "|"]
  for name, measured in kept.items():
    lines.append(f"| {name} | " + " | ".join(f"{of['average']:.3f} ({of['recall']:.3f})" for of in measured.values()) + " |")
  return "\n".join(lines)


def draw(kept: dict[str, Any], path: Path) -> None:
  """Precision over recall, a panel for each set of photos."""
  import matplotlib

  matplotlib.use("svg")
  import matplotlib.pyplot as plt

  plt.rcParams["svg.hashsalt"] = "jaxface"
  sets = [name for name in next(iter(kept.values())) if "overlap" not in name]
  figure, panels = plt.subplots(1, len(sets), figsize=(3.3 * len(sets), 3.6), sharey=True)
  for panel, subset in zip(panels, sets):
    for name, measured in kept.items():
      of = measured[subset]
      panel.plot(of["recall_k"], of["precision_k"], label=f"{name}, AP {of['average']:.3f}", drawstyle="steps-pre")
    panel.set(title=f"{subset}, {of['faces']} faces", xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
    panel.legend(loc="lower left", fontsize=7)
  panels[0].set_ylabel("precision")
  figure.tight_layout()
  with atomic_file(path) as stream:
    figure.savefig(stream, format="svg", metadata={"Date": None})


def main() -> None:
  """Measure the detectors that are given, and write table and picture."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", metavar="PHOTOS", type=Path)
  parser.add_argument("--mtcnn", type=Path, metavar="DIR", help="released weights, or the folder of `jaxface import`")
  parser.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="a detector that was trained here; repeatable")
  parser.add_argument("--yunet", metavar="FILE", help="ONNX file")
  parser.add_argument("--dlib", action="store_true", help="measure dlib's detector too")
  parser.add_argument("--held-out", type=int, default=3, metavar="N", help="every N-th event of WIDER FACE, as in training (default: %(default)s)")
  options = parser.parse_args()
  config, detectors = MtcnnConfig(thresholds=THRESHOLDS), {}
  if options.mtcnn:
    saved = import_detector(options.mtcnn, "mtcnn") if (options.mtcnn / "pnet.pt").is_file() else load_detector(options.mtcnn)
    detectors["MTCNN, released weights"] = mtcnn(Mtcnn(saved.params, config))
  for given in options.model:
    name, _, folder = given.partition("=")
    detector = load_detector(folder, threshold=THRESHOLD)
    detectors[name] = mtcnn(Mtcnn(detector.params, config) if isinstance(detector, Mtcnn) else detector)
  if options.dlib:
    detectors["dlib, HOG + SVM"] = dlib_faces()
  if options.yunet:
    detectors["YuNet"] = yunet(options.yunet)
  for name, find in detectors.items():
    measured = measure(find, options.photos, options.held_out)
    print(f"{name}: " + ", ".join(f"{subset} AP {of['average']:.3f}, recall {of['recall']:.3f}" for subset, of in measured.items()), flush=True)
    kept = {**stored(), name: measured}
    # The best on small faces first.
    write_json(KEPT, dict(sorted(kept.items(), key=lambda item: -item[1][ORDER]["average"])))
  if kept := stored():
    replace_part(PAGE, "docs/compare_detectors.py", table(kept))
    draw(kept, PICTURE)


if __name__ == "__main__":
  main()
