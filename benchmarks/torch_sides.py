"""PyTorch's sides of a benchmark, eager and with `torch.compile`, and bars against the better one."""

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.common import Speedup, has

EAGER, COMPILED = "pytorch", "torch.compile"
# Least and desired speed relative to the faster side, and most memory relative to the smaller one.
BAR, GOAL, MEMORY = 1.0, 1.15, 1.0
BARS = f"Bars: at least {BAR} × the faster of PyTorch's sides (goal {GOAL}), and no more peak memory than the smaller one"


def torch_sides(eager: bool) -> list[str]:
  """Names of the available sides.

  Args:
    eager: without `torch.compile`.
  """
  if not has("torch"):
    return []
  if eager:
    return [EAGER]
  if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
    print("torch.compile needs a C++ compiler and is skipped", file=sys.stderr)
    return [EAGER]
  return [EAGER, COMPILED]


def faster(speed: Mapping[str, Speedup]) -> str | None:
  """Name of PyTorch's faster side; None without PyTorch.

  Args:
    speed: ours against each side of PyTorch, by its name.
  """
  return min((peer for peer in (EAGER, COMPILED) if peer in speed), key=lambda peer: speed[peer].middle, default=None)


def below(what: str, speed: Mapping[str, Speedup], bar: float) -> list[str]:
  """A message if the bar was missed against the faster peer, in a list.

  Args:
    what: what was measured.
    speed: ours against each side of PyTorch, by its name.
    bar: minimum median of the ratio to the faster side.
  """
  fastest = faster(speed)
  if fastest is None or speed[fastest].middle >= bar:
    return []
  return [f"{what} is {speed[fastest].middle:.2f} × {fastest}"]


def memory_ratio(peak: Mapping[str, int], ours: str = "jaxface") -> float | None:
  """Our peak memory relative to that of PyTorch's smaller side; None without PyTorch.

  Args:
    peak: peak memory by side.
    ours: name of our side.
  """
  theirs = [peak[peer] for peer in (EAGER, COMPILED) if peer in peak]
  return peak[ours] / min(theirs) if theirs else None


def above(what: str, peak: Mapping[str, int], bar: float) -> list[str]:
  """A message if our peak memory is above the bar, in a list; arguments as for `memory_ratio`."""
  ratio = memory_ratio(peak)
  return [f"{what} takes {ratio:.2f} × the memory of PyTorch"] if ratio is not None and ratio > bar else []


def verdict_cells(speed: Mapping[str, Speedup], by_cpu: Mapping[str, Speedup], peak: Mapping[str, int]) -> dict[str, Any]:
  """Cells of a row against PyTorch's better side; none without PyTorch.

  Args:
    speed, by_cpu: ours against each side of PyTorch, by wall and by processor time.
    peak: peak memory by side.
  """
  fastest = faster(speed)
  if fastest is None:
    return {}
  return {
    "faster of PyTorch": fastest, "speed / faster": str(speed[fastest]), "by CPU time / faster": f"{by_cpu[fastest].middle:.2f}",
    "peak memory / smaller": f"{memory_ratio(peak):.2f}",
  }


def missed_by(what: str, speed: Mapping[str, Speedup], peak: Mapping[str, int]) -> list[str]:
  """Messages for each of the two bars that a row missed."""
  return [*below(what, speed, BAR), *above(what, peak, MEMORY)]


def verdict(missed: list[str], peers: list[str]) -> str:
  """A line on all rows.

  Args:
    missed: from `missed_by`.
    peers: PyTorch's sides.
  """
  if not peers:
    return f"{BARS}: not measured, PyTorch is not installed."
  return f"{BARS}: {'; '.join(missed) or 'met'}{'' if COMPILED in peers else f' ({COMPILED} was not measured)'}."


__all__ = [
  "BAR", "BARS", "COMPILED", "EAGER", "GOAL", "MEMORY", "above", "below", "faster", "memory_ratio", "missed_by", "torch_sides", "verdict",
  "verdict_cells",
]
