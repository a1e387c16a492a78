"""Images per second and the share of time spent waiting for data, excluding hooks."""

import time


class SpeedMeter:
  """Measures between two readings.

  Args:
    batch_size: images per step, over all devices and hosts.
    start: number of the step before the first.
  """

  def __init__(self, batch_size: int, start: int):
    self.batch_size = batch_size
    self._step, self._then, self._waited = start, time.perf_counter(), 0.0

  def read(self, step: int, wait_seconds: float) -> dict[str, float]:
    """Speed and waiting share since the last reading.

    Args:
      step: number of the last step.
      wait_seconds: total time that the loop has waited for data.
    """
    before, then, waited = self._step, self._then, self._waited
    self._step, self._then, self._waited = step, time.perf_counter(), wait_seconds
    seconds = max(self._then - then, 1e-9)
    return {
      "images_per_second": (step - before) * self.batch_size / seconds,
      "wait_share": min((wait_seconds - waited) / seconds, 1.0),
    }

  def leave_out(self, seconds: float) -> None:
    """Exclude time not spent in steps, such as that of hooks."""
    self._then += seconds


__all__ = ["SpeedMeter"]
