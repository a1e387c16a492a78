"""Group the faces of a folder of photos by person.

  jaxface cluster PHOTOS --model models/mobilefacenet --page people.html --json people.json

Faces are found, aligned and embedded; groups are merged while the mean cosine of their faces is at least the threshold, that of the
model's folder (`jaxface threshold --write`).
"""

import argparse
import sys

from jaxface.evaluation.measures.agglomeration import LINKAGES
from jaxface.options import add_detector, add_model, add_threshold, add_which, load_network
from jaxface.pipeline.photos.clusters import cluster_photos
from jaxface.pipeline.say import say

LISTED = 20


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, cluster, print."""
  parser.add_argument("photos", metavar="PHOTOS", help="folder of photos, searched to any depth")
  add_model(parser)
  add_detector(parser)
  add_threshold(parser)
  add_which(parser, "all", several=True)
  parser.add_argument("--linkage", choices=LINKAGES, default="average", help="similarity of two groups (default: %(default)s)")
  parser.add_argument("--page", metavar="FILE", help="also write an HTML page with the faces of each group")
  parser.add_argument("--json", metavar="FILE", help="also write the groups to this file")
  options = parser.parse_args(arguments)
  load_network(options)
  found = cluster_photos(
    options.photos, model=options.model, detector=options.detector, which=options.which, threshold=options.threshold,
    linkage=options.linkage, out=options.json, page=options.page, progress=sys.stderr.isatty(), say=say,
  )
  for photo, reason in found.refused:
    print(f"not used: {photo}: {reason}", file=sys.stderr)
  for number, group in enumerate(found.groups[:LISTED]):
    names = ", ".join(face.photo for face in group[:3])
    print(f"{number + 1:4}  {len(group):5,} {'face ' if len(group) == 1 else 'faces'}  {names}{' …' if len(group) > 3 else ''}")
  if len(found.groups) > LISTED:
    print(f"… and {len(found.groups) - LISTED:,} more groups: see --page or --json")
  print(found.summary())
  return 0
