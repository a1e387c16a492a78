"""Render synthetic faces into a folder per identity, to try the tools or to test them under load.

  jaxface synthesize OUT --identities 100 --images 10 --size 112
"""

import argparse

from jaxface.data.synthetic_folder import synthesize

RERUN = "images already written are complete and are kept; the same command renders all of them again"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, render, print."""
  parser.add_argument("out", metavar="OUT", help="folder to write, with one subfolder per identity")
  for name, default, text in (
    ("identities", 100, "identities"), ("images", 10, "images of each identity"), ("size", 112, "side in pixels"),
    ("seed", 0, "another seed gives other people"),
  ):
    parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})")
  options = parser.parse_args(arguments)
  source = synthesize(
    options.out, identities=options.identities, images=options.images, size=options.size, seed=options.seed, progress=True
  )
  print(
    f"{options.out}: {source.num_records:,} images of {source.num_identities:,} identities, aligned to template "
    f"{source.template} (to pack them, give --template {source.template})"
  )
  return 0
