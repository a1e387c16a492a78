"""Print counts of a packed set and a histogram of images per identity.

  python -m tfrecords_tools stats data/mine --html data/mine.html
"""

import argparse

from jaxface.formats.record_stats import describe_records
from jaxface.options import add_packed


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, count, print."""
  add_packed(parser)
  parser.add_argument("--svg", metavar="FILE", help="also write the histogram as SVG")
  parser.add_argument("--html", metavar="FILE", help="also write an HTML page with the counts, the histogram and some faces")
  options = parser.parse_args(arguments)
  print(describe_records(options.out, svg=options.svg, html=options.html))
  return 0
