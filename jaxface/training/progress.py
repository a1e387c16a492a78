"""The progress line: updated in place on a terminal, one line per interval elsewhere."""

import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

_BAR = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


def clock(seconds: float) -> str:
  """A duration as 0:07, 12:31 or 3:05:00; "?" if unknown."""
  if not math.isfinite(seconds):
    return "?"
  minutes, second = divmod(round(seconds), 60)
  hour, minute = divmod(minutes, 60)
  return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


def bar(share: float) -> str:
  """A bar of twenty cells, with a resolution of an eighth of a cell."""
  eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
  full, part = divmod(eighths, 8)
  return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(_BAR)


class ProgressLine:
  """Progress of a run: step, loss, images per second, share of time spent waiting for data, learning rate, time left.

  Args:
    total_steps: steps of the run.
    start_step: step at which this process started or resumed; the time left is estimated from the steps since then.
    stream: where to write; standard error by default.
    now: the clock, in seconds.
  """

  def __init__(
    self, total_steps: int, *, start_step: int = 0, stream: TextIO | None = None,
    now: Callable[[], float] = time.monotonic,
  ):
    self._total, self._stream, self._now = total_steps, stream or sys.stderr, now
    self._moving = self._stream.isatty()
    self._step, self._time = start_step, now()
    self._pace: float | None = None  # seconds per step, a moving average
    self._width = 0

  def update(
    self, step: int, *, loss: float, images_per_second: float, wait_share: float, learning_rate: float,
    skipped: int = 0, shares: Mapping[str, float] | None = None,
  ) -> None:
    """Shows the progress after an interval.

    Args:
      step: number of steps done.
      loss: mean loss of the interval; NaN if every step was skipped.
      images_per_second: speed in the interval.
      wait_share: share of the interval, 0 to 1, in which the loop waited for data.
      learning_rate: learning rate of the last step.
      skipped: steps of the interval whose loss or gradient was not finite; shown if there are any.
      shares: further shares of the interval by name; a narrow terminal does not show them.
    """
    now = self._now()
    if step > self._step:
      pace = (now - self._time) / (step - self._step)
      # The first interval includes the compilation: its weight decays quickly.
      self._pace = pace if self._pace is None else 0.5 * self._pace + 0.5 * pace
      self._step, self._time = step, now
    left = math.nan if self._pace is None else self._pace * (self._total - step)
    share = step / max(self._total, 1)
    head = f"{bar(share)} " if self._moving else ""
    shown = f"{loss:.4f}" if math.isfinite(loss) else "–"
    bad = f"  skipped {skipped}" if skipped else ""
    begin = f"{head}{step}/{self._total} {share:4.0%}  loss {shown}{bad}  {images_per_second:,.0f} img/s  wait {wait_share:.0%}"
    end = f"  lr {learning_rate:.3g}  ETA {clock(left)}"
    more = "".join(f"  {name} {value:.0%}" for name, value in (shares or {}).items())
    fits = not self._moving or len(begin + more + end) < shutil.get_terminal_size().columns
    self._show(begin + (more if fits else "") + end)

  def note(self, text: str) -> None:
    """Prints a separate line (a checkpoint, a verification) above the progress line."""
    self._erase()
    self._stream.write(text + "\n")
    self._stream.flush()

  def close(self) -> None:
    """Ends the progress line."""
    if self._width:
      self._stream.write("\n")
      self._stream.flush()
      self._width = 0

  def _show(self, line: str) -> None:
    if not self._moving:
      self._stream.write(line + "\n")
    else:
      # One column stays empty: some terminals wrap a full line.
      line = line[: shutil.get_terminal_size().columns - 1]
      self._stream.write("\r" + line.ljust(self._width))
      self._width = len(line)
    self._stream.flush()

  def _erase(self) -> None:
    if self._width:
      self._stream.write("\r" + " " * self._width + "\r")
      self._width = 0


__all__ = ["ProgressLine", "bar", "clock"]
