"""List the networks: input, size, multiply-adds, and what their papers print; or one of them layer by layer.

  jaxface models                 all of them
  jaxface models 'iresnet*'      those whose names match
  jaxface models facenet_nn2     its layers
  jaxface models runs/mine       card of a model folder: licence, origin, input, preprocessing

Multiply-adds are of one image, those of biases not counted; "with biases" counts one more for each bias and number of the
result, as FaceNet's tables do.
"""

import argparse
from pathlib import Path

from jaxface.commands.network_option import add_network_option, load_network_option
from jaxface.commands.speed import measure
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import list_models, unknown
from jaxface.models.saved import card_of
from jaxface.models.summary import Summary, summarise


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the table."""
  parser.add_argument("pattern", nargs="?", default="*", help="name, shell pattern of names, or model folder (default: all)")
  add_network_option(parser)
  parser.add_argument("--measure", action="store_true", help="also measure images per second on this machine")
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="to measure in (float32)")
  options = parser.parse_args(arguments)
  load_network_option(options)
  if Path(options.pattern).is_dir() and options.pattern not in list_models():
    print(card_of(options.pattern), end="")
    return 0
  names = list_models(options.pattern)
  if not names:
    raise ValueError(unknown("network", options.pattern, list_models()))
  if names == [options.pattern]:
    summary = summarise(options.pattern)
    print_layers(summary)
    if options.measure:
      speed = measure(summary.name, summary.multiply_adds, dtype=options.dtype)
      print(f"here: {speed.forward:,.1f} images/s forward, {speed.train:,.1f} in training ({speed.dtype}, batch {speed.batch})")
    return 0
  titles = ["name", "input", "embedding", "parameters", "mult-adds", "paper:", "mult-adds", "LFW"]
  widths = [-max(map(len, names)), -26, 9, 11, 9, 9, 9, 6]
  if options.measure:
    titles, widths = [*titles, "forward/s", "train/s"], [*widths, 9, 9]
  print(line(titles, widths))
  for name in names:
    summary = summarise(name)
    cells = figures(summary)
    if options.measure:
      speed = measure(name, summary.multiply_adds, dtype=options.dtype)
      cells += [f"{speed.forward:,.1f}", f"{speed.train:,.1f}"]
    print(line(cells, widths), flush=True)
  return 0


def figures(summary: Summary) -> list[str]:
  """A network's row: name, input, embedding, parameters, multiply-adds, and the last two and LFW as its paper has them."""
  paper = summary.published
  printed = (paper.parameters, paper.multiply_adds) if paper else (None, None)
  return [
    summary.name, input_text(summary.convention), str(summary.embedding_size), f"{summary.parameters:,}",
    rounded(summary.multiply_adds), *(rounded(number) if number else "–" for number in printed),
    f"{paper.lfw:.2f}" if paper and paper.lfw else "–",
  ]


def input_text(convention: Preprocess) -> str:
  """Size, colours and name of an input convention, such as "112×112×3 rgb unit"."""
  height, width = convention.size
  return f"{height}×{width}×{convention.channels} {convention.colour} {convention.name}"


def rounded(number: float) -> str:
  """A count with four digits: 140.0 M, 1.603 G."""
  for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
    if number >= size:
      return f"{number / size:#.4g} {unit}"
  return str(round(number))


def line(cells: list[str], widths: list[int]) -> str:
  """Cells in columns, to the left where the width is negative."""
  return "  ".join(cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, width in zip(cells, widths)).rstrip()


def print_layers(summary: Summary) -> None:
  """A network layer by layer."""
  print(f"{summary.name}: input {summary.convention}, embedding of {summary.embedding_size}")
  if paper := summary.published:
    print(f"paper: {paper.paper}" + (f" ({paper.note})" if paper.note else ""))
  rows = [["layer", "kind", "input", "output", "parameters", "mult-adds", "with biases"]]
  for row in summary.layers:
    shapes = ("×".join(map(str, shape)) for shape in (row.input_shape, row.output_shape))
    counts = (f"{number:,}" if number else "" for number in (row.parameters, row.multiply_adds, row.with_bias))
    rows.append([row.path or summary.name, row.kind, *shapes, *counts])
  totals = (summary.parameters, summary.multiply_adds, summary.with_bias)
  rows.append(["total", "", "", "", *(f"{number:,}" for number in totals)])
  sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
  for cells in rows:
    print(line(cells, [-size if column < 2 else size for column, size in enumerate(sizes)]))
