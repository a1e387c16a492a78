"""Find the faces of a folder of photos and align them to a template.

  jaxface align PHOTOS ALIGNED
  jaxface align PHOTOS ALIGNED --template lightcnn128 --which all
  jaxface align PHOTOS ALIGNED --records data/mine
  jaxface align PHOTOS ALIGNED --frontal runs/landmarks/model

ALIGNED has the folders of PHOTOS with one JPEG for each face, faces.csv (what was found or refused, and why) and contact_sheet.html (the
faces, the worst first, and the refused photos). The commands that read images take the template from aligned.json. Photos of any size
and any format that Pillow reads are used; of an animation, the first frame. Weights of the detector: see `jaxface detect --help`.

--frontal turns faces to the front by a generic face in three dimensions, as DeepFace did; the texture of a hidden side is that of the other
one, mirrored. faces.csv then has the poses.
"""

import argparse
import sys

from jaxface.geometry.templates import TEMPLATES
from jaxface.options import add_detector, add_which
from jaxface.pipeline.photos.align_folder import align_photos
from jaxface.pipeline.say import say

RERUN = "finished photos are kept: run the same command again to continue"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, align, print."""
  parser.add_argument("photos", metavar="PHOTOS", help="folder of photos, searched to any depth")
  parser.add_argument("out", metavar="ALIGNED", help="folder to write")
  parser.add_argument("--template", choices=TEMPLATES, default="arcface112", help="alignment template (default: %(default)s)")
  add_which(parser, several=True)
  add_detector(parser)
  parser.add_argument("--frontal", metavar="DIR", help="folder of a landmark model of 68 points (`jaxface train landmarks`): turn faces to the front")
  parser.add_argument("--quality", type=int, default=95, metavar="1-100", help="of the JPEG files (default: %(default)s)")
  parser.add_argument("--no-sheet", action="store_true", help="write no contact sheet")
  parser.add_argument("--records", metavar="DIR", help="also pack the aligned faces into this record set")
  options = parser.parse_args(arguments)
  made = align_photos(
    options.photos, options.out, template=options.template, which=options.which, detector=options.detector, frontal=options.frontal,
    quality=options.quality, sheet=not options.no_sheet, progress=sys.stderr.isatty(), say=say,
  )
  print(made.summary())
  if options.records:
    from jaxface.formats.packing import pack

    pack(options.out, options.records, template=options.template)
    print(f"{options.records}: packed")
  return 0 if any(row.image for row in made.rows) else 1
