"""SIGTERM and SIGINT end a run after the present step, with its state saved."""

import signal
import threading
from types import FrameType

from jaxface.interrupted import INTERRUPTED, was_asked


class Interrupted(SystemExit):
  """The run was asked to stop and has saved its state; the process exits with `INTERRUPTED`."""

  def __init__(self, step: int):
    super().__init__(INTERRUPTED)
    self.step = step


class StopSignal:
  """A context in which SIGTERM and SIGINT set `asked` instead of killing; a second one kills.

  Outside the main thread Python cannot install handlers: there the context does nothing.
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
