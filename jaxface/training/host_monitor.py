"""Ends all processes of a run within seconds and with one exit code when one of them fails.

Each process has two daemon threads, since the main thread may be blocked in a collective. The first exchanges heartbeats and failures
with the others. The second never blocks: it detects that another process has failed or has no heartbeat, prints the message, and
ends this process.
"""

import atexit
import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from jaxface.interrupted import INTERRUPTED, exit_code
from jaxface.training.host_error import from_elsewhere, sentence
from jaxface.training.host_store import Store, StoreError
from jaxface.training.last_words import on_abort

ROOT = "jaxface"
# Seconds between two requests for failures, and between two checks of the results.
POLL, TICK = 0.5, 0.25
# Seconds that a process waits for an error of its own after another has failed, since some errors are raised on all hosts.
GRACE = 1.0
# Seconds for the clean-up of a failing process before it is ended; and those that process 0 waits for the others.
UNWIND, PATIENCE = 5.0, 5.0
AGAIN = "run the same command again on all hosts to resume from the last saved state"


class Position:
  """What this process is doing, and how often that has moved on: a sign of life of its main thread.

  Attributes:
    where: description for messages, such as "after step 7".
    count: number of signs so far.
    waiting: it waits for other processes, which has a limit of its own.
  """

  def __init__(self) -> None:
    self.where, self.count, self.waiting = "start", 0, False

  def at(self, where: str) -> None:
    """A new position; counts as a sign."""
    self.where = where
    self.count += 1


class Verdict(NamedTuple):
  """Reason for the end of this process.

  Attributes:
    text: message for the user.
    code: exit code.
    about: number of the process that failed.
    gone: numbers of the processes that have ended without notice.
  """

  text: str
  code: int
  about: int
  gone: frozenset[int] = frozenset()


class Monitor:
  """Watches the processes of a run, and ends this one when another fails or has no heartbeat.

  Args:
    store: shared by all processes.
    seconds: a process without a heartbeat for this long counts as lost.
    position: position of this process.
  Attributes:
    hosts: host name by process, as far as known.
  """

  def __init__(self, store: Store, seconds: float, position: Position):
    self.store, self.seconds, self.position = store, seconds, position
    self.index, self.count = store.index, store.count
    self.hosts: dict[int, str] = {self.index: socket.gethostname()}
    self.depth = 0
    self._beat_every = min(2.0, seconds / 8)
    self._outbox: deque[tuple[str, str]] = deque([(f"{ROOT}/host/{self.index}", socket.gethostname())])
    # Results of the first thread.
    self._beats: dict[int, str] = {}
    self._silent: dict[int, float] = {}
    self._failures: dict[str, str] = {}
    self._left: set[int] = set()
    self._unanswered = 0.0
    # Failure of this process, its time, and whether the main thread has left `together`.
    self._failure: Verdict | None = None
    self._failed_at = 0.0
    self._unwound = False
    # Whether this process ends because of another one.
    self._leaving = False
    self._ending = threading.Event()
    self._stop = threading.Event()
    self._last_acts: list[Callable[[], object]] = []
    self._threads = [
      threading.Thread(target=work, name=f"jaxface-hosts-{name}", daemon=True)
      for name, work in (("talk", self._talk), ("watch", self._watch))
    ]

  def start(self) -> None:
    """Start the threads, which end with the process."""
    for thread in self._threads:
      thread.start()
    atexit.register(self._at_exit)  # registered after JAX's handler, hence called before it
    if self.index:  # JAX aborts a process when process 0 has ended
      on_abort(self._on_abort)

  def name(self, index: int) -> str:
    """Name of a process for messages: "process 1 (host a)"."""
    host = self.hosts.get(index)
    return f"process {index} (host {host})" if host else f"process {index}"

  def enter(self) -> None:
    """From now on a failure of one process ends all; calls may be nested."""
    self.depth += 1
    self._unwound = False

  def leave(self) -> None:
    """Ends `enter`."""
    self.depth -= 1
    if not self.depth:
      self._unwound = True

  def at_the_end(self, act: Callable[[], object]) -> None:
    """Call `act` before this monitor ends the process, with a limit of one second."""
    self._last_acts.append(act)

  def whereabouts(self) -> str:
    """A line with the last known position of each process."""
    return "\n".join(f"  {self.name(index)}: {self.where(index)}" for index in range(self.count))

  def where(self, index: int) -> str:
    """The last known position of a process."""
    return self.position.where if index == self.index else json.loads(self._beats.get(index, '[0, "?", true, 0]'))[1]

  def signs(self) -> dict[int, int]:
    """Number of signs of life of each other process, as far as known."""
    return {index: json.loads(text)[3] for index, text in list(self._beats.items()) if index != self.index}

  def fail(self, error: BaseException) -> None:
    """Report to the others that this process fails with `error`; returns once the report is stored.

    An error of JAX's runtime is often caused by another process that has ended, which is checked first.
    """
    if self._leaving:  # caused by the end of another process
      time.sleep(4 * PATIENCE)
    if self._failure is not None:
      return
    if from_elsewhere(error):
      time.sleep(self.seconds + self._beat_every + 2 * POLL + GRACE)  # a verdict on another process ends this one meanwhile
    self._publish(Verdict(sentence(error), exit_code(error), self.index))

  def give_up(self, text: str) -> None:
    """End all processes with the exit code of an interruption."""
    self._leaving = True
    self._publish(Verdict(text, INTERRUPTED, self.index))
    self._end(Verdict(text, INTERRUPTED, self.index), say=True)

  def _publish(self, failure: Verdict) -> None:
    self._failed_at = time.monotonic()
    self._failure = failure
    self._outbox.append((f"{ROOT}/failed/{self.index}", json.dumps([*failure[:3], sorted(failure.gone)])))
    self._wait(lambda: not self._outbox, 2.0)

  def _wait(self, done: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
      time.sleep(0.02)

  # The first thread.

  def _talk(self) -> None:
    number, beaten = 0, 0.0
    while not self._stop.wait(0 if self._outbox else TICK / 2 if self._ending.is_set() else POLL):
      try:
        while self._outbox:
          self.store.set(*self._outbox[0])
          self._outbox.popleft()
        now = time.monotonic()
        if now - beaten >= self._beat_every:
          number += 1
          self.store.set(f"{ROOT}/beat/{self.index}", json.dumps(self._beat(number)))
          self._note_beats(min(now - beaten, 2 * self._beat_every))
          beaten = now
        self._failures = self.store.folder(f"{ROOT}/failed")
        if self._ending.is_set():
          self._left = {int(key) for key in self.store.folder(f"{ROOT}/left")}
        self._unanswered = 0.0
      except StoreError:
        self._stop.wait(POLL)

  def _beat(self, number: int) -> list:
    """Number, position, whether its end would end the others, and signs of life."""
    return [number, self.position.where, self.depth > 0 or number < 3, self.position.count]

  def _note_beats(self, elapsed: float) -> None:
    """Time in which this process itself was stopped does not count: `elapsed` is bounded."""
    found = {int(key): text for key, text in self.store.folder(f"{ROOT}/beat").items()}
    for index, text in found.items():
      moved = self._beats.get(index) != text
      self._silent[index] = 0.0 if moved else self._silent.get(index, 0.0) + elapsed
    self._beats = found
    if len(self.hosts) < self.count:
      self.hosts |= {int(key): host for key, host in self.store.folder(f"{ROOT}/host").items()}

  # The second thread.

  def _watch(self) -> None:
    then = time.monotonic()
    while not self._stop.wait(TICK):
      now = time.monotonic()
      self._unanswered += min(now - then, 2 * TICK)
      then = now
      if not threading.main_thread().is_alive():  # other threads may keep the process alive
        self._at_exit()
        return
      if self._failure is not None:
        if not self._unwound and now - self._failed_at > UNWIND:
          self._end(self._failure, say=True)
      elif self.depth and (verdict := self._verdict()):
        self._wait(lambda: self._failure is not None, GRACE)
        if self._failure is None:
          self._leaving = True
          self._publish(verdict)
          self._end(verdict, say=True)

  def _verdict(self) -> Verdict | None:
    """Reason of another process for which this one must end, if any."""
    for key, text in sorted(self._failures.items()):
      if int(key) != self.index:
        said, code, about, gone = json.loads(text)
        said = f"{self.name(about)} failed: {said}" if about == int(key) else said
        return Verdict(said, code, about, frozenset(gone))
    for index, seconds in self._silent.items():
      if index != self.index and seconds > self.seconds and json.loads(self._beats[index])[2]:
        return Verdict(self._gone(index, "has sent no heartbeat"), INTERRUPTED, index, frozenset([index]))
    if self._unanswered > self.seconds and self.index:
      return Verdict(self._gone(0, "does not respond: it connects the others, and was silent"), INTERRUPTED, 0, frozenset([0]))
    return None

  def _gone(self, index: int, what: str) -> str:
    return (
      f"{self.name(index)} {what} for {self.seconds:g} s (mesh.heartbeat_seconds): it was killed or stopped, or its host or"
      f" network is down. Then {AGAIN}"
    )

  # The end.

  def _end(self, verdict: Verdict, *, say: bool) -> None:
    """End the process from any thread, after the reason is stored for the others."""
    if self._ending.is_set():  # the other thread does it
      time.sleep(2 * PATIENCE)
    self._ending.set()
    if say:
      print(f"jaxface: {verdict.text}\njaxface: {self.name(self.index)} ends with code {verdict.code}", file=sys.stderr)
    acts = threading.Thread(target=lambda: [act() for act in self._last_acts], daemon=True)
    acts.start()
    acts.join(1.0)
    # Connections end with each process and the store with process 0, so others must get the reason before. A failing process ends
    # after those that it notified, and process 0 last.
    others = set(range(self.count)) - {self.index} - verdict.gone
    if self.index and verdict.about == self.index:
      self._wait(lambda: others <= self._left | {int(key) for key in self._failures}, PATIENCE)
    self._outbox.append((f"{ROOT}/left/{self.index}", ""))
    self._wait(lambda: not self._outbox, 1.0)
    if not self.index:
      self._wait(lambda: others <= self._left, 2 * PATIENCE)
      time.sleep(2 * TICK)
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError):
        stream.flush()
    os._exit(verdict.code)

  def _at_exit(self) -> None:
    """The main thread has ended: after a failure the process must not wait for the others, as JAX's shutdown would."""
    if self._failure is not None:
      self._end(self._failure, say=False)
    self._stop.set()

  def _on_abort(self) -> None:
    """JAX aborts this process: print a message if process 0 has ended."""
    if self._failure is not None:
      os._exit(self._failure.code)
    host, _, port = self.store.address.rpartition(":")
    try:
      socket.create_connection((host.strip("[]"), int(port)), 1.0).close()
    except OSError:
      text = (
        f"jaxface: {self.name(0)}, which connects the others, has ended: it was killed, or its host or network is down;"
        f" JAX's own messages are above. Then {AGAIN}\n"
        f"jaxface: {self.name(self.index)} ends with code {INTERRUPTED}\n"
      )
      os.write(2, text.encode())
      os._exit(INTERRUPTED)


__all__ = ["AGAIN", "Monitor", "Position", "Verdict"]
