"""Find images and identities of a test set in a training set: equal pixels, perceptual hashes, also of mirror images, names, and faces.

  jaxface leaks --train data/mine --test LFW_ALIGNED --page leaks.html --json leaks.json
  jaxface leaks --train data/mine --test LFW_ALIGNED --model models/mobilefacenet --similarity 0.6 --page leaks.html

Both are folders of images of any size, or packed records. Photos cropped in another way, and people under other names, are found by their
faces only (--model, for aligned faces): their cosine is at least --similarity, or the threshold that `jaxface threshold` has written into
the model's folder. Some of these are other people who look alike. Exit code 1 if anything was found.
"""

import argparse
import sys

from jaxface.formats.atomic import write_json
from jaxface.options import add_network, load_network
from jaxface.pipeline.leaks.find import find_leaks
from jaxface.pipeline.leaks.images import DISTANCE
from jaxface.pipeline.leaks.photos import open_photos

LISTED = 20


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, compare, print."""
  for name, what in (("--train", "training"), ("--test", "test")):
    parser.add_argument(name, required=True, metavar="DIR", help=f"{what} images: a folder, searched to any depth, or packed records")
  parser.add_argument(
    "--distance", type=int, default=DISTANCE, metavar="N",
    help="largest number of differing bits, of 256, in the hashes of near-identical images (default: %(default)s)",
  )
  parser.add_argument("--model", metavar="DIR", help="model directory or workdir: also compare faces (default: hashes and names only)")
  add_network(parser)
  parser.add_argument(
    "--similarity", type=float, metavar="COSINE", help="cosine from which faces are suspected to show one person (default: the model's threshold)"
  )
  parser.add_argument(
    "--embeddings", nargs=2, metavar=("TRAIN", "TEST"), help="files of `jaxface embed` of both sets, instead of embedding them again"
  )
  parser.add_argument("--page", metavar="FILE", help="also write an HTML page with the pictures")
  parser.add_argument("--json", metavar="FILE", help="also write everything found to this file")
  options = parser.parse_args(arguments)
  load_network(options)
  found = find_leaks(
    options.train, options.test, distance=options.distance, model=options.model, similarity=options.similarity,
    embeddings=tuple(options.embeddings) if options.embeddings else None, progress=sys.stderr.isatty(),
  )
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  if options.json:
    write_json(options.json, found.to_json())
  if options.page:
    from jaxface.pipeline.leaks.page import write_leak_page

    write_leak_page(options.page, found, open_photos(options.train), open_photos(options.test))
  for leak in found.images[:LISTED]:
    print(f"{leak.kind:14} {leak.bits:3} bits  train {leak.train}  test {leak.test}")
  for person in found.identities[:LISTED]:
    print(f"{'same name':14}           train {person.train}  test {person.test}")
  for face in (found.faces or ())[:LISTED]:
    print(f"{'similar face':14} {face.cosine:.3f} cos  train {face.train_image}  test {face.test_image}")
  hidden = sum(max(len(each) - LISTED, 0) for each in (found.images, found.identities, found.faces or ()))
  if hidden:
    print(f"… and {hidden:,} more: see --page or --json")
  print(found.summary())
  return 1 if found else 0
