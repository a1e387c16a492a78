"""Crops of LFW's raw photos without alignment and with: OUT/none by the detector's box alone, OUT/2d by the similarity of its five points.

A crop of `none` is centred on the box and scaled by its height, to the mean place and size that boxes have in the aligned faces of the photos of the part
"train". Nothing is rotated, and the points of the tested photos are not used. Photos of view 2's folds 1 and 2, boxes and points of YuNet.

  python docs/crop_without_alignment.py DATA/photos OUT
  jaxface embed --model M --images OUT/none --out none.npz; jaxface embed --model M --images OUT/2d --out 2d.npz
  jaxface evaluate --pairs pairs.txt --skip-missing --embeddings none.npz --compare 2d.npz
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.alignment import align_matrix
from jaxface.alignment.photo_crops import warp_photos
from jaxface.formats.images import decode_image, encode_jpeg
from jaxface.geometry import template

TEMPLATE = "arcface112"


def main_face(photo: dict[str, Any]) -> dict[str, Any] | None:
  """The face whose box is nearest to the middle of the photo."""
  middle = np.array([photo["width"], photo["height"]]) / 2
  return min(photo["faces"], key=lambda face: float(np.linalg.norm(np.reshape(face["box"], (2, 2)).mean(0) - middle)), default=None)


def box_matrix(box_4: np.ndarray, center_2: np.ndarray, height: float) -> np.ndarray:
  """The matrix [2, 3] that moves the centre of a box to a place and scales its height to a number of pixels."""
  middle_2 = np.reshape(box_4, (2, 2)).mean(0)
  scale = height / (box_4[3] - box_4[1])
  return np.array([[scale, 0, center_2[0] - scale * middle_2[0]], [0, scale, center_2[1] - scale * middle_2[1]]])


def usual_place(photos: list[dict[str, Any]]) -> tuple[np.ndarray, float]:
  """Mean centre (x, y) and mean height of the boxes in the frame of the template."""
  centers, heights = [], []
  for face in filter(None, map(main_face, photos)):
    matrix_23 = align_matrix(np.array(face["points5"]), TEMPLATE)
    box_4 = np.array(face["box"])
    centers.append(matrix_23 @ [*np.reshape(box_4, (2, 2)).mean(0), 1])
    heights.append(np.hypot(matrix_23[0, 0], matrix_23[1, 0]) * (box_4[3] - box_4[1]))
  return np.mean(centers, axis=0), float(np.mean(heights))


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", metavar="DATA/photos", type=Path)
  parser.add_argument("out", metavar="OUT", type=Path)
  options = parser.parse_args()
  every = json.loads((options.photos / "lfw_raw.json").read_text(encoding="utf-8"))
  center_2, height = usual_place([one for one in every if one["part"] == "train"])
  tested = [one for one in every if one["part"] == "folds12"]
  found = [(one, face) for one in tested if (face := main_face(one))]
  read = [decode_image((options.photos / "lfw_raw" / one["file"]).read_bytes(), where=one["file"]) for one, _ in found]
  for name, matrices in {
    "none": [box_matrix(np.array(face["box"]), center_2, height) for _, face in found],
    "2d": [align_matrix(np.array(face["points5"]), TEMPLATE) for _, face in found],
  }.items():
    for (one, _), crop_hwc in zip(found, warp_photos(read, matrices, template(TEMPLATE).size)):
      file = options.out / name / one["file"]
      file.parent.mkdir(parents=True, exist_ok=True)
      file.write_bytes(encode_jpeg(crop_hwc, 95))
  print(f"{options.out}: {len(found):,} of {len(tested):,} photos have a face; boxes at {center_2.round(1).tolist()}, {height:.1f} pixels high")
  return 0


if __name__ == "__main__":
  sys.exit(main())
