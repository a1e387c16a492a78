"""Copy a packed set into another number of shards; records, their order and ids do not change.

  python -m tfrecords_tools reshard data/mine data/mine64 --shards 64
"""

import argparse
import sys

from jaxface.formats.resharding import reshard
from jaxface.options import add_packed


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, reshard, print."""
  add_packed(parser)
  parser.add_argument("new", metavar="NEW", help="folder to write, must not exist")
  parser.add_argument("--shards", type=int, required=True, metavar="N", help="number of shards")
  options = parser.parse_args(arguments)
  manifest = reshard(options.out, options.new, options.shards, progress=sys.stderr.isatty())
  print(f"{options.new}: {manifest.num_records:,} records in {len(manifest.shards)} shards")
  return 0
