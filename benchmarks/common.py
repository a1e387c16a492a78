"""Common parts of the benchmarks: one memory allocator setting for all sides, paired timing."""

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

# Without these, page faults dominate code that allocates large arrays, and a difference may be mostly malloc's.
# `jaxface train` uses the same settings.
MALLOC = TUNABLES


def equal_malloc() -> None:
  """Restarts this program with the allocator settings of all sides; call it first."""
  if os.environ.get("GLIBC_TUNABLES") != MALLOC:
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": MALLOC})


def has(package: str) -> bool:
  """Whether a peer's package is installed; if not, prints how to install it."""
  if importlib.util.find_spec(package) is None:
    print(f"{package} is not installed and skipped: pip install -e .[bench]", file=sys.stderr)
    return False
  return True


def machine(*packages: str) -> dict[str, Any]:
  """The environment of the figures.

  Args:
    packages: distributions whose versions are listed.
  Returns:
    Processor, available cores, current load, versions, allocator settings.
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
  """Seconds of each round, by side: wall time, and processor time of all threads and worker processes."""

  wall: dict[str, list[float]]
  cpu: dict[str, list[float]]


def cpu_seconds() -> float:
  """Processor time of this process and of its workers."""
  ticks = 0
  for child in multiprocessing.active_children():
    with contextlib.suppress(OSError):
      ticks += sum(map(int, Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
  return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def interleave(sides: Mapping[str, Callable[[], Any]], *, rounds: int, warmup: int = 1) -> Timing:
  """Times the sides in alternation, so that each round measures all of them under the same conditions.

  Args:
    sides: functions by name; each call does the same amount of work.
    rounds: number of timings of each. Every round begins with another side.
    warmup: untimed calls of each before.
  Returns:
    Seconds of every side in every round. If other programs compete for the cores, wall time includes them, and processor
    time is more reliable.
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
  """Speed of a side relative to its peer: median and quartiles over the rounds."""

  middle: float
  low: float
  high: float

  def __str__(self) -> str:
    return f"{self.middle:.2f} ({self.low:.2f}–{self.high:.2f})"


def speedup(seconds: Mapping[str, Sequence[float]], name: str, peer: str) -> Speedup:
  """Speed of a side relative to a peer, from ratios within each round.

  Args:
    seconds: wall or CPU times from `interleave`.
    name: the side.
    peer: the side to compare with.
  Returns:
    Median and quartiles of peer's time / side's time.
  """
  ratios = [theirs / ours for ours, theirs in zip(seconds[name], seconds[peer])]
  low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
  return Speedup(middle, low, high)
