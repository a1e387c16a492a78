"""Measures alignment and landmarks on real photos, for docs/alignment.md.

  python docs/measure_alignment.py warp DATA                    time and difference beside OpenCV, on 400 LFW photos
  python docs/measure_alignment.py lfw DATA WEIGHTS.onnx         aligned LFW photos beside the set that was aligned by others
  python docs/measure_alignment.py helen DATA MODEL [--points K] errors of a landmark model on helen_test, of K of its points
  python docs/measure_alignment.py frontal DATA                  a rendered head of known pose, turned to the front
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from crop_without_alignment import main_face

from jaxface.alignment import (
  LandmarkFinder,
  align_faces,
  align_matrix,
  frontalise_faces,
  reduce_points,
  scale_of,
)
from jaxface.evaluation import error_auc, failure_rate, fold_accuracy, landmark_errors
from jaxface.formats import decode_image, read_landmarks
from jaxface.models import load_model

# Mean error of the points of a landmark model, as a share of the distance of the outer eye corners (that of supervised descent), and how often it is drawn.
NOISE, DRAWS = 0.042, 50


def read(path: Path) -> np.ndarray:
  """A photo."""
  return decode_image(path.read_bytes(), where=str(path))


def lfw(data: Path, part: str) -> tuple[list[str], list[np.ndarray], list[np.ndarray]]:
  """Names, photos and YuNet's points of the face nearest to the middle, of photos with a detection."""
  names, photos, points = [], [], []
  for entry in json.loads((data / "photos/lfw_raw.json").read_text()):
    face = main_face(entry)
    if entry["part"] != part or face is None:
      continue
    names.append(entry["file"])
    photos.append(read(data / "photos/lfw_raw" / entry["file"]))
    points.append(np.array(face["points5"]))
  return names, photos, points


def measure_warp(data: Path) -> None:
  """Time of a crop and its difference from OpenCV's."""
  import cv2

  _, photos, points = lfw(data, "train")
  photos, points = photos[:400], points[:400]
  matrices = [align_matrix(point) for point in points]
  align_faces(photos, points)

  def best(run) -> str:
    wall, busy = [], []
    for _ in range(5):
      start, start_busy = time.perf_counter(), time.process_time()
      run()
      wall.append(time.perf_counter() - start)
      busy.append(time.process_time() - start_busy)
    return f"{min(wall) / len(photos) * 1000:.2f} ms per face, {min(busy) / len(photos) * 1000:.2f} ms of processor time"

  ours = align_faces(photos, points).astype(np.float64)
  theirs = np.stack([cv2.warpAffine(photo, matrix, (112, 112)) for photo, matrix in zip(photos, matrices)])
  scale_n = np.array([float(scale_of(matrix)) for matrix in matrices])
  difference_n = np.abs(ours - theirs).mean((1, 2, 3))
  print(f"jaxface {best(lambda: align_faces(photos, points))}")
  print(f"opencv {best(lambda: [cv2.warpAffine(photo, matrix, (112, 112)) for photo, matrix in zip(photos, matrices)])}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
  for name, some in (("enlarged", scale_n >= 1), ("reduced", scale_n < 1)):
    print(f"{name}: {some.sum()} faces, scale {scale_n[some].min():.2f}..{scale_n[some].max():.2f}, mean difference {difference_n[some].mean():.2f} of 255")


def measure_lfw(data: Path, weights: Path) -> None:
  """Embeddings of our crops of folds 1 and 2 beside those of the aligned set."""
  from jaxface.formats import read_lfw_pairs
  from jaxface.inference.model import Model
  from jaxface.interop import import_onnx

  names, photos, points = lfw(data, "folds12")
  ours = align_faces(photos, points)
  theirs = np.stack([read(data / "lfw_aligned112" / name) for name in names])
  model = Model(import_onnx(weights, "mobilefacenet", preprocess="imagenet"))
  ours_nd, theirs_nd = model.embed(ours), model.embed(theirs)
  cosine_n = (ours_nd * theirs_nd).sum(1)
  print(f"{len(names)} faces: mean difference {np.abs(ours.astype(float) - theirs).mean():.1f} of 255")
  print(f"cosine of embeddings: mean {cosine_n.mean():.3f}, median {np.median(cosine_n):.3f}, 5 % below {np.quantile(cosine_n, 0.05):.3f}")
  row = {Path(name).stem: index for index, name in enumerate(names)}
  pairs = read_lfw_pairs(data / "protocols/pairs.txt")
  first_two = np.unique(pairs.fold)[:2]
  left, right, same, fold = [], [], [], []
  for first, second, is_same, number in zip(pairs.left, pairs.right, pairs.same, pairs.fold):
    if number in first_two and Path(first).stem in row and Path(second).stem in row:
      left.append(row[Path(first).stem])
      right.append(row[Path(second).stem])
      same.append(is_same)
      fold.append(number)
  for name, each in (("aligned here", ours_nd), ("aligned set", theirs_nd)):
    folds = fold_accuracy((each[left] * each[right]).sum(1), np.array(same), np.array(fold))
    print(f"{name}: accuracy {100 * np.mean(folds.accuracy):.2f} % on {len(same)} pairs of folds 1 and 2")


def measure_helen(data: Path, model: Path, points: int | None) -> None:
  """Errors on the 298 test photos, by passes."""
  faces = read_landmarks(data / "photos/helen_test.json", points="points68")
  photos = [read(data / "photos/helen_test" / face.file) for face in faces]
  saved = load_model(model)
  count = points or LandmarkFinder(saved).points
  true = np.asarray(reduce_points(np.stack([face.point_k2 for face in faces]), count))
  normaliser, length = ("interocular", "inter-ocular distance") if count in (21, 68) else ("interpupil", "distance of the eye centres")
  ways = [(saved, *way) for way in ((3, True), (1, False), (2, False))]
  if saved.name == "cascade":
    # The levels of one pass, the last of which is among the ways already.
    ways += [(replace(saved, options={"levels": level}), 1, False) for level in range(1, saved.options["levels"])]
  for one, passes, mirror in ways:
    found = LandmarkFinder(one, passes=passes, mirror=mirror)(photos, [np.array(face.box) for face in faces])
    error_n = landmark_errors(np.asarray(reduce_points(found, count)), true, normaliser=normaliser)
    print(
      f"{passes} passes{', with the mirror image' * mirror}{''.join(f', {name} {value}' for name, value in one.options.items() if name == 'levels')}: mean error {100 * error_n.mean():.2f} % of the {length}, {count} points, median"
      f" {100 * np.median(error_n):.2f} %,"
      f" AUC at 0.08 {error_auc(error_n):.3f}, failures at 0.08 {100 * failure_rate(error_n):.1f} %, at 0.1"
      f" {100 * failure_rate(error_n, 0.1):.1f} %"
    )


def measure_frontal() -> None:
  """Errors of the pose and of the pixels of rendered heads."""
  from make_generic_shape import rendered

  front, front_k2 = rendered(0, 0, 0)
  draw = np.random.default_rng(0)
  straight = frontalise_faces([front], [front_k2])
  wanted = straight.image_nhwc[0].astype(float)
  mask_hw = (wanted > 0).any(-1)
  for pose in ((0, 0, 0), (20, 0, 0), (-35, 5, 0), (45, -10, 0), (60, 0, 0), (0, 15, 0), (0, -15, 0)):
    image, point_k2 = rendered(*pose)
    found = frontalise_faces([image], [point_k2])
    plain = align_faces([image], [np.asarray(reduce_points(point_k2, 5))])[0]
    off = [np.abs(made.astype(float) - wanted)[mask_hw].mean() for made in (found.image_nhwc[0], plain)]
    yaw, pitch, _ = found.pose_n3[0]
    # Points as a landmark model gives them: off by NOISE of the distance of the outer eye corners, in the mean.
    off_nk2 = draw.normal(0, NOISE * np.linalg.norm(front_k2[36] - front_k2[45]) / np.sqrt(np.pi / 2), (DRAWS, *point_k2.shape))
    rough = frontalise_faces([image] * DRAWS, list(point_k2 + off_nk2))
    degrees = np.abs(rough.pose_n3[:, :2] - pose[:2]).mean(0)
    # Brows, eyes, nose and mouth: the outline of a turned head is not the jaw.
    away = np.linalg.norm(rough.point_nk2 - straight.point_nk2, axis=-1)[:, 17:].mean()
    rough_off = np.abs(rough.image_nhwc.astype(float) - wanted)[:, mask_hw].mean()
    print(
      f"yaw {pose[0]}, pitch {pose[1]}: found {yaw:.1f} and {pitch:.1f} degrees; difference from the frontal head {off[0]:.1f} of 255, aligned in"
      f" the plane {off[1]:.1f}; visible {100 * found.visible_n[0]:.0f} %. With inexact points:"
      f" {degrees[0]:.1f} and {degrees[1]:.1f} degrees off, points {away:.2f} pixels from their places, difference {rough_off:.1f}"
    )


def main() -> None:
  """Prints the figures."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("what", choices=("warp", "lfw", "helen", "frontal"))
  parser.add_argument("data", type=Path)
  parser.add_argument("model", type=Path, nargs="?", help="weights or folder of a network")
  parser.add_argument("--points", type=int, help="of helen: compare this smaller set of points")
  options = parser.parse_args()
  if options.what == "warp":
    measure_warp(options.data)
  elif options.what == "frontal":
    measure_frontal()
  elif options.model is None:
    parser.error(f"{options.what} needs a network")
  elif options.what == "lfw":
    measure_lfw(options.data, options.model)
  else:
    measure_helen(options.data, options.model, options.points)


if __name__ == "__main__":
  main()
