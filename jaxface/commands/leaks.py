"""Find images and identities of a test set in a training set: equal pixels, perceptual hashes, also of mirror images, and names.

  jaxface leaks --train data/mine --test LFW_ALIGNED --page leaks.html --json leaks.json

Both are folders of images of any size, or packed records. Photos cropped in another way are not found by their hashes. Exit code 1 if
anything was found.
"""

import argparse
import sys

from jaxface.formats.atomic import write_json
from jaxface.pipeline.leaks import DISTANCE, find_leaks, open_photos

LISTED = 20


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, compare, print."""
  for name, what in (("--train", "training"), ("--test", "test")):
    parser.add_argument(name, required=True, metavar="DIR", help=f"{what} images: a folder, searched to any depth, or packed records")
  parser.add_argument(
    "--distance", type=int, default=DISTANCE, metavar="N",
    help="largest number of differing bits, of 256, in the hashes of near-identical images (default: %(default)s)",
  )
  parser.add_argument("--page", metavar="FILE", help="also write an HTML page with the pictures")
  parser.add_argument("--json", metavar="FILE", help="also write everything found to this file")
  options = parser.parse_args(arguments)
  found = find_leaks(options.train, options.test, distance=options.distance, progress=sys.stderr.isatty())
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  if options.json:
    write_json(options.json, found.to_json())
  if options.page:
    from jaxface.pipeline.leak_page import write_leak_page

    write_leak_page(options.page, found, open_photos(options.train), open_photos(options.test))
  for leak in found.images[:LISTED]:
    print(f"{leak.kind:14} {leak.bits:3} bits  train {leak.train}  test {leak.test}")
  for person in found.identities[:LISTED]:
    print(f"{'same name':14}           train {person.train}  test {person.test}")
  hidden = max(len(found.images) - LISTED, 0) + max(len(found.identities) - LISTED, 0)
  if hidden:
    print(f"… and {hidden:,} more: see --page or --json")
  print(found.summary())
  return 1 if found else 0
