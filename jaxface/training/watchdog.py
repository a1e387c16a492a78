"""Prints the stacks of all threads of a run that shows no sign of life for too long."""

import contextlib
import faulthandler
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from jaxface.training.host_monitor import AGAIN
from jaxface.training.hosts import end_together, position, stand_at, whereabouts

_TICK = 1.0


class Watchdog:
  """Expects a sign of life (`stand_at`, `sign_of_life`) at least every `seconds`, until `stop`.

  Without one, the stacks of all threads are printed to the error stream. Several processes then end, each for all: where a
  collective hangs, nothing else would end them. One process goes on: what it waits for may still come. While this process waits
  for others at a common point, the limit of `gather` holds instead, which names the missing ones.

  Args:
    seconds: longest time without a sign.
  """

  def __init__(self, seconds: float):
    self.seconds = seconds
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._watch, name="jaxface-watchdog", daemon=True)

  def start(self) -> None:
    """Begin to watch."""
    self._thread.start()

  def stop(self) -> None:
    """Watch no longer."""
    self._stop.set()
    self._thread.join()

  def _watch(self) -> None:
    then, waited, seen, now_at = time.monotonic(), 0.0, -1, position()
    while not self._stop.wait(min(_TICK, self.seconds / 4)):
      now = time.monotonic()
      # Time in which the whole process was stopped is not time in which it did nothing.
      waited += min(now - then, 2 * _TICK)
      then = now
      if now_at.count != seen or now_at.waiting:
        seen, waited = now_at.count, 0.0
      if waited > self.seconds:
        waited = 0.0
        self._say(now_at.where)

  def _say(self, where: str) -> None:
    faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)
    when = where if where.startswith("after ") else f"while {where}"
    text = (
      f"nothing was completed for {self.seconds:g} s (mesh.stall_seconds) {when}; the stacks of all threads are above. If it only"
      " needs longer, raise --mesh.stall_seconds"
    )
    if everyone := whereabouts():
      end_together(f"{text}. The processes were at:\n{everyone}\nRemove the cause, then {AGAIN}")
    print(f"jaxface: {text}", file=sys.stderr, flush=True)


_watching: list[Watchdog] = []


@contextlib.contextmanager
def watched(seconds: float) -> Iterator[None]:
  """Watch what runs inside the `with`; inside another one it does nothing.

  Args:
    seconds: see `Watchdog`; 0 watches nothing.
  """
  if _watching or not seconds:
    yield
    return
  watchdog = Watchdog(seconds)
  _watching.append(watchdog)
  watchdog.start()
  try:
    yield
  finally:
    _watching.remove(watchdog)
    watchdog.stop()


class InFlight:
  """Steps that the devices work on while the main thread goes on; a step is a sign of life once it is completed."""

  def __init__(self) -> None:
    self._steps: deque[tuple[int, Any]] = deque()

  def add(self, step: int, result: Any) -> None:
    """A step was handed to the devices.

    Args:
      step: its number.
      result: an array that it computes.
    """
    self._steps.append((step, result))
    last = 0
    while self._steps and self._steps[0][1].is_ready():
      last, _ = self._steps.popleft()
    if last:
      stand_at(f"after step {last}")


__all__ = ["InFlight", "Watchdog", "watched"]
