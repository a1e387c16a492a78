"""Command-line options shared by all benchmarks."""

import argparse
import os
import sys


def benchmark_parser(description: str | None, rounds: int, of: str = "", *, eager: bool = False) -> argparse.ArgumentParser:
  """A parser with --rounds and --json.

  Args:
    description: the module's docstring.
    rounds: default number of rounds.
    of: help text of --rounds.
    eager: also declare --eager, for benchmarks against PyTorch.
  """
  parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rounds", type=int, default=rounds, help=f"{of} (default: {rounds})".strip())
  if eager:
    parser.add_argument("--eager", action="store_true", help="do not use torch.compile, which takes longest to prepare")
  parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON to this file")
  return parser


def parse_for_cpu(parser: argparse.ArgumentParser) -> argparse.Namespace:
  """Parses the options, and sets JAX to use the CPU, as its peers do."""
  options = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  return options


def announce(what: object) -> None:
  """Prints the current measurement to standard error."""
  print(f"{what} …", file=sys.stderr, flush=True)
