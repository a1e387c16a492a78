"""List the experiments of `jaxface train`, with the first line of each docstring."""

import argparse

from jaxface.command_line import listing
from jaxface.pipeline.installation import describe_experiments


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list."""
  parser.parse_args(arguments)
  print(listing(describe_experiments()))
  return 0
