"""Figures of detectors on labelled photos, for docs/detection.md.

  python docs/check_detection.py PHOTOS [--weights DIR] [--yunet FILE] [--set wider|cmu|lfw] [--smallest 20] [--border zeros]
    [--boxes published|larger] [--detector DIR --threshold 0.1 --setting suppression=average] [--least 0.3]

PHOTOS has `wider_dev`, `cmu_mit` and `lfw_raw` (docs/detection.md). Prints average precision, recall and errors of points. YuNet runs in
OpenCV (FaceDetectorYN), on the same photos, at their own size, from score 0.02 on. `--detector` adds detectors that were trained here; `--no-mtcnn` leaves
MTCNN out. `--boxes` changes the boxes of all detectors first, which shows how much an average precision depends on what a box means.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.detection import Detections, Detector, detect, import_detector, load_detector
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.evaluation.detection.labelled_photos import LabelledPhoto, read_box_list, read_wider
from jaxface.evaluation.detection.precision import Precision, match_boxes, point_errors, precision_recall
from jaxface.formats.images import decode_image
from jaxface.geometry.rectangles import iou

Find = Callable[[list[Path]], list[Detections]]
# Changes of the boxes, by pixels (left, top, right, bottom) and by a share of their sides.
BOXES = {"given": ((0, 0, 0, 0), 0.0), "published": ((1, 1, 0, 0), 0.0), "larger": ((0, 0, 0, 0), 0.1)}


def yunet(file: str) -> Find:
  """YuNet in OpenCV."""
  import cv2

  net = cv2.FaceDetectorYN.create(file, "", (320, 320), 0.02, 0.3, 5000)

  def find(photos: list[Path]) -> list[Detections]:
    found = []
    for photo in tqdm(photos, leave=False):
      image = decode_image(photo.read_bytes(), where=str(photo))
      net.setInputSize(image.shape[1::-1])
      faces = net.detect(np.ascontiguousarray(image[..., ::-1]))[1]
      faces = np.zeros((0, 15), np.float32) if faces is None else faces
      box_n4 = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], -1)
      point_n52 = faces[:, 4:14].reshape(-1, 5, 2)  # the person's right eye, which is the left one as seen, first
      found.append(Detections(box_n4, faces[:, 14], point_n52, image.shape[:2]))
    return found

  return find


def mtcnn(detector: Detector) -> Find:
  """Ours, MTCNN or another one."""

  def find(photos: list[Path]) -> list[Detections]:
    with tqdm(total=len(photos), leave=False) as bar:
      return detect(photos, detector, done=lambda number: bar.update())  # type: ignore[return-value]

  return find


def changed(find: Find, boxes: str) -> Find:
  """The same faces with other boxes.

  Args:
    find: a detector.
    boxes: "given"; "published", left and upper edges one pixel further in, as the published code counts from 1 and calls the last pixel
      the edge; "larger", by a tenth about the centre.
  """
  pixels_4, share = BOXES[boxes]

  def one(faces: Detections) -> Detections:
    side_n4 = np.tile(faces.box_n4[:, 2:] - faces.box_n4[:, :2], 2)
    return replace(faces, box_n4=faces.box_n4 + np.array(pixels_4, np.float32) + share / 2 * side_n4 * np.array((-1, -1, 1, 1), np.float32))

  return lambda photos: [one(faces) for faces in find(photos)]


def precision(find: Find, folder: Path, photos: list[LabelledPhoto], least: float = 0.5) -> dict[str, str]:
  """Average precision and recall in each subset, as text; `least` as for `match_boxes`."""
  return {
    name: f"AP {curve.average:.3f}, recall {curve.recall:.3f} ({curve.faces} faces, {curve.boxes} boxes)"
    for name, curve in curves(find, folder, photos, least).items()
  }


def curves(find: Find, folder: Path, photos: list[LabelledPhoto], least: float = 0.5) -> dict[str, Precision]:
  """Precision and recall in each subset, with the last pixel inside of boxes and outside."""
  found = find([folder / photo.name for photo in photos])
  made = {}
  for subset in photos[0].subsets:
    faces = sum(int(photo.subsets[subset].sum()) for photo in photos)
    for inclusive in (True, False):
      kinds = [
        match_boxes(one.box_n4, one.score_n, photo.box_n4, photo.subsets[subset], least=least, inclusive=inclusive)
        for one, photo in zip(found, photos)
      ]
      made[f"{subset}, last pixel {'inside' if inclusive else 'outside'}"] = precision_recall([one.score_n for one in found], kinds, faces)
  return made


def points(find: Find, folder: Path, part: str, every: int) -> dict[str, str]:
  """Errors of the points on hand-labelled photos; a face is missed if no box covers the middle of its points."""
  rows = [row for row in json.loads((folder.parent / "lfw_raw.json").read_text()) if "manual" in row and part in ("all", row["part"])]
  rows = rows[::every]
  errors, missed, overlap = [], 0, []
  for row, faces in zip(rows, find([folder / row["file"] for row in rows])):
    truth = np.array(row["manual"]["points5"]) + 0.5  # of pixel centres, see docs/check_photos.py
    x, y = truth.mean(0)
    covers = (faces.box_n4[:, 0] < x) & (x < faces.box_n4[:, 2]) & (faces.box_n4[:, 1] < y) & (y < faces.box_n4[:, 3])
    if not covers.any():
      missed += 1
      continue
    best = int(np.flatnonzero(covers)[0])  # by falling score
    errors.append(float(point_errors(faces.point_n52[best][None], truth[None])[0]))
    overlap.append(float(iou(faces.box_n4[best][None], np.array([row["manual"]["box"]]))[0, 0]))
  return {part: f"{len(rows)} photos, {missed} missed, points {100 * np.mean(errors):.2f} % of the eye distance (median"
          f" {100 * np.median(errors):.2f} %), overlap with the labelled box {np.mean(overlap):.3f}"}


def setting(text: str) -> tuple[str, float | str]:
  """Name and value of NAME=VALUE; a number where it can be read as one."""
  name, _, value = text.partition("=")
  try:
    return name, float(value)
  except ValueError:
    return name, value


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", type=Path)
  parser.add_argument("--weights", default="mtcnn", help="folder of released weights, or of a detector of `jaxface import`")
  parser.add_argument("--yunet", help="ONNX file")
  parser.add_argument("--set", choices=("wider", "cmu", "lfw"), action="append")
  parser.add_argument("--smallest", type=float, default=20)
  parser.add_argument("--border", default="zeros", choices=("crop", "zeros"))
  parser.add_argument("--part", default="all", choices=("all", "folds12", "train"), help="of the LFW photos")
  parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th of the LFW photos with labels")
  parser.add_argument("--boxes", default="given", choices=BOXES, help="as they are given; one pixel less at the left and at the top; or larger by a tenth")
  parser.add_argument("--detector", action="append", default=[], metavar="DIR", help="folder of another detector; repeatable")
  parser.add_argument("--threshold", type=float, default=0.1, help="least score of the detectors of --detector (default: %(default)s)")
  parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="another setting of the detectors of --detector; repeatable")
  parser.add_argument("--no-mtcnn", action="store_true", help="leave MTCNN out")
  parser.add_argument("--least", type=float, default=0.5, help="least intersection over union of a box with its face (default: %(default)s)")
  options = parser.parse_args()
  config = MtcnnConfig(smallest=options.smallest, border=options.border)
  weights, detectors = Path(options.weights), {}
  if not options.no_mtcnn:
    params = import_detector(weights, "mtcnn").params if (weights / "pnet.pt").is_file() else load_detector(options.weights).params
    detectors["MTCNN"] = mtcnn(Mtcnn(params, config))
  for folder in options.detector:
    detectors[folder] = mtcnn(load_detector(folder, threshold=options.threshold, **dict(map(setting, options.setting))))
  if options.yunet:
    detectors["YuNet"] = yunet(options.yunet)
  measures = {
    "wider": lambda find: precision(find, options.photos / "wider_dev", read_wider(options.photos / "wider_dev"), options.least),
    "cmu": lambda find: precision(find, options.photos / "cmu_mit", read_box_list(options.photos / "cmu_mit"), options.least),
    "lfw": partial(points, folder=options.photos / "lfw_raw", part=options.part, every=options.every),
  }
  for name in options.set or measures:
    for detector, find in detectors.items():
      for subset, text in measures[name](changed(find, options.boxes)).items():
        print(f"{name} {subset}, {detector}: {text}", flush=True)


if __name__ == "__main__":
  main()
