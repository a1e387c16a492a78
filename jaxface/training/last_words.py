"""Something to say before JAX ends the process: its client aborts when the first process of a run is gone."""

import ctypes
import signal
from collections.abc import Callable

_KEPT: list[object] = []  # C must not be left with a callback that Python has freed


def on_abort(act: Callable[[], object]) -> None:
  """Have `act` called when C++ code aborts the process (SIGABRT), in the thread that does; the process ends when it returns.

  Python's own handlers do not serve here: they run in the main thread, and later.
  """
  try:
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
    called = handler(lambda number: act())
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = [ctypes.c_int, handler], ctypes.c_void_p
  except (OSError, AttributeError, TypeError):  # a system without C's signal; JAX's own words are then the last
    return
  _KEPT.append(called)
  install(int(signal.SIGABRT), called)


__all__ = ["on_abort"]
