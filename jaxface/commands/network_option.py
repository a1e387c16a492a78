"""The option that names a file of the user's own networks, for every command that may meet one."""

import argparse

from jaxface.models.own import load_networks


def add_network_option(parser: argparse.ArgumentParser) -> None:
  """Declare --network."""
  parser.add_argument(
    "--network", metavar="FILE", default="",
    help="Python file of your own networks (docs/own_network.md); it is executed, so give only what you trust",
  )


def load_network_option(options: argparse.Namespace) -> None:
  """Execute the file that --network names, if one is given."""
  if options.network:
    load_networks(options.network)
