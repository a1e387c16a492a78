"""Computes the mean shape of the 68 points in the frame of arcface112, for `jaxface/alignment/mean_shape.py`.

  python docs/make_mean_shape.py DATA/photos/helen_train.json

Each annotated face is moved by the similarity that brings its five points (eyes, nose tip, mouth corners) closest to the template;
the mean shape is the mean of the moved points, made symmetric by averaging it with its mirror image about the centre of the eyes.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from jaxface.alignment.points import MIRROR_ORDER, reduce_points
from jaxface.alignment.similarity import fit_similarity, transform_points
from jaxface.geometry import template


def mean_shape(photos: list) -> np.ndarray:
  """[68, 2] float64 in pixels of arcface112.

  Args:
    photos: entries of HELEN's list: faces with `points68`, 0-based pixel centres.
  """
  point_n68_2 = np.array([face["points68"] for photo in photos for face in photo["faces"] if "points68" in face])
  target_52 = template("arcface112").point_k2
  matrix_n23 = fit_similarity(reduce_points(point_n68_2, 5), target_52)
  mean_k2 = np.asarray(transform_points(matrix_n23, point_n68_2), np.float64).mean(0)
  middle_x = target_52[:2, 0].mean()
  mirrored_k2 = mean_k2[list(MIRROR_ORDER[68])] * (-1, 1) + (2 * middle_x, 0)
  return (mean_k2 + mirrored_k2) / 2


def main() -> None:
  """Prints the numbers as they stand in the module."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", type=Path, help="helen_train.json")
  photos = json.loads(parser.parse_args().photos.read_text())
  rows = [f"({x:.2f}, {y:.2f})" for x, y in mean_shape(photos)]
  for start in range(0, len(rows), 6):
    print("  " + ", ".join(rows[start : start + 6]) + ",")


if __name__ == "__main__":
  main()
