"""Verification of LFW's raw photos cropped by the box alone, aligned in the plane, and turned to the front, by one network on the same pairs.

  python docs/check_frontal.py DATA MODEL LANDMARKS

DATA has `photos/lfw_raw` and `protocols`; MODEL is an imported or trained network, LANDMARKS a landmark model of 68 points. Photos of view 2's folds 1 and 2,
boxes and five points of YuNet; the threshold of each fold is that of the other one. The table goes to docs/alignment.md.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from crop_without_alignment import TEMPLATE, box_matrix, main_face, usual_place
from generated import replace_part

from jaxface.alignment import (
  LandmarkFinder,
  align_faces,
  frontalise_faces,
  reduce_points,
  warp_photos,
)
from jaxface.evaluation import compare, evaluate
from jaxface.evaluation.pairs.comparison import Difference
from jaxface.evaluation.pairs.verification import Verification
from jaxface.formats import Embeddings, decode_image
from jaxface.formats.walk import record_names
from jaxface.geometry import template
from jaxface.inference import load

PAGE = Path(__file__).with_name("alignment.md")
RAW, PLANE, FOUND, FRONT = "box alone", "in the plane, YuNet's five points", "in the plane, five of the 68 points found", "to the front, the 68 points found"
FAR = "1e-2"


def crops(data: Path, landmarks: Path) -> tuple[list[str], dict[str, np.ndarray], np.ndarray]:
  """Files of the photos with a face, their crops [N, 112, 112, 3] by kind, and their yaws [N] in degrees."""
  every = json.loads((data / "photos/lfw_raw.json").read_text(encoding="utf-8"))
  center_2, height = usual_place([one for one in every if one["part"] == "train"])
  found = [(one["file"], face) for one in every if one["part"] == "folds12" and (face := main_face(one))]
  photos = [decode_image((data / "photos/lfw_raw" / file).read_bytes(), where=file) for file, _ in found]
  boxes = [np.array(face["box"]) for _, face in found]
  points = [np.array(face["points5"]) for _, face in found]
  finder = LandmarkFinder(landmarks)
  if finder.points != 68:
    raise SystemExit(f"{landmarks} finds {finder.points} points: faces are turned to the front by 68")
  many = list(finder(photos, boxes))
  front = frontalise_faces(photos, many, template=TEMPLATE)
  made = {
    RAW: warp_photos(photos, [box_matrix(box_4, center_2, height) for box_4 in boxes], template(TEMPLATE).size),
    PLANE: align_faces(photos, points, template=TEMPLATE),
    FOUND: align_faces(photos, [np.asarray(reduce_points(point_k2, 5)) for point_k2 in many], template=TEMPLATE),
    FRONT: front.image_nhwc,
  }
  return [file for file, _ in found], made, front.pose_n3[:, 0]


def table(found: Mapping[str, Verification]) -> str:
  """Figures of each kind of crop, and differences to alignment in the plane."""
  lines = ["| crop | accuracy | minus the plane | AUC | minus the plane | TAR at FAR 0.01 | minus the plane |", "|---|---|---|---|---|---|---|"]
  for name, one in found.items():
    differences = compare(found[PLANE], one)
    cells = [
      cell for figure, value, ends in (
        ("accuracy", one.accuracy, one.intervals.accuracy), ("auc", one.auc, one.intervals.auc),
        (f"tar_at_far {FAR}", one.tar_at_far[FAR], one.intervals.tar_at_far[FAR]),
      ) for cell in (f"{100 * value:.2f} % ({100 * ends[0]:.2f} to {100 * ends[1]:.2f})", "–" if name == PLANE else told(differences[figure]))
    ]
    lines.append(" | ".join([f"| {name}", *cells]) + " |")
  return "\n".join(lines)


def told(one: Difference) -> str:
  """A difference in percent points with its 95 % interval."""
  return f"{100 * one.value:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"


def main() -> None:
  """Measure, print, and write the table into the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("data", metavar="DATA", type=Path)
  parser.add_argument("model", metavar="MODEL", type=Path, help="folder of a network")
  parser.add_argument("landmarks", metavar="LANDMARKS", type=Path, help="folder of a landmark model of 68 points, such as runs/sdm/model")
  options = parser.parse_args()
  files, made, yaw_n = crops(options.data, options.landmarks)
  model, found = load(options.model), {}
  for name, image_nhwc in made.items():
    embedding_nd = model.embed(image_nhwc)
    one = evaluate(Embeddings(embedding_nd, record_names(files)), options.data / "protocols/pairs.txt", skip_missing=True).verification
    assert one is not None
    found[name] = one
    print(f"{name}: {one.summary()}", flush=True)
  turned = np.quantile(np.abs(yaw_n), [0.5, 0.9])
  text = (
    f"{len(files):,} photos, {len(one.pairs):,} pairs. Half of the faces are turned by less than {turned[0]:.0f}° to a side, nine tenths by less than"
    f" {turned[1]:.0f}°.\n\n{table(found)}"
  )
  print(text)
  replace_part(PAGE, "docs/check_frontal.py", text)


if __name__ == "__main__":
  main()
