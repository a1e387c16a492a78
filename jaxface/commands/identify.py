"""Find the people of a gallery in a photo.

  jaxface identify people.gallery photo.jpg --model models/mobilefacenet

Every face of the photo is compared with everybody in the gallery. Below the threshold, that of the model's folder (`jaxface threshold
--write`), a face is nobody's. Exit code 1 if nobody of the gallery was found.
"""

import argparse
import json

from jaxface.options import add_detector, add_model, add_threshold, add_verifier, add_which, load_network
from jaxface.pipeline.photos.people import identify_photo


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, search, print."""
  parser.add_argument("gallery", metavar="GALLERY", help="file of `jaxface enrol`")
  parser.add_argument("photo", metavar="PHOTO")
  add_model(parser)
  add_detector(parser)
  add_verifier(parser)
  add_threshold(parser)
  add_which(parser, "all", several=True)
  parser.add_argument("--top", type=int, default=5, metavar="N", help="number of candidates (default: %(default)s)")
  parser.add_argument("--json", action="store_true", help="print the result as JSON")
  options = parser.parse_args(arguments)
  load_network(options)
  found, rule = identify_photo(
    options.gallery, options.photo, model=options.model, detector=options.detector, verifier=options.verifier, which=options.which, count=options.top,
    threshold=options.threshold,
  )
  if options.json:
    faces = [
      {"box": [round(float(value), 2) for value in one.face.box_4], "person": one.found.accepted,
       "candidates": [{"person": each.person, "score": each.score} for each in one.found.candidates]}
      for one in found
    ]
    print(json.dumps({"score": rule.score, "threshold": rule.threshold, "people": rule.people, "false_accepts": rule.false_accepts(rule.people), "faces": faces}, indent=2))
  else:
    for one in found:
      x0, y0, x1, y1 = one.face.box_4
      print(f"face at {x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f}: {one.found.accepted or 'nobody of the gallery'}")
      for each in one.found.candidates:
        print(f"  {each.score:.4f}  {each.person}")
    print(rule)
  return 0 if any(one.found.accepted for one in found) else 1
