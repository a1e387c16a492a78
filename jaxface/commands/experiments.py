"""List the experiments that `jaxface train` knows, with the first line of what each says of itself."""

import argparse

from jaxface.training.config import list_experiments, load_experiment


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list."""
  parser.parse_args(arguments)
  for name in list_experiments():
    _, text = load_experiment(name)
    print(f"{name:20} {text.strip().splitlines()[0] if text.strip() else ''}")
  return 0
