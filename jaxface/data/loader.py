"""Batches on devices from an order of records, prefetched in the background."""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import jax
import numpy as np

from jaxface.data.permutation import keyed
from jaxface.data.source import Source, UnreadableRow, targets
from jaxface.formats.errors import DamagedData
from jaxface.seeds import Purpose

Batch = dict[str, jax.Array]

# Records tried in place of a damaged one. All of them fail only if most of the data are damaged.
SUBSTITUTES = 16
# Number of positions whose records are computed together.
BLOCK = 4096
ON_DAMAGE = ("substitute", "raise")


class Order(Protocol):
  """Maps global positions to records."""

  def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(source, record, occurrence) of the positions [start, stop)."""
    ...


def empty_images(shape: tuple[int, ...]) -> np.ndarray:
  """An uninitialised uint8 array, aligned to 64 bytes so that XLA:CPU accepts it without a copy."""
  size = math.prod(shape)
  memory = np.empty(size + 64, np.uint8)
  start = -memory.ctypes.data % 64
  return memory[start : start + size].reshape(shape)


class Loader:
  """Batches of an order, prefetched to the devices.

  Step s has the global positions [s·B, (s + 1)·B). Each host decodes only the rows of its devices. An unreadable record is
  replaced by another, chosen by position and record number only, so that all hosts and every resumed run agree. It is counted
  in `damaged`, and a warning names its file, offset and number. (In a balanced batch the substitute may have any identity; it
  has its own label.)

  Batches are dicts of image [B, H, W, C] uint8, label [B] int32, weight [B] float32 (1), position [B] uint32, the low 32 bits
  of the global position, and damaged [B] int32, the number of unreadable records for the row; target [B, T] float32 if the
  source has targets. Iterate in a `with` block or until `close`.

  Args:
    source: the source of the records.
    order: maps positions to records.
    batch_size: B, over all hosts.
    start_step: first step, to resume a run.
    steps: number of steps; None for no end.
    sharding: splits the leading axis; the batch becomes one global array over its mesh. None puts this host's rows on the
      default device.
    process_index, process_count: this host's share of the rows, without a sharding; JAX's values by default.
    prefetch: number of batches that are ready or in preparation while the consumer works on one.
    on_damage: "substitute", or "raise" to end at the first damaged record.
    on_batch: called for each batch that is ready.
  Attributes:
    step: the next step.
    damaged: number of unreadable records so far, on this host.
    wait_seconds: time that the consumer has waited for batches.
  Raises:
    ValueError: the batch size is not divisible by the number of hosts; an unknown policy.
  """

  def __init__(
    self,
    source: Source,
    order: Order,
    batch_size: int,
    *,
    start_step: int = 0,
    steps: int | None = None,
    sharding: jax.sharding.Sharding | None = None,
    process_index: int | None = None,
    process_count: int | None = None,
    prefetch: int = 2,
    on_damage: str = "substitute",
    on_batch: Callable[[], object] = lambda: None,
  ):
    if on_damage not in ON_DAMAGE:
      raise ValueError(f"on_damage is {on_damage!r}, should be one of {', '.join(ON_DAMAGE)}")
    if batch_size < 1 or prefetch < 1:
      raise ValueError(f"batch_size and prefetch are at least 1, not {batch_size} and {prefetch}")
    self.source, self.order, self.batch_size, self.on_damage = source, order, batch_size, on_damage
    self.on_batch = on_batch
    self.step = start_step
    self.damaged = 0
    self.wait_seconds = 0.0
    self._stop = None if steps is None else start_step + steps
    # Rows that this host reads, indexed in the global batch and in its own array.
    self._local_n: np.ndarray
    self._held_n: np.ndarray
    self._sharding: jax.sharding.Sharding
    if sharding is None:
      index = jax.process_index() if process_index is None else process_index
      count = jax.process_count() if process_count is None else process_count
      if batch_size % count:
        raise ValueError(f"a batch of {batch_size} is not divisible among {count} hosts")
      self._rows = batch_size // count
      self._held_n = np.arange(self._rows)
      self._local_n = self._held_n + index * self._rows
      self._sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    else:
      indices = sharding.addressable_devices_indices_map((batch_size,)).values()
      self._rows = batch_size
      self._held_n = np.unique(np.concatenate([np.arange(batch_size)[index] for index in indices]))
      self._local_n = self._held_n
      self._sharding = sharding
    # Two steps at once: while the last rows of one are decoded, decoding of the next begins.
    self._pool = ThreadPoolExecutor(min(prefetch, 2), thread_name_prefix="jaxface-loader")
    self._prefetch = prefetch
    self._ahead: deque[Future[tuple[Batch, list[UnreadableRow]]]] = deque()
    self._asked = start_step
    self._closed = False
    self._block_steps = -(-BLOCK // batch_size)
    self._block = (-1, np.empty((0, 0), np.int64))

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    if not self._closed:
      self._ask(self._prefetch)
    if not self._ahead:
      raise StopIteration
    began = time.perf_counter()
    try:
      batch, errors = self._ahead.popleft().result()
    except BaseException:
      self.close()
      raise
    self.wait_seconds += time.perf_counter() - began
    self.on_batch()
    self.step += 1
    self._ask(self._prefetch)
    self.damaged += len(errors)
    for error in errors:
      warnings.warn(f"{error}; another record is substituted", RuntimeWarning, stacklevel=2)
    return batch

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    self.close()

  def close(self) -> None:
    """Drops prefetched batches and ends the threads after the batches in preparation."""
    self._closed = True
    self._ahead.clear()
    self._pool.shutdown(cancel_futures=True)

  def _ask(self, ahead: int) -> None:
    while len(self._ahead) < ahead and (self._stop is None or self._asked < self._stop):
      self._ahead.append(self._pool.submit(self._make, self._asked))
      self._asked += 1

  def _make(self, step: int) -> tuple[Batch, list[UnreadableRow]]:
    position_n = step * self.batch_size + self._local_n
    record_n = self._records(step)
    image_bhwc = empty_images((len(record_n), *self.source.image_shape))
    errors = self._read(record_n, position_n, image_bhwc)
    damaged_n = np.bincount([error.row for error in errors], minlength=len(record_n)) if errors else np.zeros(len(record_n))
    local = {
      "image": image_bhwc,
      "label": self.source.label_n[record_n].astype(np.int32),
      "weight": np.ones(len(record_n), np.float32),
      "position": position_n.astype(np.uint32),
      "damaged": damaged_n.astype(np.int32),
    }
    if (target_nt := targets(self.source)) is not None:
      local["target"] = target_nt[record_n].astype(np.float32)
    # These arrays are not written again, so that a CPU backend may use them without a copy.
    return ({name: self._put(array) for name, array in local.items()}, errors)

  def _records(self, step: int) -> np.ndarray:
    """This host's records of a step. Computed for blocks of steps: many positions cost little more than a few."""
    block = step // self._block_steps
    known, record_sb = self._block
    if known != block:
      start = block * self._block_steps * self.batch_size
      record_n = self.order.rows(start, start + self._block_steps * self.batch_size)[1]
      record_sb = record_n.reshape(self._block_steps, self.batch_size)[:, self._local_n]
      self._block = (block, record_sb)
    return record_sb[step % self._block_steps].copy()

  def _read(self, record_n: np.ndarray, position_n: np.ndarray, image_bhwc: np.ndarray) -> list[UnreadableRow]:
    """Fills the images; damaged records are replaced, in `record_n` too."""
    errors = self.source.read(record_n, image_bhwc)
    if errors and self.on_damage == "raise":
      raise errors[0]
    found, bad_n = list(errors), np.array([error.row for error in errors], np.int64)
    damaged_n = record_n[bad_n]
    for attempt in range(SUBSTITUTES):
      if not len(bad_n):
        return found
      key_n = keyed(0, Purpose.SUBSTITUTE, position_n[bad_n], damaged_n, attempt)
      record_n[bad_n] = (key_n % np.uint64(self.source.num_records)).astype(np.int64)
      substitute_bhwc = np.empty((len(bad_n), *image_bhwc.shape[1:]), np.uint8)
      errors = self.source.read(record_n[bad_n], substitute_bhwc)
      image_bhwc[bad_n] = substitute_bhwc
      left_n = np.array([error.row for error in errors], np.int64)
      for error in errors:
        error.row = int(bad_n[error.row])  # row of the batch, not of the retried rows
      found += errors
      bad_n, damaged_n = bad_n[left_n], damaged_n[left_n]
    if len(bad_n):
      last = found[-1]
      raise DamagedData(
        f"{last.what}; {SUBSTITUTES} records in place of record {damaged_n[-1]} could not be read either: most of the "
        "data are damaged, verify them",
        file=last.file,
        offset=last.offset,
        record=last.record,
      ) from last
    return found

  def _put(self, local: np.ndarray) -> jax.Array:
    def shard(index: Any) -> np.ndarray:
      start, stop, _ = index[0].indices(self._rows)
      first = int(np.searchsorted(self._held_n, start))
      return local[first : first + stop - start]

    return jax.make_array_from_callback((self._rows, *local.shape[1:]), self._sharding, shard)


def batches(
  source: Source, batch_size: int, unreadable: dict[int, DamagedData] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """All records of a source in order, once, for inference: the next batch is read while one is in use.

  Args:
    source: the source of the records.
    batch_size: B, of every batch.
    unreadable: receives the error of each unreadable record by number, in ascending order, before its batch is yielded.
  Yields:
    (image [B, H, W, C] uint8, weight [B] float32); unreadable records and the padding of the last batch are black
    images of weight 0.
  Raises:
    DamagedData: a record cannot be read, and `unreadable` is None.
  """

  def make(start: int) -> tuple[np.ndarray, np.ndarray]:
    record_n = np.arange(start, min(start + batch_size, source.num_records))
    image_bhwc = empty_images((batch_size, *source.image_shape))
    errors = source.read(record_n, image_bhwc[: len(record_n)])
    if errors and unreadable is None:
      raise errors[0]
    weight_b = (np.arange(batch_size) < len(record_n)).astype(np.float32)
    for error in errors:
      unreadable[start + error.row] = error  # type: ignore[index]
      weight_b[error.row] = 0
    image_bhwc[weight_b == 0] = 0
    return image_bhwc, weight_b

  with ThreadPoolExecutor(1, thread_name_prefix="jaxface-batches") as pool:
    ahead = deque([pool.submit(make, 0)] if source.num_records else [])
    for start in range(batch_size, source.num_records + batch_size, batch_size):
      batch = ahead.popleft().result()
      if start < source.num_records:
        ahead.append(pool.submit(make, start))
      yield batch
