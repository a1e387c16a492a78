"""JAX's coordination service as a small store that all processes of a run share.

The only file that uses names of JAX's which are not public: it offers neither its key-value store nor a barrier with a time
limit under a public one.
"""

import threading
from typing import Any

from jax._src import distributed


class StoreError(ConnectionError):
  """The store does not answer: the process that keeps it, process 0, is gone, or a time limit is over."""


class Store:
  """Texts by key, and barriers; see `joined_store`.

  Attributes:
    index, count: number of this process, and how many there are.
    address: HOST:PORT of process 0, which keeps the store.
  """

  def __init__(self) -> None:
    state = distributed.global_state
    self._client: Any = state.client
    self.index, self.count, self.address = state.process_id, state.num_processes, state.coordinator_address or ""

  def set(self, key: str, text: str) -> None:
    """Keep `text` under `key`, in the place of an older one.

    Raises:
      StoreError: the store does not answer.
    """
    try:
      self._client.key_value_set(key, text, allow_overwrite=True)
    except RuntimeError as error:
      raise StoreError(str(error)) from error

  def folder(self, name: str) -> dict[str, str]:
    """Texts by key, of all keys that begin with `name` and a slash; the keys without that beginning.

    Raises:
      StoreError: the store does not answer.
    """
    try:
      found = self._client.key_value_dir_get(f"{name}/")
    except RuntimeError as error:
      raise StoreError(str(error)) from error
    return {key.removeprefix(f"{name}/"): text for key, text in found}

  def remove(self, name: str) -> None:
    """Forget all keys that begin with `name` and a slash.

    Raises:
      StoreError: the store does not answer.
    """
    try:
      self._client.key_value_delete(f"{name}/")
    except RuntimeError as error:
      raise StoreError(str(error)) from error

  def barrier(self, name: str, seconds: float) -> None:
    """Return once every process has come to `name`, which is used once.

    Raises:
      StoreError: not all came within `seconds`, or the store does not answer.
    """
    failed: list[RuntimeError] = []

    def wait() -> None:
      try:
        self._client.wait_at_barrier(name, int(1000 * seconds))
      except RuntimeError as error:
        failed.append(error)

    # Python handles no signal while C++ waits: the main thread waits for a thread instead.
    thread = threading.Thread(target=wait, name="jaxface-hosts-barrier", daemon=True)
    thread.start()
    while thread.is_alive():
      thread.join(0.2)
    if failed:
      raise StoreError(str(failed[0])) from failed[0]


def joined_store() -> Store | None:
  """The store of the processes that `jax.distributed.initialize` has joined; None where it was not called."""
  return None if distributed.global_state.client is None else Store()


__all__ = ["Store", "StoreError", "joined_store"]
