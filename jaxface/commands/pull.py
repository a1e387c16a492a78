"""Copy a model that `jaxface push` wrote into a folder here, and compare each file with its digest.

  jaxface pull gs://BUCKET/models/mine models/mine
  jaxface pull hf://OWNER/NAME@REVISION models/mine

The folder appears when all files are there and intact. Missing and damaged files are named.
"""

import argparse

from jaxface.interop.hub import pull_model


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, copy, print."""
  parser.add_argument("place", metavar="PLACE", help="a path, a URL of fsspec, or hf://OWNER/NAME, with @REVISION for a branch, tag or commit")
  parser.add_argument("out", metavar="DIR", help="folder to make")
  options = parser.parse_args(arguments)
  print(pull_model(options.place, options.out))
  return 0
