"""PyTorch's sides of a benchmark, eager and with `torch.compile`, and bars against the faster one."""

import os
import shutil
import sys
from collections.abc import Mapping

from benchmarks.common import Speedup, has

EAGER, COMPILED = "pytorch", "torch.compile"


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


def below(what: str, speed: Mapping[str, Speedup], bar: float) -> list[str]:
  """A message if the bar was missed against the faster peer, in a list.

  Args:
    what: what was measured.
    speed: ours against each side of PyTorch, by its name.
    bar: minimum median of the ratio to the faster side.
  """
  fastest = min((peer for peer in (EAGER, COMPILED) if peer in speed), key=lambda peer: speed[peer].middle, default=None)
  if fastest is None or speed[fastest].middle >= bar:
    return []
  return [f"{what} is {speed[fastest].middle:.2f} × {fastest}"]


__all__ = ["COMPILED", "EAGER", "below", "torch_sides"]
