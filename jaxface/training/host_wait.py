"""How long a process waits for the others at a common point: for some time after the last sign of life of those that are missing."""

import sys
import time

from jaxface.training.host_monitor import Monitor

# Seconds until a process says for whom it waits.
PATIENT = 60.0
# Longest time between two looks at the others that counts: while this process is stopped, it does not wait.
_LOOK = 1.0


def lacking(monitor: Monitor, folder: str) -> list[int]:
  """The processes that have not reached a point."""
  come = monitor.store.folder(folder)
  return [index for index in range(monitor.count) if str(index) not in come]


class Wait:
  """Seconds for which to wait at a point: `limit`, again after each sign of life from a process that is missing."""

  def __init__(self, monitor: Monitor, folder: str, what: str, limit: float):
    self.monitor, self.folder, self.what, self.limit = monitor, folder, what, limit
    self._began = self._then = time.monotonic()
    self._waited, self._told = 0.0, False
    self._signs = monitor.signs()

  def __call__(self) -> float:
    now = time.monotonic()
    self._waited += min(now - self._then, _LOOK)
    self._then = now
    signs, before = self.monitor.signs(), self._signs
    moved = {index for index, count in signs.items() if count != before.get(index)}
    self._signs = signs
    if moved and moved & set(lacking(self.monitor, self.folder)):
      self._waited = 0.0
      self.monitor.position.count += 1  # for those that wait for this process elsewhere
    if not self._told and now - self._began > PATIENT:
      self._told = True
      names = [f"{self.monitor.name(index)}, at: {self.monitor.where(index)}" for index in lacking(self.monitor, self.folder)]
      print(f"note: {self.monitor.name(self.monitor.index)} waits ({self.what}) for {'; '.join(names)}", file=sys.stderr, flush=True)
    return self.limit - self._waited


__all__ = ["Wait", "lacking"]
