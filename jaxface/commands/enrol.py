"""Add people to a gallery, a file with the embeddings of their photos.

  jaxface enrol people.gallery PEOPLE --model models/mobilefacenet

PEOPLE has a folder of photos for each person, named like the person. One face of each photo is used, weighted by its quality. The
file is made if it does not exist; it records the model, the template and the verifier, and refuses others. docs/gallery.md describes it.
"""

import argparse
import sys

from jaxface.options import add_detector, add_model, add_verifier, add_which, load_network
from jaxface.pipeline.photos.people import enrol_people
from jaxface.pipeline.say import say


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, enrol, print."""
  parser.add_argument("gallery", metavar="GALLERY", help="file to make, or to add to")
  parser.add_argument("people", metavar="PEOPLE", help="folder with a folder of photos for each person")
  add_model(parser)
  add_detector(parser)
  add_verifier(parser)
  add_which(parser)
  options = parser.parse_args(arguments)
  load_network(options)
  made = enrol_people(
    options.gallery, options.people, model=options.model, detector=options.detector, verifier=options.verifier, which=options.which, progress=sys.stderr.isatty(),
    say=say,
  )
  for photo, reason in made.refused:
    print(f"not used: {photo}: {reason}", file=sys.stderr)
  for note in made.notes:
    say(note)
  print(f"{options.gallery}: {len(made.gallery):,} people, {len(made.gallery.photos):,} photos; {made.photos:,} photos enrolled now")
  return 0
