"""From raw photos to verification on LFW's folds 1 and 2, beside the crops of the same pairs, for docs/photos.md.

  python docs/check_photos.py DATA MODEL [--detector DIR] [--only which|convention|verify]

DATA has `photos/lfw_raw` with `lfw_raw.json`, `lfw_aligned112` and `protocols/pairs.txt`. The threshold is the most accurate one on the
crops of the other eight folds. A pair with a photo without a face counts as wrong. `which` counts the photos with several faces of HELEN's training
part and of LFW's `train` part in which a rule takes another face than the labelled one, which was the choice of the rule "main". Then the convention of the points: their mean distance
from points set by hand, and the sum of a point and its counterpart in the mirrored photo.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import jaxface
from jaxface.alignment import align_faces
from jaxface.detection import Detections, Detector, detect, load_detector
from jaxface.evaluation import best_threshold, cosine_of_pairs
from jaxface.formats import Pairs, decode_image, read_lfw_pairs
from jaxface.formats.walk import record_names
from jaxface.inference.model import Model
from jaxface.pipeline.photos.faces import ONE, TO_CENTRES, Face, PhotoFaces, choose, find_faces

SHIFTS = (0.0, TO_CENTRES, 1.0)
MIRRORED = [1, 0, 2, 4, 3]  # left eye, right eye, nose, left and right mouth corner in a mirrored photo


def read(path: Path) -> np.ndarray:
  """A photo."""
  return decode_image(path.read_bytes(), where=str(path))


def chosen(found: PhotoFaces, size: tuple[int, int], which: str) -> Face | None:
  """The face that `which` takes, of all faces of a photo."""
  faces = found.faces
  if not faces:
    return None
  every = Detections(
    np.stack([face.box_4 for face in faces]), np.array([face.score for face in faces], np.float32),
    np.stack([face.point_52 for face in faces]), size,
  )
  return faces[choose(every, which)[0]]


def accuracy(pairs: Pairs, embedding: dict[str, np.ndarray], threshold: float) -> tuple[float, int]:
  """Share of right decisions, and the number of pairs with a photo without an embedding, which count as wrong."""
  whole = [at for at, names in enumerate(zip(pairs.left, pairs.right)) if all(name in embedding for name in names)]
  same = np.asarray(pairs.same)[whole]
  right = (scores(pairs, embedding, whole) >= threshold) == same
  return float(right.sum() / len(pairs.left)), len(pairs.left) - len(whole)


def scores(pairs: Pairs, embedding: dict[str, np.ndarray], rows: Sequence[int]) -> np.ndarray:
  """Cosines of pairs."""
  left_nd, right_nd = (np.stack([embedding[names[at]] for at in rows]) for names in (pairs.left, pairs.right))
  count = np.arange(len(rows))
  return cosine_of_pairs(np.concatenate([left_nd, right_nd]), count, count + len(rows))


def part(pairs: Pairs, keep: np.ndarray) -> Pairs:
  """Some of the pairs."""
  rows = np.flatnonzero(keep)
  return Pairs(
    [pairs.left[at] for at in rows], [pairs.right[at] for at in rows], np.asarray(pairs.same)[rows], np.asarray(pairs.fold)[rows],
  )


def verify(data: Path, model: Model, detector: Detector) -> None:
  """The table."""
  pairs = read_lfw_pairs(data / "protocols/pairs.txt")
  first = np.isin(pairs.fold, np.unique(pairs.fold)[:2])
  test, others = part(pairs, first), part(pairs, ~first)
  given = sorted({*others.left, *others.right, *test.left, *test.right})
  crop_nd = model.embed([data / "lfw_aligned112" / f"{name}.jpg" for name in given], progress=True)
  crops = dict(zip(given, crop_nd))
  threshold = float(best_threshold(scores(others, crops, range(len(others.left))), np.asarray(others.same)))
  reached, _ = accuracy(others, crops, threshold)
  print(f"threshold {threshold:.4f}, of the crops of {len(others.left):,} pairs of the other folds, on which {100 * reached:.2f} % are right")
  reference, _ = accuracy(test, crops, threshold)
  print(f"given crops: {100 * reference:.2f} % of {len(test.left):,} pairs")

  files = [row["file"] for row in json.loads((data / "photos/lfw_raw.json").read_text()) if row["part"] == "folds12"]
  photos = [data / "photos/lfw_raw" / file for file in files]
  names = record_names(tuple(files))
  with tqdm(total=len(photos), desc="photos", leave=False) as bar:
    found = list(find_faces(photos, which="all", detector=detector, done=bar.update))
  pixels = [read(photo) for photo in photos]
  none = [one.photo for one in found if not one.faces]
  print(f"{len(photos):,} photos, {len(none)} without a face, {sum(one.found > 1 for one in found):,} with several")
  for which in ONE:
    faces = [chosen(one, image.shape[:2], which) for one, image in zip(found, pixels)]
    held = [at for at, face in enumerate(faces) if face]
    for shift in SHIFTS if which == "central" else (TO_CENTRES,):
      image_nhwc = align_faces([pixels[at] for at in held], [face.point_52 - shift for face in faces if face])
      if shift == TO_CENTRES:  # what `find_faces` gives
        assert all((image == face.image_hwc).all() for image, face in zip(image_nhwc, filter(None, faces)))
      embedding = dict(zip([names[at] for at in held], model.embed(image_nhwc)))
      right, failed = accuracy(test, embedding, threshold)
      cosine = np.mean([float(embedding[name] @ crops[name]) for name in embedding if name in crops])
      print(
        f"{which}, points moved by −{shift}: {100 * right:.2f} %, {100 * (right - reference):+.2f} points; {failed} pairs without a face;"
        f" mean cosine with the given crops {cosine:.4f}"
      )


def taken(data: Path, detector: Detector) -> None:
  """Photos in which the rules take another face than the labelled one, among those with several faces."""
  sets: dict[str, list[tuple[Path, np.ndarray]]] = {"HELEN, train": [], "LFW, train": []}
  for row in json.loads((data / "photos/helen_train.json").read_text()):
    for face in row["faces"]:
      if "points68" in face:
        sets["HELEN, train"].append((data / "photos/helen_train" / row["file"], np.mean(face["points68"], 0)))
  for row in json.loads((data / "photos/lfw_raw.json").read_text()):
    if row["part"] == "train" and "manual" in row:
      sets["LFW, train"].append((data / "photos/lfw_raw" / row["file"], np.mean(row["manual"]["points5"], 0)))
  for name, rows in sets.items():
    several, wrong = 0, dict.fromkeys(ONE, 0)
    found = detect([photo for photo, _ in rows], detector)
    for faces, (_, point) in zip(found, rows):
      if faces is None or len(faces) < 2:
        continue
      covers = (faces.box_n4[:, :2] < point).all(1) & (point < faces.box_n4[:, 2:]).all(1)
      if covers.any():
        several += 1
        for which in ONE:
          wrong[which] += not covers[choose(faces, which)[0]]
    print(f"{name}: {several} photos with several faces; another face than the labelled one is taken by", ", ".join(f"{which} {count}" for which, count in wrong.items()))


def convention(data: Path, detector: Detector, every: int) -> None:
  """Points beside those set by hand, and beside those of the mirrored photo."""
  rows = [row for row in json.loads((data / "photos/lfw_raw.json").read_text()) if "manual" in row][::every]
  photos = [read(data / "photos/lfw_raw" / row["file"]) for row in rows]
  found, mirrored = detect(photos, detector), detect([np.ascontiguousarray(photo[:, ::-1]) for photo in photos], detector)
  away, total = [], []
  for row, photo, one, other in zip(rows, photos, found, mirrored):
    true_52 = np.array(row["manual"]["points5"])
    true_mirrored_52 = (true_52 * (-1, 1) + (photo.shape[1], 0))[MIRRORED]
    nearest = [_nearest(one, true_52), _nearest(other, true_mirrored_52)]
    if nearest[0] is None or nearest[1] is None:
      continue
    away.append(nearest[0] - true_52)
    total.append(nearest[0][:, 0] + nearest[1][MIRRORED, 0] - photo.shape[1])
  x, y = np.mean(away, (0, 1))
  error = np.std(np.mean(total, 1)) / len(total) ** 0.5
  print(f"points of {len(away)} photos: {x:+.2f}, {y:+.2f} pixels from those set by hand")
  print(f"x of a point + x in the mirrored photo − width: {np.mean(total):+.2f} ± {error:.2f}; 0 if (0, 0) is a corner, −1 if a centre")


def _nearest(found: Detections | None, true_52: np.ndarray) -> np.ndarray | None:
  """Points of the face at a place; None if none is within 10 pixels."""
  if found is None or not len(found) or found.point_n52 is None:
    return None
  away_n = np.linalg.norm(found.point_n52.mean(1) - true_52.mean(0), axis=1)
  return found.point_n52[int(np.argmin(away_n))] if away_n.min() < 10 else None


def main() -> None:
  """Prints the figures."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("data", type=Path)
  parser.add_argument("model", help="folder of a model")
  parser.add_argument("--detector", default=None, metavar="DIR", help="of `jaxface import --model mtcnn`")
  parser.add_argument("--every", type=int, default=3, metavar="N", help="each N-th photo with points set by hand (default: %(default)s)")
  parser.add_argument("--only", choices=("which", "convention", "verify"), help="one of the parts")
  options = parser.parse_args()
  detector = load_detector(options.detector)
  if options.only in (None, "which"):
    taken(options.data, detector)
  if options.only in (None, "convention"):
    for points_in in ("crop", "box"):
      print(f"points_in {points_in}:")
      convention(options.data, load_detector(options.detector, points_in=points_in), options.every)
  if options.only in (None, "verify"):
    verify(options.data, jaxface.load(options.model), detector)


if __name__ == "__main__":
  main()
