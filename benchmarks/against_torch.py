"""Rows of a table "jaxface against PyTorch": all sides in their own processes, alternating."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import interleave, speedup
from benchmarks.matrix_peak import PRODUCT, product_side, share_cells
from benchmarks.options import announce
from benchmarks.torch_sides import COMPILED, missed_by, verdict, verdict_cells
from benchmarks.worker import Worker

SPEED = (
  "Speed is PyTorch's time divided by jaxface's, per round: median, and quartiles in brackets. The ratio of processor time is"
  " more reliable if other programs used the cores. The peer of a row is PyTorch's faster side; memory is compared with its smaller side."
)


class Rows(NamedTuple):
  """Measured rows.

  Attributes:
    rows: of the table.
    missed: a line for each bar that a row missed.
    verdict: of all rows, for the page.
  """

  rows: list[dict[str, Any]]
  missed: list[str]
  verdict: str


def compare(
  name: str, about: Mapping[str, Any], ours: Callable[..., Any], theirs: Callable[..., Any], arguments: tuple[Any, ...], *, fact: str,
  tolerance: float, differ: str, rounds: int, peers: Sequence[str], flops: float,
) -> tuple[dict[str, Any], list[str]]:
  """A row of the table, and what it missed.

  Args:
    name: of the case, for messages.
    about: first columns of the row.
    ours: makes our step and its facts, see `Worker`; one of them is "temporaries" in bytes.
    theirs: makes PyTorch's; has one more argument, whether it goes through `torch.compile`.
    arguments: of both.
    fact: fact of all sides that must agree.
    tolerance: relative.
    differ: what differs if they do not agree, for the message.
    rounds: timed steps of each side.
    peers: PyTorch's sides, see `torch_sides`.
    flops: floating-point operations of the matrix products of a call, in float32.
  Raises:
    AssertionError: the facts differ.
  """
  sides = {"jaxface": Worker(ours, *arguments)}
  for peer in peers:
    sides[peer] = Worker(theirs, *arguments, peer == COMPILED)
    here, there = sides["jaxface"].facts[fact], sides[peer].facts[fact]
    if not np.allclose(here, there, rtol=tolerance):
      raise AssertionError(f"{differ}: {here} here, {there} in {peer}")
  product = Worker(product_side, "float32")
  timing = interleave({**sides, PRODUCT: product}, rounds=rounds, warmup=2)
  product.close()
  temporaries = sides["jaxface"].facts["temporaries"]
  peak = {side: worker.close() for side, worker in sides.items()}
  row = {**about, **{f"{side} ms": 1e3 * float(np.median(timing.wall[side])) for side in sides}}
  speed, by_cpu = ({peer: speedup(seconds, "jaxface", peer) for peer in peers} for seconds in (timing.wall, timing.cpu))
  row |= verdict_cells(speed, by_cpu, peak)
  row |= share_cells(flops, timing.wall, product.facts["flops"], list(sides))
  row["temporaries MB"] = temporaries / 1e6
  return row | {f"{side} peak MB": peak[side] / 1e6 for side in sides}, missed_by(name, speed, peak)


def measure(names: Iterable[str], row_of: Callable[[str], tuple[dict[str, Any], list[str]]], *, peers: list[str]) -> Rows:
  """The rows of all cases, held against the bars.

  Args:
    names: cases.
    row_of: gives the row of one and what it missed, see `compare`.
    peers: PyTorch's sides.
  """
  rows, missed = [], []
  for name in names:
    announce(name)
    row, wrong = row_of(name)
    rows.append(row)
    missed += wrong
  return Rows(rows, missed, verdict(missed, peers))


__all__ = ["SPEED", "Rows", "compare", "measure"]
