"""SIGTERM and SIGINT save a checkpoint after the current step and end the run."""

import signal
import threading
from types import FrameType

from jaxface.interrupted import INTERRUPTED, was_asked


class Interrupted(SystemExit):
  """The run was stopped by a signal and saved a checkpoint; the exit code is `INTERRUPTED`."""

  def __init__(self, step: int):
    super().__init__(INTERRUPTED)
    self.step = step


class StopSignal:
  """A context in which SIGTERM and SIGINT set `asked` instead of ending the process; a second signal ends it.

  Python installs handlers only in the main thread; in other threads the context does nothing.
  """

  def __init__(self) -> None:
    self.asked = was_asked()
    self._before: dict[int, object] = {}

  def __enter__(self) -> "StopSignal":
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._before[number] = signal.signal(number, self._handle)
    return self

  def _handle(self, number: int, frame: FrameType | None) -> None:
    del frame
    self.asked = True
    signal.signal(number, self._before[number])  # type: ignore[arg-type]

  def __exit__(self, *error: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
