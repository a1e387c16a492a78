"""Find the most similar embeddings of a gallery for every probe, exactly, and the ranks of mates.

  jaxface search gallery.npz probes.npz --top 20 --json found.json

Both are files of `jaxface embed`. Where images stand in folders of people, a line has the share of probes whose mate is at rank 1, 5, 10, 20.
"""

import argparse
import json
import sys

from jaxface.evaluation.streaming.search_files import search_files


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, search, print."""
  parser.add_argument("gallery", metavar="GALLERY", help=".npz or .parquet of `jaxface embed`")
  parser.add_argument("probes", metavar="PROBES", help="likewise")
  parser.add_argument("--top", type=int, default=20, metavar="N", help="entries for each probe (default: 20)")
  parser.add_argument("--json", metavar="FILE", help="also write everything to this file")
  options = parser.parse_args(arguments)
  found = search_files(options.gallery, options.probes, top=options.top, out=options.json)
  for note in found.notes:
    print(f"note: {note}", file=sys.stderr)
  print(found if sys.stdout.isatty() or options.json else json.dumps(found.figures, indent=2))
  return 0
