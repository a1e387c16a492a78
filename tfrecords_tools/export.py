"""Write the images of a packed set into a folder per identity.

  python -m tfrecords_tools export data/mine FACES
"""

import argparse
import sys

from jaxface.formats.unpacking import unpack
from jaxface.options import add_packed


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, write the images, print."""
  add_packed(parser)
  parser.add_argument("dir", metavar="DIR", help="folder to write, must not exist")
  options = parser.parse_args(arguments)
  count = unpack(options.out, options.dir, progress=sys.stderr.isatty())
  print(f"{options.dir}: {count:,} images")
  return 0
