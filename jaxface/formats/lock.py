"""A lock file for a folder, with owner and heartbeat; a stale lock is taken over."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jaxface.formats.atomic import write_json

FILE = ".lock"
# Seconds between heartbeats, and without a heartbeat until the lock of an owner on another host is stale.
HEARTBEAT = 10.0
LOST = 120.0
_log = logging.getLogger(__name__)


class FolderInUse(OSError):
  """Another process owns the folder; the message names it, its start time and what to do."""


def _machine() -> str:
  """Identifies host and PID namespace: host name, boot id of the kernel, and namespace.

  The host name alone is not sufficient: containers share names, and a restart reuses PIDs.
  """
  parts = [socket.gethostname()]
  with contextlib.suppress(OSError):
    parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
  with contextlib.suppress(OSError):
    parts.append(os.readlink("/proc/self/ns/pid"))
  return " ".join(parts)


def _born(pid: int) -> str:
  """Start time of a local process in kernel ticks; "" if the system does not provide it."""
  try:
    # The name in parentheses may contain anything; the start time is the twentieth field after it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
  except (OSError, IndexError):
    return ""


def _alive(pid: int, born: str) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except OSError:  # another user's process
    pass
  return not born or _born(pid) in ("", born)


def _read(path: Path) -> dict[str, Any] | None:
  """Owner of the folder; None if there is none, {} if the lock file is unreadable."""
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
    known = isinstance(found, dict) and isinstance(found.get("pid"), int) and isinstance(found.get("started"), (int, float))
    return found if known else {}
  except FileNotFoundError:
    return None
  except (OSError, ValueError):
    return {}


def _silence(path: Path) -> float:
  """Seconds since the last heartbeat, by the file system's clock, since the clocks of two hosts may differ."""
  probe = path.with_name(f"{FILE}.{uuid.uuid4().hex}.tmp")
  try:
    probe.touch()
    return probe.stat().st_mtime - path.stat().st_mtime
  except FileNotFoundError:
    return LOST + 1  # just released
  except OSError:
    return time.time() - path.stat().st_mtime
  finally:
    probe.unlink(missing_ok=True)


def _gone(path: Path, owner: dict[str, Any]) -> bool:
  if owner.get("machine") == _machine():
    return not _alive(owner["pid"], str(owner.get("born", "")))
  return _silence(path) > LOST


def _duration(seconds: float) -> str:
  if seconds < 120:
    return f"{max(seconds, 0):.0f} s"
  return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _who(owner: dict[str, Any]) -> str:
  if not owner:
    return "an unknown process"
  age = _duration(time.time() - owner["started"])
  return f"process {owner['pid']} on {owner.get('host', 'an unknown host')}, started {age} ago"


def owner_token(folder: str | Path) -> str:
  """What tells the present lock of `folder` from any other one; "" without a lock."""
  return str((_read(Path(folder) / FILE) or {}).get("token", ""))


def refuse_if_owned(folder: str | Path, advice: str = "wait for it, or end it") -> None:
  """Raise `FolderInUse` if a live process owns `folder`; does not acquire it."""
  path = Path(folder) / FILE
  owner = _read(path)
  if owner is not None and not _gone(path, owner):
    raise FolderInUse(f"{folder} is in use by {_who(owner)}: {advice}")


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
  """Serialises access to the lock file, if the file system can lock a folder."""
  handle = os.open(folder, os.O_RDONLY)
  try:
    with contextlib.suppress(ImportError, OSError):
      import fcntl

      fcntl.flock(handle, fcntl.LOCK_EX)
    yield
  finally:
    os.close(handle)


class FolderLock:
  """Exclusive ownership of a folder until `release` or the end of a `with` block.

  The lock is the file `.lock`, which names host, process and start time. A thread touches it every `HEARTBEAT` seconds. A stale
  lock is taken over: on the same machine as soon as its process has ended, on another host after `LOST` seconds without a
  heartbeat.

  Args:
    folder: created if missing.
    advice: advice for users who find the folder in use, for messages.
    say: called with a message when a lock is taken over.
  """

  def __init__(
    self, folder: str | Path, *, advice: str = "wait for it, or end it", say: Callable[[str], object] = _log.warning
  ):
    self.folder, self.advice, self._say = Path(folder), advice, say
    self._path = self.folder / FILE
    self._token = uuid.uuid4().hex
    self._stop = threading.Event()
    self._beat: threading.Thread | None = None

  def acquire(self) -> Self:
    """Acquire the folder.

    Raises:
      FolderInUse: a live process owns it.
    """
    self.folder.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(self.folder):
      refuse_if_owned(self.folder, self.advice)
      owner = _read(self._path)
      if owner is not None:
        self._say(f"{self.folder}: taking over the lock of {_who(owner)}, which has ended")
      write_json(self._path, {
        "host": socket.gethostname(), "pid": os.getpid(), "started": round(time.time(), 3), "machine": _machine(),
        "born": _born(os.getpid()), "token": self._token,
      })
    self.check()
    self._beat = threading.Thread(target=self._keep_alive, name="jaxface-lock", daemon=True)
    self._beat.start()
    return self

  def check(self) -> None:
    """Raise `FolderInUse` if another process has taken over the folder, after this one missed heartbeats for too long."""
    owner = _read(self._path)
    if owner is None or owner.get("token") != self._token:
      who = "nobody" if owner is None else _who(owner)
      raise FolderInUse(f"{self.folder} was taken over by {who} while this process sent no heartbeat: {self.advice}")

  def release(self) -> None:
    """Release the folder, if this process still owns it."""
    self._stop.set()
    if self._beat is not None:
      self._beat.join()
    owner = _read(self._path)
    if owner and owner.get("token") == self._token:
      self._path.unlink(missing_ok=True)

  def _keep_alive(self) -> None:
    while not self._stop.wait(HEARTBEAT):
      owner = _read(self._path)
      if owner and owner.get("token") == self._token:
        with contextlib.suppress(OSError):
          os.utime(self._path)

  def __enter__(self) -> Self:
    return self.acquire()

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    self.release()


__all__ = ["FILE", "HEARTBEAT", "LOST", "FolderInUse", "FolderLock", "owner_token", "refuse_if_owned"]
