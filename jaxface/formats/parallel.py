"""Runs a function over many tasks, in this process or in several spawned ones."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def num_cores() -> int:
  """Cores that this process may use (on some systems: all cores)."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_processes(images: int) -> int:
  """Number of processes worth starting: starting one costs as much as some thousand images.

  Args:
    images: number of images to process.
  Returns:
    Between 1 and the number of cores that this process may use.
  """
  return max(1, min(num_cores(), images // 2000))


def _end_with_parent() -> None:
  """Ends the worker with its parent: after a killed parent, workers would wait for tasks forever."""

  def wait() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
      parent.join()
      os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
  """Processes started inside ignore Ctrl-C, which a terminal sends to all of them: the parent stops them silently."""
  if not hasattr(signal, "pthread_sigmask"):
    yield
    return
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
  """Processes that are started with the first task and ended with the `with` block.

  Processes are spawned, not forked: the fork of a process with threads (such as JAX's) may deadlock.

  Args:
    processes: 1 runs everything in this process.
  """

  def __init__(self, processes: int):
    self.processes = processes
    self._pool: ProcessPoolExecutor | None = None

  def __enter__(self) -> Workers:
    return self

  def __exit__(self, *exception: object) -> None:
    if self._pool is not None:
      self._pool.shutdown(cancel_futures=True)

  def unordered(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
    """Runs tasks and yields results as they complete.

    Args:
      function: a module-level function.
      tasks: its arguments.
    Returns:
      An iterator of (number of the task, result).
    Raises:
      Exception: the first exception of a task; tasks that have not started are cancelled with the `with` block.
    """
    if self.processes <= 1 or len(tasks) <= 1:
      for number, task in enumerate(tasks):
        yield number, function(task)
      return
    if self._pool is None:
      context = multiprocessing.get_context("spawn")
      self._pool = ProcessPoolExecutor(self.processes, mp_context=context, initializer=_end_with_parent)
    with _no_interrupts():
      futures = {self._pool.submit(function, task): number for number, task in enumerate(tasks)}
    for future in as_completed(futures):
      yield futures[future], future.result()
