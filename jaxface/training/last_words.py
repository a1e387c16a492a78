"""Runs a callback before JAX aborts the process, which its client does when process 0 of a run has ended."""

import ctypes
import signal
from collections.abc import Callable

_KEPT: list[object] = []  # C must not be left with a callback that Python has freed


def on_abort(act: Callable[[], object]) -> None:
  """Call `act` on SIGABRT from C++ code, in the aborting thread; the process ends when it returns.

  Python signal handlers do not work here: they run later, in the main thread.
  """
  try:
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
    called = handler(lambda number: act())
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = [ctypes.c_int, handler], ctypes.c_void_p
  except (OSError, AttributeError, TypeError):  # no C `signal` on this system: only JAX's messages are printed
    return
  _KEPT.append(called)
  install(int(signal.SIGABRT), called)


__all__ = ["on_abort"]
