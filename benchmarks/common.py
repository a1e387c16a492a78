"""What all benchmarks share: one memory allocator setting for all sides, paired timing."""

import contextlib
import importlib.util
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from jaxface.commands.malloc import TUNABLES

# Without these, page faults dominate whatever allocates large arrays, and a win may be mostly malloc.
# They are those with which `jaxface train` runs.
MALLOC = TUNABLES


def equal_malloc() -> None:
  """Starts this program again under the allocator settings that every side gets; call it first of all."""
  if os.environ.get("GLIBC_TUNABLES") != MALLOC:
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": MALLOC})


def has(package: str) -> bool:
  """Whether a package to measure against is installed; if not, says how to get it."""
  if importlib.util.find_spec(package) is None:
    print(f"{package} is absent and left out: pip install -e .[bench]", file=sys.stderr)
    return False
  return True


def machine(*packages: str) -> dict[str, Any]:
  """Where the figures come from.

  Args:
    packages: distributions whose versions matter.
  Returns:
    Processor, cores that may be used, load when asked, versions, allocator settings.
  """
  models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
  versions = {"python": platform.python_version()}
  for package in packages:
    try:
      versions[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
      versions[package] = "absent"
  return {
    "processor": models[0] if models else platform.processor(),
    "cores": len(os.sched_getaffinity(0)),
    "load": round(os.getloadavg()[0], 1),
    "versions": versions,
    "malloc": os.environ.get("GLIBC_TUNABLES", "default"),
  }


def _lines(path: str) -> list[str]:
  try:
    return Path(path).read_text().splitlines()
  except OSError:
    return []


class Timing(NamedTuple):
  """Seconds of each round, by side: on the clock, and of processor time in all threads and worker processes."""

  wall: dict[str, list[float]]
  cpu: dict[str, list[float]]


def cpu_seconds() -> float:
  """Processor time of this process and of the workers it has started."""
  ticks = 0
  for child in multiprocessing.active_children():
    with contextlib.suppress(OSError):
      ticks += sum(map(int, Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
  return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def interleave(sides: Mapping[str, Callable[[], Any]], *, rounds: int, warmup: int = 1) -> Timing:
  """Times sides in turn, so that each round sees them all on the same machine in the same mood.

  Args:
    sides: what to run, by name; each call does the same amount of work.
    rounds: how often each is timed. Every round begins with another side.
    warmup: untimed calls of each before.
  Returns:
    Seconds of every side in every round. Where other programs compete for the cores, the clock measures them too, and
    processor time is the better guide.
  """
  names = list(sides)
  for name in names * warmup:
    sides[name]()
  timing = Timing({name: [] for name in names}, {name: [] for name in names})
  for each in range(rounds):
    turn = each % len(names)
    for name in names[turn:] + names[:turn]:
      start, cpu = time.perf_counter(), cpu_seconds()
      sides[name]()
      timing.wall[name].append(time.perf_counter() - start)
      timing.cpu[name].append(cpu_seconds() - cpu)
  return timing


class Speedup(NamedTuple):
  """How many times as fast as its peer a side is: median and quartiles over the rounds."""

  middle: float
  low: float
  high: float

  def __str__(self) -> str:
    return f"{self.middle:.2f} ({self.low:.2f}–{self.high:.2f})"


def speedup(seconds: Mapping[str, Sequence[float]], name: str, peer: str) -> Speedup:
  """How many times as fast as a peer a side is, by ratios within each round.

  Args:
    seconds: one of the two of `interleave`.
    name: the side.
    peer: what it is compared with.
  Returns:
    Of peer's time / side's time.
  """
  ratios = [theirs / ours for ours, theirs in zip(seconds[name], seconds[peer])]
  low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
  return Speedup(middle, low, high)
