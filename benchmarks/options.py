"""What the command lines of all benchmarks share."""

import argparse
import os
import sys


def benchmark_parser(description: str | None, rounds: int, of: str = "", *, eager: bool = False) -> argparse.ArgumentParser:
  """A parser with --rounds and --json.

  Args:
    description: the module's docstring.
    rounds: how many, by default.
    of: what is done so often.
    eager: also declare --eager, for what is measured against PyTorch.
  """
  parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rounds", type=int, default=rounds, help=f"{of} (default: {rounds})".strip())
  if eager:
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes longest to get ready")
  parser.add_argument("--json", metavar="FILE", help="where the figures go as JSON too")
  return parser


def parse_for_cpu(parser: argparse.ArgumentParser) -> argparse.Namespace:
  """The options; our side then computes on the processor, as its peers do, whatever other devices there are."""
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  return options


def announce(what: object) -> None:
  """Says on the error stream what is measured now."""
  print(f"{what} …", file=sys.stderr, flush=True)
