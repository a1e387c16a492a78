"""Message and exit code of a command that an interruption, a signal or an error stopped."""

import _thread
import contextlib
import signal
import sys
import threading
from types import FrameType
from typing import Any

# EX_TEMPFAIL of sysexits.h, "try again": the same command resumes, or starts again if no intermediate results are saved.
INTERRUPTED = 75

BEGINS_ANEW = "no file is left incomplete; the same command starts again"


_asked = threading.Event()
# Seconds until a lost interruption is tried again.
_AGAIN = 0.1


def sigterm_interrupts() -> None:
  """From here on SIGTERM, which clusters and `kill` send, does what Ctrl-C does: it raises `KeyboardInterrupt`.

  In a callback that Python calls in between, of the garbage collector for example, an exception is lost: it is then raised again
  a moment later. Where it becomes another error, as in the import of a module in C, `was_asked` still knows.
  """

  def interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _asked.set()
    raise KeyboardInterrupt

  before = sys.unraisablehook

  def lost(what: Any) -> None:
    if not (_asked.is_set() and what.exc_type is KeyboardInterrupt):
      before(what)
      return
    again = threading.Timer(_AGAIN, _to_main_thread, [signal.SIGTERM])
    again.daemon = True
    again.start()

  with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGTERM, interrupt)
    sys.unraisablehook = lost


def _to_main_thread(number: signal.Signals) -> None:
  main = threading.main_thread().ident
  if main is not None and hasattr(signal, "pthread_kill"):  # a true signal ends a wait, too
    signal.pthread_kill(main, number)
  else:
    _thread.interrupt_main(number)


def was_asked() -> bool:
  """Whether SIGTERM came after `sigterm_interrupts`."""
  return _asked.is_set()


def of_the_user(error: BaseException) -> bool:
  """Whether an error says what the user can mend, so that it needs no traceback."""
  ours = type(error).__module__.startswith(("jaxface", "tfrecords_tools"))
  return ours or isinstance(error, (ValueError, OSError, ImportError))


def exit_code(error: BaseException) -> int:
  """The exit code of a command that ends with `error`: 75 interrupted, 2 what the user can mend, 1 a traceback."""
  if isinstance(error, SystemExit):
    return error.code if isinstance(error.code, int) else int(error.code is not None)
  if isinstance(error, KeyboardInterrupt):
    return INTERRUPTED
  return 2 if of_the_user(error) else 1


def say_interrupted(program: str, rerun: str = BEGINS_ANEW) -> int:
  """Prints that a command was stopped and what the same command does next.

  Args:
    program: name of the command, such as "jaxface embed".
    rerun: what was kept, and what a rerun does.
  Returns:
    The exit code.
  """
  print(f"{program}: interrupted; {rerun}", file=sys.stderr)
  return INTERRUPTED


__all__ = ["BEGINS_ANEW", "INTERRUPTED", "exit_code", "of_the_user", "say_interrupted", "sigterm_interrupts", "was_asked"]
