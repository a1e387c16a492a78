"""How processes find each other and what they say of each other; runs of several are in `tests/multiprocess`."""

import json
import signal
import sys
import threading
import time

import jax
import pytest

from jaxface import interrupted
from jaxface.formats.errors import DamagedData
from jaxface.interrupted import INTERRUPTED, exit_code, sigterm_interrupts
from jaxface.training import hosts, watchdog
from jaxface.training.config import Experiment, MeshConfig
from jaxface.training.host_error import sentence
from jaxface.training.host_facts import OWN, differences, run_facts
from jaxface.training.host_monitor import Monitor, Position
from jaxface.training.host_wait import Wait
from jaxface.training.hosts import (
  HostsApart,
  gather,
  join_hosts,
  on_any_host,
  raise_on_all_hosts,
  sign_of_life,
  stand_at,
  together,
)
from jaxface.training.interrupt import Interrupted, StopSignal
from jaxface.training.resolve import describe
from jaxface.training.resume import generic
from jaxface.training.watchdog import InFlight, watched


@pytest.mark.parametrize(
  ("config", "message"),
  [
    (MeshConfig(coordinator="localhost:1234"), "--mesh.processes and --mesh.process_id missing"),
    (MeshConfig(coordinator="localhost:1234", processes=2), "--mesh.process_id missing"),
    (MeshConfig(processes=2, process_id=0), "--mesh.coordinator missing"),
    (MeshConfig(coordinator="localhost", processes=2, process_id=0), "is 'localhost': needs HOST:PORT"),
    (MeshConfig(coordinator=":1234", processes=2, process_id=0), "needs HOST:PORT"),
    (MeshConfig(coordinator="localhost:70000", processes=2, process_id=0), "needs HOST:PORT"),
    (MeshConfig(coordinator="localhost:1234", processes=2, process_id=2), "mesh.process_id is 2: needs 0 to 1"),
  ],
)
def test_processes_started_by_hand_are_described_in_full(config, message):
  with pytest.raises(ValueError, match=message):
    join_hosts(config)


def test_the_three_options_reach_jax_as_they_are_given(monkeypatch):
  calls = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
  given = {"mesh.process_id": "1", "mesh.processes": "2", "mesh.coordinator": "[::1]:4321"}
  join_hosts(Experiment().with_overrides(given).mesh)
  assert [calls[0][name] for name in ("coordinator_address", "num_processes", "process_id")] == ["[::1]:4321", 2, 1]
  assert calls[0]["cluster_detection_method"] == "deactivate"
  # JAX ends a run without a word of ours: it must not be the first.
  assert calls[0]["heartbeat_timeout_seconds"] > Experiment().mesh.heartbeat_seconds
  join_hosts(MeshConfig())
  assert len(calls) == 1


@pytest.mark.parametrize("kubernetes", [False, True])
def test_without_a_launcher_the_message_says_how_to_start(monkeypatch, kubernetes):
  def initialize(**options):
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
  if kubernetes:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
  with pytest.raises(ValueError, match="no launcher is found") as raised:
    join_hosts(MeshConfig(distributed=True))
  message = str(raised.value)
  assert "--mesh.coordinator HOST:PORT --mesh.processes N --mesh.process_id I" in message
  assert "coordinator_address should be defined" in message
  assert ("jaxface[k8s]" in message) == kubernetes


def test_one_process_waits_for_nobody_and_agrees_with_itself():
  with together():
    assert gather("a point", "text") == ["text"]
    assert on_any_host(True, "a point") and not on_any_host(False, "a point")
    with pytest.raises(OSError, match="own"):
      raise_on_all_hosts(OSError("own"), ValueError("another's"), "a point")


def test_processes_that_nobody_joined_are_refused(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(HostsApart, match="2 processes run, but were not joined"):
    gather("a point")


def test_what_cannot_be_joined_says_where_and_what_to_check(monkeypatch):
  def initialize(**options):
    raise RuntimeError("DEADLINE_EXCEEDED: no answer\nmore")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  with pytest.raises(HostsApart, match=r"at localhost:1, where 2 are expected: .* \(JAX says: DEADLINE_EXCEEDED: no answer\)"):
    join_hosts(MeshConfig(coordinator="localhost:1", processes=2, process_id=0))


def test_each_difference_names_the_field_the_values_and_whose_they_are():
  found = [{"a": 1, "b": "x", "sha": "0" * 64}, {"a": 1, "b": "y", "sha": "1" * 64}, {"a": 1, "b": "y", "sha": "1" * 64, "c": None}]
  assert differences(found) == [
    '  b: "x" on process 0; "y" on process 1, process 2',
    "  sha: 000000000000… on process 0; 111111111111… on process 1, process 2",
    "  c: absent on process 0, process 1; null on process 2",
  ]


def test_every_field_is_compared_but_what_a_process_has_of_its_own():
  facts = run_facts(describe(Experiment()))
  fields = describe(Experiment())
  assert {name for name in fields if name not in facts} == {name for name in fields if generic(name) in OWN}
  assert {"jaxface", "jaxface's sources", "package jax", "package jaxlib", "convolution"} <= facts.keys()
  json.dumps(facts)


@pytest.mark.parametrize(
  ("error", "code", "words"),
  [
    (DamagedData("torn", file="a"), 2, "a: torn"), (OSError("full"), 2, "full"), (KeyError("x"), 1, "KeyError: 'x'"),
    (KeyboardInterrupt(), INTERRUPTED, "interrupted"), (Interrupted(3), INTERRUPTED, "Interrupted: 75"),
    (SystemExit(3), 3, "SystemExit: 3"), (SystemExit("text"), 1, "SystemExit: text"),
  ],
)
def test_an_error_has_one_code_and_one_sentence_on_all_hosts(error, code, words):
  assert (exit_code(error), sentence(error)) == (code, words)


class Shared:
  """A store of one process, which a test plays the others on."""

  index, count, address = 1, 3, "localhost:1"

  def __init__(self):
    self.texts = {}

  def set(self, key, text):
    self.texts[key] = text

  def folder(self, name):
    return {key.removeprefix(f"{name}/"): text for key, text in self.texts.items() if key.startswith(f"{name}/")}


def beat(monitor, seconds, **numbers):
  for index, (number, inside) in numbers.items():
    monitor.store.set(f"jaxface/beat/{index[1:]}", json.dumps([number, "a step", inside, number]))
  monitor._note_beats(seconds)


def test_a_process_is_gone_after_so_much_silence_while_it_is_at_work():
  monitor = Monitor(Shared(), 10, Position())
  monitor.store.set("jaxface/host/2", "far")
  beat(monitor, 2, p0=(1, True), p2=(1, True))
  for number in range(5):
    beat(monitor, 2, p0=(number + 2, True), p2=(1, True))
  assert monitor._verdict() is None
  beat(monitor, 2, p0=(9, True))
  verdict = monitor._verdict()
  assert (verdict.code, verdict.about) == (INTERRUPTED, 2) and verdict.text.startswith("process 2 (host far) has sent no heartbeat")
  beat(monitor, 0, p0=(10, True), p2=(2, False))  # it has come back, and is done with the run
  for number in range(9):
    beat(monitor, 2, p0=(20 + number, True))
  assert monitor._verdict() is None


def test_the_failure_of_another_process_is_its_sentence_and_its_code():
  monitor = Monitor(Shared(), 10, Position())
  monitor._failures = {"1": json.dumps(["own", 2, 1, []]), "2": json.dumps(["disk full", 2, 2, []])}
  assert monitor._verdict()[:3] == ("process 2 failed: disk full", 2, 2)
  # What it says of a third one goes on as it is.
  monitor._failures = {"2": json.dumps(["process 0 is gone", INTERRUPTED, 0, [0]])}
  assert monitor._verdict() == ("process 0 is gone", INTERRUPTED, 0, {0})


def test_the_first_process_that_does_not_answer_is_gone():
  monitor = Monitor(Shared(), 10, Position())
  monitor._unanswered = 11
  assert "process 0 does not respond: it connects the others, and was silent for 10 s" in monitor._verdict().text


class Slow:
  def __init__(self, ready):
    self.ready = ready

  def is_ready(self):
    return self.ready


def test_the_watchdog_shows_all_stacks_and_what_was_completed_last(capfd):
  with watched(0.3):
    steps = InFlight()
    steps.add(7, Slow(True))
    steps.add(8, Slow(False))  # the devices never finish it
    time.sleep(0.8)
  said = capfd.readouterr().err
  assert "nothing was completed for 0.3 s (mesh.stall_seconds) after step 7" in said and "raise --mesh.stall_seconds" in said
  assert "test_the_watchdog_shows_all_stacks" in said


def test_the_watchdog_names_what_a_start_hangs_in_and_is_there_once(capfd):
  with watched(0.3), watched(0.1), watched(0):
    stand_at("compiling a test")
    assert len([thread for thread in threading.enumerate() if thread.name == "jaxface-watchdog"]) == 1
    time.sleep(0.6)
  assert "(mesh.stall_seconds) while compiling a test; the stacks" in capfd.readouterr().err
  assert not [thread for thread in threading.enumerate() if thread.name == "jaxface-watchdog"]


@pytest.mark.parametrize("sign", [lambda step: InFlight().add(step, Slow(True)), lambda step: stand_at("work"), lambda step: sign_of_life()])
def test_the_watchdog_is_quiet_while_there_are_signs_of_life(sign, capfd, monkeypatch):
  monkeypatch.setattr(watchdog, "end_together", lambda text: pytest.fail(text))
  with watched(0.4):
    for step in range(10):
      sign(step + 1)
      time.sleep(0.08)
  assert not capfd.readouterr().err


def test_a_wait_is_extended_by_signs_of_those_that_are_missing_alone(monkeypatch, capsys):
  """Two hours of a wait with a limit of a hundred seconds, a look each second."""
  clock = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: clock[0])
  monitor = Monitor(Shared(), 10, Position())
  monitor.store.set("point/1", "")
  monitor.store.set("point/2", "")
  wait, left = Wait(monitor, "point", "a point", 100.0), []
  for second in range(7200):
    clock[0] = second
    beat(monitor, 1, p0=(second // 90 if second < 3600 else 40, True), p2=(second, True))
    left.append(wait())
  assert min(left[:3600]) == 11 and left[3690] > 0 and left[3720] < 0
  assert monitor.position.count == 41  # with the first: a process that waits for this one is told
  assert capsys.readouterr().err == f"note: process 1 (host {monitor.hosts[1]}) waits (a point) for process 0, at: a step\n"


@pytest.fixture
def sigterm():
  before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
  sigterm_interrupts()
  yield
  signal.signal(signal.SIGTERM, before)
  sys.unraisablehook = hook
  interrupted._asked.clear()


def test_sigterm_is_ctrl_c_even_where_an_exception_is_lost(sigterm):
  class Lost:
    def __del__(self):
      signal.raise_signal(signal.SIGTERM)

  with pytest.raises(KeyboardInterrupt):
    Lost()  # Python prints and drops what a destructor raises
    time.sleep(5)
  with StopSignal() as stop:
    assert stop.asked  # a run that has begun meanwhile saves its state and ends


def test_the_threads_of_a_run_of_one_process_are_none():
  join_hosts(MeshConfig())
  assert hosts._Run.monitor is None and not [t for t in threading.enumerate() if t.name.startswith("jaxface-hosts")]
