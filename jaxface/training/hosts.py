"""The processes of a run: connecting, barriers, exchange of messages, and a common end.

Messages use JAX's coordination service instead of device collectives: it has time limits, can name missing processes, and cannot be
mixed up with a collective of the training step.
"""

import atexit
import contextlib
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxface.interrupted import exit_code
from jaxface.training.config import MeshConfig
from jaxface.training.host_monitor import AGAIN, ROOT, Monitor, Position
from jaxface.training.host_store import StoreError, joined_store
from jaxface.training.host_wait import Wait, lacking
from jaxface.training.interrupt import Interrupted

# Time limit in seconds for connecting, and JAX's own limit for lost processes, which is longer than ours because JAX ends the
# run without our message.
START_SECONDS = 300
JAX_SECONDS = 100
# Waiting without a limit.
FOREVER = float("inf")


class HostsApart(ConnectionError):
  """The processes of a run do not meet: one is missing, or they are at different points."""


class _Run:
  """State of this process in its run; one per process."""

  monitor: Monitor | None = None
  limit = FOREVER
  position = Position()
  number = itertools.count()


def join_hosts(config: MeshConfig) -> None:
  """Connect to the other processes of the run, if the config says that there are any; before any use of a device.

  Raises:
    ValueError: `coordinator`, `processes` and `process_id` are incomplete or impossible, or none is given and no launcher
      is found.
    HostsApart: the others did not connect within five minutes.
  """
  check_processes(config)
  if not jax.distributed.is_initialized() and (config.coordinator or config.distributed):
    _initialize(config)
  if _Run.monitor is None and (store := joined_store()) is not None and store.count > 1:
    _Run.monitor = Monitor(store, config.heartbeat_seconds, _Run.position)
    _Run.limit = config.stall_seconds or FOREVER
    _Run.monitor.start()


def _initialize(config: MeshConfig) -> None:
  where: dict[str, Any] = {}
  if config.coordinator:
    where = {
      "coordinator_address": config.coordinator, "num_processes": config.processes, "process_id": config.process_id,
      "cluster_detection_method": "deactivate",
    }
  failed: list[Exception] = []

  def connect() -> None:
    try:
      jax.distributed.initialize(
        **where, initialization_timeout=START_SECONDS,
        heartbeat_timeout_seconds=max(JAX_SECONDS, int(config.heartbeat_seconds) + 30),
      )
    except Exception as error:
      failed.append(error)

  # Python handles no signals during a blocking C++ call: the main thread stays free for SIGTERM and Ctrl-C.
  thread = threading.Thread(target=connect, name="jaxface-hosts-join", daemon=True)
  thread.start()
  try:
    while thread.is_alive():
      thread.join(0.1)
  except BaseException as error:
    code = exit_code(error)
    atexit.register(lambda: (sys.stdout.flush(), sys.stderr.flush(), os._exit(code)))  # JAX cannot cancel the connection
    raise
  if threading.current_thread() is threading.main_thread():
    # JAX installs a SIGTERM handler whose result is not used here.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)
  if not failed:
    return
  if isinstance(failed[0], ValueError) and not where:
    in_kubernetes = "KUBERNETES_SERVICE_HOST" in os.environ
    hint = " In Kubernetes it takes the package kubernetes: pip install 'jaxface[k8s]'." if in_kubernetes else ""
    raise ValueError(
      "mesh.distributed is true, but no launcher is found: SLURM (srun), Open MPI (mpirun), GKE or Cloud TPU."
      f"{hint} Start the command through one of them, or give every process --mesh.coordinator HOST:PORT"
      f" --mesh.processes N --mesh.process_id I (JAX says: {failed[0]})"
    ) from failed[0]
  if "before any JAX calls" in str(failed[0]):
    raise ValueError(
      "JAX was used before the processes were connected: call jaxface.training.join_hosts(experiment.mesh) first; your"
      " own file must not compute with JAX when it is loaded"
    ) from failed[0]
  raise HostsApart(
    f"the processes of the run did not connect within {START_SECONDS} s"
    + (f" at {config.coordinator}, where {config.processes} are expected" if where else "")
    + ": start the same command once per process, and check the address, the port and the firewall between the hosts (JAX says:"
    f" {str(failed[0]).splitlines()[0]})"
  ) from failed[0]


def check_processes(config: MeshConfig) -> None:
  """Check the options of processes that are started without a launcher.

  Raises:
    ValueError: one of the three options is missing or out of range.
  """
  named = {"coordinator": bool(config.coordinator), "processes": config.processes != 0, "process_id": config.process_id != -1}
  if not any(named.values()):
    return
  if missing := [f"--mesh.{name}" for name, given in named.items() if not given]:
    raise ValueError(
      f"{' and '.join(missing)} missing: processes started without a launcher need all of --mesh.coordinator HOST:PORT,"
      " --mesh.processes N and --mesh.process_id I"
    )
  host, colon, port = config.coordinator.rpartition(":")
  if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
    raise ValueError(
      f"mesh.coordinator is {config.coordinator!r}: needs HOST:PORT, where process 0 runs, such as 10.0.0.1:12345"
    )
  if not 0 <= config.process_id < config.processes:
    raise ValueError(
      f"mesh.process_id is {config.process_id}: needs 0 to {config.processes - 1}, since mesh.processes is {config.processes}"
    )


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Inside the `with`, an error of one process ends all of them within seconds with its message and exit code; may be nested.

  A process without a heartbeat ends them too. It has no effect on a single process. The exception propagates as usual; when the
  main thread ends, the process ends without waiting for the others.
  """
  monitor = _Run.monitor
  if monitor is None:
    yield
    return
  monitor.enter()
  try:
    yield
  except BaseException as error:
    tell_hosts(error)
    raise
  finally:
    monitor.leave()


def tell_hosts(error: BaseException) -> None:
  """Report an error to the other processes at once, before code that would wait for them; `together` does so at its end."""
  if _Run.monitor is not None and not isinstance(error, Interrupted):  # all processes agreed on it
    _Run.monitor.fail(error)


def stand_at(where: str) -> None:
  """Set what this process is doing, which messages about a hanging run show; counts as a sign of life."""
  _Run.position.at(where)


def sign_of_life() -> None:
  """Count a sign of life: long work is moving on. Limits on the time without progress start again, also for those that wait for it."""
  _Run.position.count += 1


def position() -> Position:
  """What this process is doing."""
  return _Run.position


def end_together(text: str) -> None:
  """End all processes of the run with the exit code of an interruption; no effect on a single process."""
  if _Run.monitor is not None:
    _Run.monitor.give_up(text)


def whereabouts() -> str:
  """A line with the position of each process of the run; "" for a single process."""
  return "" if _Run.monitor is None else _Run.monitor.whereabouts()


def at_sudden_end(act: Callable[[], object]) -> None:
  """Call `act` if the failure of another process ends this one."""
  if _Run.monitor is not None:
    _Run.monitor.at_the_end(act)


def host_name(index: int) -> str:
  """Name of a process for messages: "process 1 (host a)"."""
  return f"process {index}" if _Run.monitor is None else _Run.monitor.name(index)


def gather(what: str, text: str = "", *, limit: float | None = None) -> list[str]:
  """The texts of all processes, by number; a collective call.

  Args:
    what: description of the point, for messages; equal on all processes.
    text: text of this process.
    limit: seconds to wait without a sign of life from those that are missing; `mesh.stall_seconds` by default.
  Raises:
    HostsApart: a process did not arrive, or is at another point.
  """
  monitor = _Run.monitor
  if monitor is None:
    if jax.process_count() > 1:
      raise HostsApart(f"{jax.process_count()} processes run, but were not joined: give --mesh.distributed true")
    return [text]
  number, seconds = next(_Run.number), _Run.limit if limit is None else limit
  store, folder = monitor.store, f"{ROOT}/gather/{number}"
  stand_at(what)
  store.set(f"{folder}/{monitor.index}", json.dumps([what, text, monitor.hosts[monitor.index]]))
  _Run.position.waiting = True
  try:
    store.barrier(folder, Wait(monitor, folder, what, seconds))
  except StoreError as error:
    missing = lacking(monitor, folder)
    if not missing:
      raise
    raise HostsApart(
      f"{', '.join(map(monitor.name, missing))} did not arrive here within {seconds:g} s of the last sign of progress"
      f" (mesh.stall_seconds): {what}. The processes were at:\n{monitor.whereabouts()}\nRemove the cause, or raise"
      f" --mesh.stall_seconds if it only needs longer. Then {AGAIN}"
    ) from error
  finally:
    _Run.position.waiting = False
  sign_of_life()
  found = {int(key): json.loads(value) for key, value in store.folder(folder).items()}
  if not monitor.index and number:
    store.remove(f"{ROOT}/gather/{number - 1}")  # all have read it before they arrived here
  monitor.hosts |= {index: host for index, (_, _, host) in found.items()}
  points = {index: point for index, (point, _, _) in found.items()}
  if len(set(points.values())) > 1:
    raise HostsApart(
      "the processes of the run are out of step: "
      + "; ".join(f"{monitor.name(index)} is at: {point}" for index, point in sorted(points.items()))
    )
  return [found[index][1] for index in range(monitor.count)]


def wait_for_hosts(what: str, *, limit: float | None = None) -> None:
  """Return once every process has reached the point `what`; see `gather`."""
  gather(what, limit=limit)


def on_any_host(flag: bool, what: str) -> bool:
  """Whether `flag` is set on any process; a collective call."""
  return "1" in gather(what, "1" if flag else "")


def raise_on_all_hosts(error: Exception | None, elsewhere: Exception, what: str) -> None:
  """Raise on every process if one has an error; a collective call. Otherwise the others would wait for it.

  Args:
    error: the error of this process, or None.
    elsewhere: raised on processes without an error.
    what: see `gather`.
  """
  if on_any_host(error is not None, what):
    raise error or elsewhere


__all__ = [
  "HostsApart", "at_sudden_end", "check_processes", "end_together", "gather", "host_name", "join_hosts", "on_any_host", "position",
  "raise_on_all_hosts", "sign_of_life", "stand_at", "tell_hosts", "together", "wait_for_hosts", "whereabouts",
]
