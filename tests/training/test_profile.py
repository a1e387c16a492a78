"""Profiles on demand, and the parts of an interval's time. tests/training/test_loop.py has those of real runs."""

import os
import signal
import threading
import time

import pytest

from jaxface.training.profile import REQUEST_FILE, SIGNAL, Capture, ProfileRequest
from jaxface.training.speed_meter import DeviceClock, SpeedMeter


class Result:
  """An array that is ready at some time."""

  def __init__(self, seconds=0.0):
    self._event, self.waited = threading.Event(), 0
    threading.Timer(seconds, self._event.set).start()

  def is_ready(self):
    return self._event.is_set()

  def block_until_ready(self):
    self.waited += 1
    self._event.wait()


@pytest.mark.parametrize(("text", "steps"), [("", 5), ("7\n", 7), ("0", 1), ("99999999", 1000), ("many", 5)])
def test_the_file_may_say_how_many_steps(tmp_path, text, steps):
  request = ProfileRequest(tmp_path)
  (tmp_path / REQUEST_FILE).write_text(text)
  assert request.taken(look=False) == 0 and ProfileRequest(tmp_path, reads_file=False).taken(look=True) == 0
  assert request.taken(look=True) == steps and request.taken(look=True) == 0


def test_the_signal_asks_once_and_is_given_back(tmp_path):
  before = signal.getsignal(SIGNAL)
  with ProfileRequest(tmp_path, reads_file=False) as request:
    os.kill(os.getpid(), SIGNAL)
    assert request.taken(look=False) == 5 and request.taken(look=True) == 0
  assert signal.getsignal(SIGNAL) == before


def test_a_profile_that_cannot_be_taken_ends_nothing(tmp_path, monkeypatch):
  said = []

  def refuse(*_, **__):
    raise RuntimeError("Only one profile may be run at a time.")

  monkeypatch.setattr("jax.profiler.start_trace", refuse)
  capture = Capture(tmp_path, said.append)
  capture.begin(3, 2)
  assert capture.after(9, Result()) == 0.0 and said == ["step 3: no profile: Only one profile may be run at a time."]


def test_the_loop_is_not_kept_waiting_for_the_profiled_steps(tmp_path, monkeypatch):
  for name in ("start_trace", "stop_trace"):
    monkeypatch.setattr(f"jax.profiler.{name}", lambda *_, **__: None)
  said, slow = [], Result(0.15)
  capture = Capture(tmp_path, said.append)
  capture.begin(3, 2)
  capture.after(4, Result())
  assert capture.after(5, slow) == 0.0 and slow.waited == 0 and not said
  time.sleep(0.2)
  capture.after(6, Result())
  assert len(said) == 1 and said[0].startswith("steps 4 to 5: profile in ")


def test_devices_are_busy_from_handing_over_to_completion():
  now = [0.0]
  clock = DeviceClock(lambda: now[0])
  one, two = (threading.Event() for _ in range(2))

  class Step:
    def __init__(self, event):
      self.block_until_ready = event.wait

  def settles(value):
    until = time.monotonic() + 5
    while clock.busy() != value and time.monotonic() < until:
      time.sleep(0.001)
    return clock.busy() == value

  clock.add(1.0, Step(one))
  clock.add(2.0, Step(two))  # waits for the first one on the device
  now[0] = 4.0
  assert settles(3.0)  # the part of a running step counts
  one.set()
  assert settles(3.0)
  time.sleep(0.02)
  now[0] = 9.0
  assert settles(8.0)  # the second began at 4
  two.set()
  clock.close()
  clock._thread.join(5)
  now[0] = 20.0
  assert clock.busy() == 8.0 and not clock._thread.is_alive()


def test_shares_are_parts_of_the_interval_without_hooks():
  meter = SpeedMeter(10, 0)
  began = time.perf_counter()
  time.sleep(0.05)
  meter.dispatched(began, Result(0.1))
  meter.log_seconds += 0.02
  time.sleep(0.15)
  meter.leave_out(0.0)
  row = meter.read(2, 0.03)
  seconds = 20 / row["images_per_second"]
  assert row["dispatch_share"] * seconds == pytest.approx(0.05, abs=0.03) and row["log_share"] * seconds == pytest.approx(0.02, abs=1e-3)
  assert row["wait_share"] * seconds == pytest.approx(0.03, abs=1e-3) and 0.1 <= row["device_share"] * seconds <= 0.21
  meter.close()
