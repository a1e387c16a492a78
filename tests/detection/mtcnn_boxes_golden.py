"""Faces that facenet-pytorch's MTCNN finds in a few photos, for test_mtcnn_released.py.

  python tests/detection/mtcnn_boxes_golden.py PHOTOS WEIGHTS      # in the checkout; needs torch and facenet-pytorch

writes mtcnn_boxes_golden.json: per photo, per face its box and points in pixels, and its score.
"""

import json
import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".json")
PHOTOS = (
  "lfw_raw/Aaron_Eckhart/Aaron_Eckhart_0001.jpg", "cmu_mit/class57.jpg", "wider_dev/0--Parade/0_Parade_Parade_0_628.jpg", "no_faces",
)


def photo_files(root: Path) -> dict[str, Path]:
  """The photos by name; of a folder its first photo."""
  files = {name: root / name for name in PHOTOS}
  return {name: sorted(file.rglob("*.jpg"))[0] if file.is_dir() else file for name, file in files.items()}


if __name__ == "__main__":
  sys.path.insert(0, str(Path(__file__).parents[2]))
  from benchmarks.detection import facenet
  from jaxface.formats.images import decode_image

  find, _ = facenet(Path(sys.argv[2]))
  found = {}
  for name, file in photo_files(Path(sys.argv[1])).items():
    box_n5, point_n52 = find(decode_image(file.read_bytes(), where=name))
    order = np.argsort(-box_n5[:, 4], kind="stable")
    # It counts pixels from 1, the last one of a box included, as the published code in MATLAB.
    edges = box_n5[order, :4].astype(np.float64) - [1, 1, 0, 0]
    found[name] = {"box": edges.round(4).tolist(), "score": box_n5[order, 4].astype(float).round(6).tolist(),
                   "points": (point_n52[order].astype(float) - 1).round(4).tolist()}
  FILE.write_text(json.dumps(found) + "\n")
