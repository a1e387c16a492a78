"""Say whether two photos show the same person.

  jaxface compare a.jpg b.jpg --model models/mobilefacenet
  jaxface compare a.jpg b.jpg --threshold 0.35
  jaxface compare a.jpg b.jpg --verifier verifier.npz

One face of each photo is found, aligned and embedded. The threshold is that of the model's folder (`jaxface threshold --write`),
or, with --verifier, that of the verifier's file.
Exit code 0 for the same person, 1 for different people.
"""

import argparse

from jaxface.options import add_detector, add_model, add_threshold, add_verifier, add_which, load_network
from jaxface.pipeline.photos.people import compare_photos
from jaxface.pipeline.say import say


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, compare, print."""
  parser.add_argument("first", metavar="A", help="photo")
  parser.add_argument("second", metavar="B", help="photo")
  add_model(parser)
  add_detector(parser)
  add_verifier(parser)
  add_which(parser)
  add_threshold(parser)
  options = parser.parse_args(arguments)
  load_network(options)
  found = compare_photos(
    options.first, options.second, model=options.model, detector=options.detector, verifier=options.verifier, which=options.which, threshold=options.threshold
  )
  for note in found.notes:
    say(note)
  print(f"{'the same person' if found.same else 'different people'}: {found.decision.score} {found.score:.4f}, {found.decision}")
  return 0 if found.same else 1
