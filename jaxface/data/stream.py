"""An order for shards that are read from their beginning to their end, as a bucket or a disk with slow seeks wants it."""

from typing import Any

import numpy as np

from jaxface.data.order import Rows
from jaxface.data.permutation import keyed, permute
from jaxface.seeds import Purpose

# Lanes are chosen up to this number where none is given: hosts that read shards of their own.
LANES = 8
WINDOW = 8192


class StreamOrder:
  """Records in the sequence of their shards, mixed within a window.

  The shards are dealt to lanes: shard s to lane s mod L. Of each batch, lane l has the rows [l·B/L, (l + 1)·B/L), so that up to L hosts read
  shards of their own. A lane goes through its shards in a new order each epoch, from a new place in them, and through the records of a shard
  in their sequence, except that each `window` records in a row are mixed: what has to be in memory at once is a window of each lane. With a
  seed the order is a function of the position, as other orders are: a run resumes from one integer, on any number of hosts.

  What it does not keep of `UniformOrder`: a record stays near the others of its shard; each lane has epochs of its own, whose lengths differ as
  the shards do, so that an epoch of the whole set is exact only where lanes have equally many records; and the order depends on batch size,
  lanes, window and the division into shards.

  Args:
    shard_n: [N] int, the shard of each record, ascending.
    batch_size: B, over all hosts.
    lanes: L; 0 takes the largest number up to 8 that divides B and is not above the number of shards.
    window: number of records of a lane that are mixed.
    seed: any integer; another seed gives another order.
  Attributes:
    lanes: L.
    lane_n: [N] int64, the lane of each record.
  Raises:
    ValueError: no records, records that are not in the sequence of their shards, more lanes than shards, or lanes that do not divide the batch.
  """

  def __init__(self, shard_n: np.ndarray, batch_size: int, *, lanes: int = 0, window: int = WINDOW, seed: int = 0):
    shard_n = np.asarray(shard_n)
    if not len(shard_n) or (np.diff(shard_n) < 0).any():
      raise ValueError("a stream needs records in the sequence of their shards")
    if window < 1:
      raise ValueError(f"a window of {window} records: at least 1 is needed")
    _, first_s, count_s = np.unique(shard_n, return_index=True, return_counts=True)
    shards = len(first_s)
    self.lanes = lanes or max(count for count in range(1, min(LANES, shards) + 1) if batch_size % count == 0)
    if not 1 <= self.lanes <= shards:
      raise ValueError(f"{self.lanes} lanes of a stream for {shards} shards: each lane needs at least one; pack into more shards, or take fewer lanes")
    if batch_size % self.lanes:
      raise ValueError(f"a batch of {batch_size} is not divisible among {self.lanes} lanes of a stream")
    self.batch_size, self.window, self.seed = batch_size, window, seed
    self._first_l = [first_s[lane :: self.lanes].astype(np.int64) for lane in range(self.lanes)]
    self._count_l = [count_s[lane :: self.lanes].astype(np.int64) for lane in range(self.lanes)]
    self.lane_n = np.repeat(np.arange(shards) % self.lanes, count_s)

  def fingerprint(self) -> dict[str, Any]:
    """What determines the order, beside the records and the fields of the experiment."""
    return {"lanes": self.lanes, "window": self.window}

  def rows(self, start: int, stop: int) -> Rows:
    """Records at the positions [start, stop).

    Args:
      start: first global position, from 0.
      stop: the position after the last.
    Returns:
      source [N] int32 (all 0), record [N] int64, occurrence [N] int64 (number of earlier occurrences of the record).
    """
    each = self.batch_size // self.lanes
    step_n, row_n = np.divmod(np.arange(start, stop), self.batch_size)
    lane_n, cursor_n = row_n // each, step_n * each + row_n % each
    record_n, epoch_n = np.empty(len(row_n), np.int64), np.empty(len(row_n), np.int64)
    for lane in range(self.lanes):
      here_n = np.flatnonzero(lane_n == lane)
      epoch_n[here_n], index_n = np.divmod(cursor_n[here_n], self._count_l[lane].sum())
      for epoch in np.unique(epoch_n[here_n]):
        now_n = epoch_n[here_n] == epoch
        record_n[here_n[now_n]] = self._records(lane, int(epoch), index_n[now_n])
    return np.zeros(len(record_n), np.int32), record_n, epoch_n

  def _records(self, lane: int, epoch: int, index_n: np.ndarray) -> np.ndarray:
    """Records at indices of an epoch of a lane."""
    first_s, count_s = self._first_l[lane], self._count_l[lane]
    total, shards = int(count_s.sum()), len(count_s)
    key = keyed(self.seed, Purpose.STREAM, lane, epoch)
    window_n, inner_n = np.divmod(index_n, self.window)
    size_n = np.minimum(self.window, total - window_n * self.window)
    mixed_n = window_n * self.window + permute(inner_n, size_n, keyed(self.seed, Purpose.STREAM, lane, epoch, window_n))
    # Windows begin elsewhere in each epoch, so that other records are mixed with each other.
    place_n = (mixed_n + int(key[0] % np.uint64(total))) % total
    order_s = permute(np.arange(shards), shards, key)
    end_s = np.cumsum(count_s[order_s])
    turn_n = np.searchsorted(end_s, place_n, side="right")
    return first_s[order_s][turn_n] + place_n - (end_s - count_s[order_s])[turn_n]


__all__ = ["LANES", "WINDOW", "StreamOrder"]
