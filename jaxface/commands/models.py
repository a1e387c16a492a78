"""List the networks, with their size.

  jaxface models 'iresnet*'
"""

import argparse

from jaxface.models.preprocess import get_preprocess
from jaxface.models.registry import list_models
from jaxface.models.saved import count_parameters, variable_shapes


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list."""
  parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of names (default: all)")
  options = parser.parse_args(arguments)
  names = list_models(options.pattern)
  if not names:
    raise ValueError(f"no network matches {options.pattern!r}; there are: {', '.join(list_models())}")
  print(f"{'name':20} {'parameters':>12}")
  for name in names:
    shapes = variable_shapes(name, {}, get_preprocess("unit"))
    print(f"{name:20} {count_parameters(shapes['params']):12,}")
  return 0
