"""Set the model that commands take where --model is not given.

  jaxface use runs/mine      # set
  jaxface use                # print it
  jaxface use --none         # clear

The setting is one line in jaxface/model in the user's configuration folder ($XDG_CONFIG_HOME, or ~/.config). The environment variable
JAXFACE_MODEL takes precedence. Exit code 1 if none is set.
"""

import argparse

from jaxface.inference.chosen_model import default_model, set_default_model
from jaxface.options import add_network, load_network


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, set or print."""
  given = parser.add_mutually_exclusive_group()
  given.add_argument("model", nargs="?", metavar="DIR", help="model directory, or workdir of a training run")
  given.add_argument("--none", action="store_true", help="clear the default")
  add_network(parser)
  options = parser.parse_args(arguments)
  load_network(options)
  if options.none:
    set_default_model(None)
  elif options.model:
    set_default_model(options.model)
  found = default_model()
  print(found or "no default model is set: `jaxface use DIR`")
  return 0 if found or options.none else 1
