"""Print versions, devices, and missing packages of this machine."""

import argparse

from jaxface.command_line import listing
from jaxface.pipeline.installation import describe_installation


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list."""
  parser.parse_args(arguments)
  print(listing(describe_installation()))
  return 0
