"""A profile of some steps of a running training, on demand: SIGUSR2 to any of its processes, or a file `profile` in the run's folder.

The profile is for XProf, in `tensorboard/plugins/profile/step_N/`: one file for each process. Before and after the profile nothing is
slower; during it the loop waits for the devices only after the last profiled step.
"""

import contextlib
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from jaxface.training.logs import EVENTS_FOLDER

REQUEST_FILE = "profile"
STEPS, MOST = 5, 1000
# Not USR1, which SLURM users often choose as the signal before the end of a job. Windows has none.
SIGNAL = getattr(signal, "SIGUSR2", None)


class ProfileRequest:
  """Context in which the signal, or a file in the folder, asks for a profile.

  Args:
    folder: folder of the run.
    reads_file: whether this process looks for the file; one of several does.
  """

  def __init__(self, folder: Path, *, reads_file: bool = True):
    self._file, self._reads = folder / REQUEST_FILE, reads_file
    self._signalled = False
    self._before: Any = None

  def __enter__(self) -> "ProfileRequest":
    if SIGNAL is not None and threading.current_thread() is threading.main_thread():
      self._before = signal.signal(SIGNAL, self._handle)
    return self

  def _handle(self, number: int, frame: FrameType | None) -> None:
    del number, frame
    self._signalled = True

  def __exit__(self, *error: object) -> None:
    if self._before is not None and SIGNAL is not None:
      signal.signal(SIGNAL, self._before)
      self._before = None

  def taken(self, *, look: bool) -> int:
    """Number of steps that a profile is asked for, 0 for none; the request is then forgotten.

    Args:
      look: whether to look for the file, which costs a call of the file system.
    """
    steps = STEPS if self._signalled else 0
    self._signalled = False
    if look and self._reads:
      with contextlib.suppress(OSError, UnicodeDecodeError):
        text = self._file.read_text(encoding="utf-8").strip()
        self._file.unlink()
        steps = min(max(int(text), 1), MOST) if text.isdecimal() else STEPS
    return steps


class Capture:
  """Profiles of some steps, one at a time.

  Args:
    folder: folder of the run.
    say: called with a line for the user.
  """

  def __init__(self, folder: Path, say: Callable[[str], object]):
    self._folder, self._say = folder / EVENTS_FOLDER / "plugins" / "profile", say
    self._raw = folder / EVENTS_FOLDER / f".profile-{jax.process_index()}"
    self._first = self._last = self._seen = -1
    self._result: Any = None

  def begin(self, number: int, steps: int) -> None:
    """Profile the `steps` steps after step `number`, unless a profile is being taken already."""
    if self._first >= 0:
      self._say(f"step {number}: no second profile: that of step {self._first} is not complete")
      return
    shutil.rmtree(self._raw, ignore_errors=True)
    try:
      jax.profiler.start_trace(self._raw)
    except (RuntimeError, OSError) as error:
      self._say(f"step {number}: no profile: {error}")
      return
    self._first, self._last, self._seen, self._result = number + 1, number + steps, number, None

  def after(self, number: int, result: Any) -> float:
    """Ends a profile when its last step is completed; does not wait for it.

    Args:
      number: step that was handed to the devices.
      result: an array that it computes.
    Returns:
      Seconds that writing took.
    """
    if self._first < 0:
      return 0.0
    if number <= self._last:
      self._result, self._seen = result, number
    return self.end() if number >= self._last and self._result.is_ready() else 0.0

  def end(self) -> float:
    """Ends a profile, if one is taken, and writes its files; returns the seconds that it took."""
    if self._first < 0:
      return 0.0
    began, first = time.perf_counter(), self._first
    self._first = -1
    try:
      if self._result is not None:
        self._result.block_until_ready()
      jax.profiler.stop_trace()
      target = self._folder / f"step_{first:08d}"
      target.mkdir(parents=True, exist_ok=True)
      found = [path for path in sorted(self._raw.rglob("*")) if path.is_file()]
      for path in found:
        # Several processes of one host would write files of one name.
        ending = next((one for one in (".xplane.pb", ".trace.json.gz") if path.name.endswith(one)), f".{path.name}")
        path.replace(target / f"{socket.gethostname()}-{jax.process_index()}{ending}")
      self._say(f"steps {first} to {self._seen}: profile in {target} (xprof --logdir {self._folder.parents[1]})")
    except (RuntimeError, OSError) as error:
      self._say(f"step {first}: the profile is lost: {error}")
    finally:
      shutil.rmtree(self._raw, ignore_errors=True)
    return time.perf_counter() - began


__all__ = ["REQUEST_FILE", "SIGNAL", "Capture", "ProfileRequest"]
