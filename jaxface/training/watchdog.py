"""Says where a run hangs: the stacks of all threads, when nothing was completed for too long."""

import faulthandler
import sys
import threading
import time
from collections import deque
from typing import Any

from jaxface.training.host_monitor import AGAIN
from jaxface.training.hosts import end_together, stand_at, whereabouts

_TICK = 1.0


class Watchdog:
  """Between `start` and `stop`, expects that something is completed at least every `seconds`.

  When nothing is, the stacks of all threads are printed to the error stream. Several processes then end, each for all: where a
  collective hangs, nothing else would end them. One process goes on: what it waits for may still come.

  Args:
    seconds: longest time between two calls of `done`; 0 watches nothing.
  """

  def __init__(self, seconds: float):
    self.seconds = seconds
    self._what = "the start of training"
    self._waited = 0.0
    self._stop = threading.Event()
    self._thread: threading.Thread | None = None
    self._steps: deque[tuple[int, Any]] = deque()

  def done(self, what: str) -> None:
    """Something was completed, in words."""
    self._what, self._waited = what, 0.0
    stand_at(f"after {what}")

  def dispatched(self, step: int, result: Any) -> None:
    """A step was handed to the devices, which work on it while the caller goes on; it counts once it is completed.

    Args:
      step: its number.
      result: an array that it computes.
    """
    self._steps.append((step, result))
    last = 0
    while self._steps and self._steps[0][1].is_ready():
      last, _ = self._steps.popleft()
    if last:
      self.done(f"step {last}")

  def start(self) -> None:
    """Begin to watch."""
    if self.seconds:
      self._thread = threading.Thread(target=self._watch, name="jaxface-watchdog", daemon=True)
      self._thread.start()

  def stop(self) -> None:
    """Watch no longer."""
    self._stop.set()
    if self._thread is not None:
      self._thread.join()

  def _watch(self) -> None:
    then = time.monotonic()
    while not self._stop.wait(min(_TICK, self.seconds / 4)):
      now = time.monotonic()
      # Time in which the whole process was stopped is not time in which it did nothing.
      self._waited += min(now - then, 2 * _TICK)
      then = now
      if self._waited > self.seconds:
        self._waited = 0.0
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)
        where = whereabouts()
        text = (
          f"nothing was completed for {self.seconds:g} s (mesh.stall_seconds) after {self._what}; the stacks of all threads are"
          " above"
        )
        if where:
          end_together(f"{text}. The processes were at:\n{where}\nRemove the cause, then {AGAIN}")
        print(f"jaxface: {text}", file=sys.stderr, flush=True)


__all__ = ["Watchdog"]
