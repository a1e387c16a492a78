"""JAX's coordination service as a key-value store shared by all processes of a run.

The only file that uses private names of JAX, which has no public API for its key-value store or for barriers with a time limit.
"""

import threading
from collections.abc import Callable
from typing import Any

from jax._src import distributed

# JAX takes no infinity; milliseconds.
_LONGEST = 10**9


class StoreError(ConnectionError):
  """The store does not respond: process 0, which holds it, has ended, or a time limit has passed."""


class Store:
  """Strings by key, and barriers; see `joined_store`.

  Attributes:
    index, count: number of this process, and number of processes.
    address: HOST:PORT of process 0, which holds the store.
  """

  def __init__(self) -> None:
    state = distributed.global_state
    self._client: Any = state.client
    self.index, self.count, self.address = state.process_id, state.num_processes, state.coordinator_address or ""

  def set(self, key: str, text: str) -> None:
    """Store `text` under `key`, replacing an older value.

    Raises:
      StoreError: the store does not respond.
    """
    try:
      self._client.key_value_set(key, text, allow_overwrite=True)
    except RuntimeError as error:
      raise StoreError(str(error)) from error

  def folder(self, name: str) -> dict[str, str]:
    """Values of all keys below `name/`, by key without this prefix.

    Raises:
      StoreError: the store does not respond.
    """
    try:
      found = self._client.key_value_dir_get(f"{name}/")
    except RuntimeError as error:
      raise StoreError(str(error)) from error
    return {key.removeprefix(f"{name}/"): text for key, text in found}

  def remove(self, name: str) -> None:
    """Delete all keys below `name/`.

    Raises:
      StoreError: the store does not respond.
    """
    try:
      self._client.key_value_delete(f"{name}/")
    except RuntimeError as error:
      raise StoreError(str(error)) from error

  def barrier(self, name: str, seconds: Callable[[], float]) -> None:
    """Return once every process has reached the barrier `name`; a name is used once.

    Args:
      name: the barrier.
      seconds: called several times per second: how much longer to wait.
    Raises:
      StoreError: not all processes arrived in time, or the store does not respond.
    """
    failed: list[RuntimeError] = []

    def wait() -> None:
      try:
        self._client.wait_at_barrier(name, _LONGEST)
      except RuntimeError as error:
        failed.append(error)

    # Python handles no signals during a blocking C++ call, so the call runs in another thread.
    thread = threading.Thread(target=wait, name="jaxface-hosts-barrier", daemon=True)
    thread.start()
    while thread.is_alive():
      thread.join(0.2)
      if thread.is_alive() and seconds() <= 0:
        raise StoreError(f"not all processes have reached {name}")
    if failed:
      raise StoreError(str(failed[0])) from failed[0]


def joined_store() -> Store | None:
  """The store of a run with `jax.distributed.initialize`; None without it."""
  return None if distributed.global_state.client is None else Store()


__all__ = ["Store", "StoreError", "joined_store"]
