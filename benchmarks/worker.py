"""Sides of a comparison in separate processes, so that threads, memory and settings do not interfere."""

import ctypes
import gc
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Build = Callable[..., tuple[Callable[[], Any], dict[str, Any]]]


class Worker:
  """A process that prepares some work and then runs it once per call.

  Args:
    build: module-level function; called with `arguments` in the new process, it returns the work and
      facts about it.
    arguments: plain values.
    deadline: in seconds of `time.monotonic`: the process is ended if it has not answered by then. None for no limit.

  Attributes:
    facts: facts returned by `build`.
  """

  def __init__(self, build: Build, *arguments: Any, deadline: float | None = None):
    self._deadline = deadline
    # Not forked: the new process starts with the allocator settings and without other threads.
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    self._process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
    self._process.start()
    theirs.close()
    self.facts: dict[str, Any] = self._answer()

  def __call__(self) -> Any:
    """Run the work once, and wait for it."""
    self._pipe.send(True)
    return self._answer()

  def close(self) -> int:
    """End the process; returns its peak memory in bytes, 0 if it has ended already."""
    if not self._process.is_alive():
      return 0
    self._pipe.send(False)
    peak = self._answer()
    self._process.join()
    return peak

  def _answer(self) -> Any:
    if self._deadline is not None and not self._pipe.poll(max(0.0, self._deadline - time.monotonic())):
      self._process.kill()
      self._process.join()
      raise TimeoutError("a worker of the benchmark was ended: the time is over")
    try:
      fine, value = self._pipe.recv()
    except EOFError:
      self._process.join()
      code = self._process.exitcode
      raise RuntimeError(f"a worker of the benchmark ended with {code} (-9: probably out of memory)") from None
    if not fine:
      raise RuntimeError(f"a worker of the benchmark failed:\n{value}")
    return value


def _serve(pipe: Connection, build: Build, arguments: tuple) -> None:
  try:
    work, facts = build(*arguments)
    pipe.send((True, facts))
    while pipe.recv():
      pipe.send((True, work()))
    pipe.send((True, peak_memory()))
  except (EOFError, BrokenPipeError):
    pass  # The parent has ended.
  except BaseException:
    pipe.send((False, traceback.format_exc()))


def peak_memory(field: str = "VmHWM") -> int:
  """Peak memory in bytes. Not `ru_maxrss`, which starts at the size of the parent process."""
  lines = Path("/proc/self/status").read_text().splitlines()
  return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def beyond(run: Callable[[], Sequence[Any]]) -> tuple[Sequence[Any], int]:
  """The arrays returned by `run`, and the maximum increase of resident memory in bytes, without the arrays."""
  gc.collect()
  ctypes.CDLL(None).malloc_trim(0)
  Path("/proc/self/clear_refs").write_text("5")  # resets the peak
  before = peak_memory("VmRSS")
  results = run()
  return results, peak_memory() - before - sum(part.nbytes for part in results)


def cores() -> int:
  """Number of threads of each side: the cores that this process may run on."""
  return len(os.sched_getaffinity(0))
