"""The progress line on a terminal and elsewhere."""

import io
import re

import pytest

from jaxface.training.parts import Plan
from jaxface.training.progress import ProgressLine, bar, clock
from jaxface.training.run_log import RunLog


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Clock:
  def __init__(self):
    self.time = 100.0

  def __call__(self):
    return self.time


FIGURES = {"loss": 3.21456, "images_per_second": 1034.4, "wait_share": 0.021, "learning_rate": 0.0832}


def test_plain_line_says_it_all():
  stream, now = io.StringIO(), Clock()
  progress = ProgressLine(1000, stream=stream, now=now)
  now.time += 50
  progress.update(100, **FIGURES)
  progress.close()
  assert stream.getvalue() == "100/1000  10%  loss 3.2146  1,034 img/s  wait 2%  lr 0.0832  ETA 7:30\n"


def test_skipped_steps_are_shown_and_no_loss_is_no_number():
  stream, now = io.StringIO(), Clock()
  ProgressLine(1000, stream=stream, now=now).update(100, **{**FIGURES, "loss": float("nan")}, skipped=7)
  assert "loss –  skipped 7  1,034 img/s" in stream.getvalue()


def test_time_left_goes_by_the_pace_of_this_life():
  stream, now = io.StringIO(), Clock()
  progress = ProgressLine(1000, start_step=900, stream=stream, now=now)
  for step, seconds, left in [(910, 10, "1:30"), (920, 30, "2:40"), (1000, 160, "0:00")]:
    now.time += seconds
    progress.update(step, **FIGURES)
    assert stream.getvalue().splitlines()[-1].endswith(f"ETA {left}")


def test_terminal_gets_one_line_that_moves(monkeypatch):
  monkeypatch.setenv("COLUMNS", "200")
  stream, now = Terminal(), Clock()
  progress = ProgressLine(10, stream=stream, now=now)
  for step in (5, 10):
    now.time += 1
    progress.update(step, **FIGURES)
  progress.note("saved")
  progress.update(10, **FIGURES)
  progress.close()
  text = stream.getvalue()
  assert text.count("\n") == 2  # the note's, and the end's
  first, second, erased, last = re.split("\r(?=.*loss)|\r(?= +\r)", text)[1:]
  assert first.startswith("██████████ ") and second.startswith("█" * 20)
  assert erased.strip() == "saved" and last.endswith("\n")


def test_a_narrow_terminal_is_not_overrun(monkeypatch):
  monkeypatch.setenv("COLUMNS", "40")
  stream = Terminal()
  ProgressLine(10, stream=stream, now=Clock()).update(5, **FIGURES)
  assert len(stream.getvalue()) == 40  # the return and 39 columns


@pytest.mark.parametrize(
  ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (751, "12:31"), (59.6, "1:00"), (11_100, "3:05:00"), (float("nan"), "?")]
)
def test_clock(seconds, text):
  assert clock(seconds) == text


def test_bar_keeps_its_width_and_grows():
  assert bar(-1.0) == " " * 20 and bar(2.0) == "█" * 20
  bars = [bar(share / 160) for share in range(161)]
  assert {len(b) for b in bars} == {20} and len(set(bars)) == 161


def test_one_line_says_what_to_do_when_images_come_too_slowly(tmp_path, capsys):
  log = RunLog(Plan(steps=100), tmp_path, 0)
  figures = {"loss": 1.0, "learning_rate": 0.1, "skipped": 0.0, "bad_in_row": 0.0, "bad_lately": 0.0}
  for number, share in enumerate((0.9, 0.5, 0.1, 0.4, 0.4, 0.4, 0.4, 0.0, 0.4, 0.4, 0.4), 1):
    log.later(number, figures, {"images_per_second": 10.0, "wait_share": share})
  log.flush()
  log.close()
  said = [line for line in capsys.readouterr().err.splitlines() if "the devices waited" in line]
  assert len(said) == 1 and said[0].startswith("step 6: the devices waited for images 40% of the time: raise data.threads")


def test_further_shares_are_shown_where_they_fit(monkeypatch):
  shares = {"dispatch": 0.011, "device": 0.968, "log": 0.0}
  plain = io.StringIO()
  ProgressLine(1000, stream=plain, now=Clock()).update(100, **FIGURES, shares=shares)
  assert "  wait 2%  dispatch 1%  device 97%  log 0%  lr 0.0832" in plain.getvalue()
  for columns, shown in (("100", False), ("160", True)):
    monkeypatch.setenv("COLUMNS", columns)
    terminal = Terminal()
    ProgressLine(1000, stream=terminal, now=Clock()).update(100, **FIGURES, shares=shares)
    assert ("device" in terminal.getvalue()) == shown and "ETA" in terminal.getvalue()
