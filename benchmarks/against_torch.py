"""Rows of a table "jaxface against PyTorch": both sides in their own processes, alternating."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import has, interleave, speedup
from benchmarks.options import announce
from benchmarks.worker import Worker

SPEED = (
  "Speed is PyTorch's time divided by jaxface's, per round: median, and quartiles in brackets. The ratio of processor time is"
  " more reliable if other programs used the cores."
)


class Rows(NamedTuple):
  """Measured rows.

  Attributes:
    rows: of the table.
    missed: a line for each row that missed the bar.
    verdict: of all rows, for the page.
  """

  rows: list[dict[str, Any]]
  missed: list[str]
  verdict: str


def compare(
  about: Mapping[str, Any], ours: Callable[..., Any], theirs: Callable[..., Any], arguments: tuple[Any, ...], *, fact: str,
  tolerance: float, differ: str, rounds: int,
) -> tuple[dict[str, Any], float | None]:
  """A row of the table, and the speed against PyTorch; None if it is not installed.

  Args:
    about: first columns of the row.
    ours: makes our step and its facts, see `Worker`; one of them is "temporaries" in bytes.
    theirs: makes PyTorch's.
    arguments: of both.
    fact: fact of both sides that must agree.
    tolerance: relative.
    differ: what differs if they do not agree, for the message.
    rounds: timed steps of each side.
  Raises:
    AssertionError: the facts differ.
  """
  sides = {"jaxface": Worker(ours, *arguments)}
  if has("torch"):
    sides["pytorch"] = Worker(theirs, *arguments)
    here, there = (side.facts[fact] for side in sides.values())
    if not np.allclose(here, there, rtol=tolerance):
      raise AssertionError(f"{differ}: {here} here, {there} in PyTorch")
  timing = interleave(sides, rounds=rounds, warmup=2)
  temporaries = sides["jaxface"].facts["temporaries"]
  peak = {name: side.close() for name, side in sides.items()}
  row = {**about, **{f"{name} ms": 1e3 * float(np.median(timing.wall[name])) for name in sides}}
  middle = None
  if "pytorch" in sides:
    faster = speedup(timing.wall, "jaxface", "pytorch")
    middle = faster.middle
    row["speed / pytorch"] = str(faster)
    row["by CPU time"] = f"{speedup(timing.cpu, 'jaxface', 'pytorch').middle:.2f}"
  row["temporaries MB"] = temporaries / 1e6
  return row | {f"{name} peak MB": peak[name] / 1e6 for name in sides}, middle


def measure(names: Iterable[str], row_of: Callable[[str], tuple[dict[str, Any], float | None]], *, bar: float) -> Rows:
  """The rows of all cases, held against a bar.

  Args:
    names: cases.
    row_of: gives the row of one and its speed, see `compare`.
    bar: least speed.
  """
  rows, missed = [], []
  for name in names:
    announce(name)
    row, middle = row_of(name)
    rows.append(row)
    if middle is not None and middle < bar:
      missed.append(f"{name} is {middle:.2f} × PyTorch")
  measured = "speed / pytorch" in rows[0]
  return Rows(rows, missed, ("; ".join(missed) or "met") if measured else "not measured, PyTorch is not installed")


__all__ = ["SPEED", "Rows", "compare", "measure"]
