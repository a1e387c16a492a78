"""Descriptions of networks: a table, the layers of one network, or the card of a model folder."""

from collections.abc import Iterator
from pathlib import Path

from jaxface.models.description import card_of
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import list_models, unknown
from jaxface.models.speed import measure_speed
from jaxface.models.summary import Summary, summarise


def describe(what: str | Path = "*", *, measure: bool = False, dtype: str = "float32") -> Iterator[str]:
  """Lines on networks: input, size, multiply-adds, and the figures of their papers.

  Args:
    what: name of a network, which gives its layers; a shell pattern of names, which gives a table; or a model folder, which
      gives its card.
    measure: also measure images per second on this machine, some seconds for each network.
    dtype: number format of the measurement, "float32" or "bfloat16".
  Returns:
    Lines of text; rows of a table are generated lazily.
  Raises:
    ValueError: no network of that name; the message lists similar names.
  """
  if Path(what).is_dir() and str(what) not in list_models():
    return iter(card_of(what).splitlines())
  names = list_models(str(what))
  if not names:
    raise ValueError(unknown("network", str(what), list_models()))
  return _one(names[0], measure, dtype) if names == [str(what)] else _table(names, measure, dtype)


def _one(name: str, measure: bool, dtype: str) -> Iterator[str]:
  summary = summarise(name)
  yield from _layers(summary)
  if measure:
    speed = measure_speed(name, summary.multiply_adds, dtype=dtype)
    yield f"here: {speed.forward:,.1f} images/s forward, {speed.train:,.1f} in training ({speed.dtype}, batch {speed.batch})"


def _table(names: list[str], measure: bool, dtype: str) -> Iterator[str]:
  titles = ["name", "input", "embedding", "parameters", "mult-adds", "paper:", "mult-adds", "LFW"]
  widths = [-max(map(len, names)), -26, 9, 11, 9, 9, 9, 6]
  if measure:
    titles, widths = [*titles, "forward/s", "train/s"], [*widths, 9, 9]
  yield _line(titles, widths)
  for name in names:
    summary = summarise(name)
    cells = figures(summary)
    if measure:
      speed = measure_speed(name, summary.multiply_adds, dtype=dtype)
      cells += [f"{speed.forward:,.1f}", f"{speed.train:,.1f}"]
    yield _line(cells, widths)


def figures(summary: Summary) -> list[str]:
  """A network's row: name, input, embedding, parameters, multiply-adds, and the last two and LFW accuracy of its paper."""
  paper = summary.published
  printed = (paper.parameters, paper.multiply_adds) if paper else (None, None)
  return [
    summary.name, _input_text(summary.convention), str(summary.embedding_size), f"{summary.parameters:,}",
    rounded(summary.multiply_adds), *(rounded(number) if number else "–" for number in printed),
    f"{paper.lfw:.2f}" if paper and paper.lfw else "–",
  ]


def _input_text(convention: Preprocess) -> str:
  """Size, colours and name of an input convention, such as "112×112×3 rgb unit"."""
  height, width = convention.size
  return f"{height}×{width}×{convention.channels} {convention.colour} {convention.name}"


def rounded(number: float) -> str:
  """A count with four digits: 140.0 M, 1.603 G."""
  for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
    if number >= size:
      return f"{number / size:#.4g} {unit}"
  return str(round(number))


def _line(cells: list[str], widths: list[int]) -> str:
  """Cells in columns, to the left where the width is negative."""
  return "  ".join(cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, width in zip(cells, widths)).rstrip()


def _layers(summary: Summary) -> Iterator[str]:
  """A network layer by layer."""
  yield f"{summary.name}: input {summary.convention}, embedding of {summary.embedding_size}"
  if paper := summary.published:
    yield f"paper: {paper.paper}" + (f" ({paper.note})" if paper.note else "")
  rows = [["layer", "kind", "input", "output", "parameters", "mult-adds", "with biases"]]
  for row in summary.layers:
    shapes = ("×".join(map(str, shape)) for shape in (row.input_shape, row.output_shape))
    counts = (f"{number:,}" if number else "" for number in (row.parameters, row.multiply_adds, row.with_bias))
    rows.append([row.path or summary.name, row.kind, *shapes, *counts])
  totals = (summary.parameters, summary.multiply_adds, summary.with_bias)
  rows.append(["total", "", "", "", *(f"{number:,}" for number in totals)])
  sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
  for cells in rows:
    yield _line(cells, [-size if column < 2 else size for column, size in enumerate(sizes)])


__all__ = ["describe", "figures", "rounded"]
