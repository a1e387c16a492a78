"""Write a small set in the format of a protocol, with embeddings, to try the protocol before its data are there.

  python -m tfrecords_tools toy cfp-fp TOY
  jaxface evaluate --protocol cfp-fp --pairs TOY/lists --embeddings TOY/embeddings.npz
"""

import argparse

from jaxface.evaluation.protocols.toy import TOYS, make_toy


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Parse, write, print."""
  parser.add_argument("protocol", choices=TOYS, metavar="PROTOCOL", help=f"one of {', '.join(TOYS)}")
  parser.add_argument("out", metavar="OUT", help="folder to write, must not exist")
  parser.add_argument("--seed", type=int, default=0, metavar="N", help="equal seeds give equal sets (default: 0)")
  options = parser.parse_args(arguments)
  lists = make_toy(options.protocol, options.out, seed=options.seed)
  print(f"{options.out}: jaxface evaluate --protocol {options.protocol} --pairs {lists} --embeddings {options.out}/embeddings.npz")
  return 0
