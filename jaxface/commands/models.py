"""List the networks: input, size, multiply-adds, and the figures of their papers; or the layers of one network.

  jaxface models                 all networks
  jaxface models 'iresnet*'      networks whose names match
  jaxface models facenet_nn2     its layers
  jaxface models runs/mine       card of a model folder: licence, origin, input, preprocessing

Multiply-adds are for one image, without biases. "with biases" counts one more per output value for the bias, as FaceNet's
tables do.
"""

import argparse

from jaxface.models.overview import describe
from jaxface.options import add_network, load_network


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the table, the layers or the card."""
  parser.add_argument("pattern", nargs="?", default="*", help="name, shell pattern of names, or model folder (default: all)")
  add_network(parser)
  parser.add_argument("--measure", action="store_true", help="also measure images per second on this machine")
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of --measure (default: float32)")
  options = parser.parse_args(arguments)
  load_network(options)
  for line in describe(options.pattern, measure=options.measure, dtype=options.dtype):
    print(line, flush=True)
  return 0
