"""Images per second, and where the time of an interval goes: input, dispatch, devices, log. Hooks are left out."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any


class DeviceClock:
  """Seconds in which the devices work on steps. A thread of its own waits for each step, the training loop waits for nothing.

  A step begins when it is handed over or when the step before is completed, whichever is later.

  Args:
    now: the clock, in seconds.
  """

  def __init__(self, now: Callable[[], float] = time.perf_counter):
    self._now = now
    self._steps: queue.SimpleQueue[tuple[float, Any] | None] = queue.SimpleQueue()
    self._lock = threading.Lock()
    self._busy, self._ended = 0.0, 0.0
    self._running: float | None = None  # begin of the step that the thread waits for
    self._thread = threading.Thread(target=self._watch, name="jaxface-device-clock", daemon=True)
    self._thread.start()

  def add(self, began: float, result: Any) -> None:
    """A step was handed to the devices.

    Args:
      began: time of the clock before the step was handed over.
      result: an array that it computes.
    """
    self._steps.put((began, result))

  def busy(self) -> float:
    """Seconds of work so far, with the part of the present step that has passed."""
    with self._lock:
      return self._busy + (0.0 if self._running is None else self._now() - self._running)

  def close(self) -> None:
    """End the thread after the steps that it has."""
    self._steps.put(None)

  def _watch(self) -> None:
    while (step := self._steps.get()) is not None:
      with self._lock:
        began = self._running = max(step[0], self._ended)
      try:
        step[1].block_until_ready()
      except Exception:  # the loop gets the same error from its own use of the result, and reports it
        return
      finally:
        with self._lock:
          self._ended = self._now()
          self._busy += max(self._ended - began, 0.0)
          self._running = None


class SpeedMeter:
  """Measures between two readings.

  Args:
    batch_size: images per step, over all devices and hosts.
    start: number of the step before the first.
  Attributes:
    dispatch_seconds: total time in the calls that hand steps to the devices; the loop adds to it.
    log_seconds: total time of logging, without waiting for the devices; the loop adds to it.
  """

  def __init__(self, batch_size: int, start: int):
    self.batch_size = batch_size
    self.dispatch_seconds = self.log_seconds = 0.0
    self.devices = DeviceClock()
    self._step, self._then, self._before = start, time.perf_counter(), self._totals(0.0)

  def _totals(self, wait_seconds: float) -> dict[str, float]:
    return {
      "wait_share": wait_seconds, "dispatch_share": self.dispatch_seconds, "device_share": self.devices.busy(),
      "log_share": self.log_seconds,
    }

  def dispatched(self, began: float, result: Any) -> None:
    """A step was handed to the devices.

    Args:
      began: `time.perf_counter()` before the call.
      result: an array that the step computes.
    """
    self.dispatch_seconds += time.perf_counter() - began
    self.devices.add(began, result)

  def read(self, step: int, wait_seconds: float) -> dict[str, float]:
    """Speed since the last reading, and shares of the time.

    The shares of waiting for data, of dispatch and of logging are those of the loop's thread. Devices work at the same time, so
    their share is not what the others leave.

    Args:
      step: number of the last step.
      wait_seconds: total time that the loop has waited for data.
    """
    before, then, totals = self._step, self._then, self._before
    self._step, self._then, self._before = step, time.perf_counter(), self._totals(wait_seconds)
    seconds = max(self._then - then, 1e-9)
    shares = {name: min(max(total - totals[name], 0.0) / seconds, 1.0) for name, total in self._before.items()}
    return {"images_per_second": (step - before) * self.batch_size / seconds, **shares}

  def leave_out(self, seconds: float) -> None:
    """Exclude time not spent in steps, such as that of hooks."""
    self._then += seconds

  def close(self) -> None:
    """End the thread of the clock."""
    self.devices.close()


__all__ = ["DeviceClock", "SpeedMeter"]
