"""Orders of training records: pure functions from seed and global position to a record, independent of hosts.

`rows(start, stop)` gives (source, record, occurrence) for global positions. Any slicing gives the same rows without
a scan from the beginning, and resuming a run needs one integer, the position that it reached.
"""

import math

import numpy as np

from jaxface.data.permutation import keyed, permute
from jaxface.seeds import Purpose

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


class UniformOrder:
  """Every record exactly once per epoch, in a new order each epoch.

  Args:
    num_records: N, the size of an epoch.
    seed: any integer; another seed gives another order.
  Raises:
    ValueError: no records, or 2³¹ or more.
  """

  def __init__(self, num_records: int, seed: int = 0):
    if not 1 <= num_records < 2**31:
      raise ValueError(f"an order needs at least one record and less than 2³¹, not {num_records}")
    self.num_records = num_records
    self.seed = seed

  def rows(self, start: int, stop: int) -> Rows:
    """Records at the positions [start, stop).

    Args:
      start: first global position, from 0.
      stop: the position after the last.
    Returns:
      source [N] int32 (all 0), record [N] int64, occurrence [N] int64 (number of earlier occurrences of the record).
    """
    epoch_n, index_n = divmod(np.arange(start, stop), self.num_records)
    record_n = permute(index_n, self.num_records, keyed(self.seed, Purpose.EPOCH, epoch_n))
    return np.zeros(len(record_n), np.int32), record_n, epoch_n


class BalancedOrder:
  """Batches of P identities with K images each, and `extra` records of other identities.

  Identities come in laps: each lap is a new permutation of all identities, and the P identities of a batch are always
  distinct, also if a batch spans two laps. An identity uses K of its images per lap, continuing where it stopped: all its
  images are used equally often (to within one); the K images of a batch are distinct if it has that many, and repeat if it
  has fewer. Its images are reshuffled when its cursor and its groups of K coincide, after lcm(images, K) uses.

  A batch consists of P groups of K images of one identity, then the extras. Extras are distinct records, sampled uniformly
  from all records whose identity is not among the P.

  Args:
    label_n: [N] int, the identity of every record.
    identities: P.
    images: K.
    extra: records of other identities at the end of each batch.
    seed: any integer.
  Raises:
    ValueError: fewer identities than P, or too few records of other identities for `extra`.
  """

  def __init__(self, label_n: np.ndarray, identities: int, images: int, extra: int = 0, seed: int = 0):
    label_n = np.asarray(label_n)
    self.label_n, self.identities, self.images, self.extra, self.seed = label_n, identities, images, extra, seed
    if identities < 1 or images < 1 or extra < 0:
      raise ValueError(
        f"a balanced batch needs at least one identity and one image, and no negative extra: "
        f"identities={identities}, images={images}, extra={extra}"
      )
    # Records grouped by identity; identities without records are ignored.
    self._record_n = np.argsort(label_n, kind="stable")
    _, self._first_i, self._count_i = np.unique(label_n[self._record_n], return_index=True, return_counts=True)
    self.num_identities = len(self._count_i)
    if identities > self.num_identities:
      raise ValueError(
        f"{identities} identities per batch, but only {self.num_identities} have records: lower identities_per_batch "
        f"or min_images"
      )
    left = len(label_n) - int(np.sort(self._count_i)[-identities:].sum())
    if extra > left:
      raise ValueError(f"{extra} extra records per batch, but only {left} records may have identities outside of a batch")
    self._identity_of_record_n = np.empty(len(label_n), np.int64)
    self._identity_of_record_n[self._record_n] = np.repeat(np.arange(self.num_identities), self._count_i)

  @property
  def batch_size(self) -> int:
    """P·K + extra."""
    return self.identities * self.images + self.extra

  def rows(self, start: int, stop: int) -> Rows:
    """Records at the positions [start, stop).

    Args:
      start: first global position, from 0.
      stop: the position after the last.
    Returns:
      source [N] int32 (all 0), record [N] int64, occurrence [N] int64: number of earlier occurrences of the record
      for its identity; for an extra, the number of the lap.
    """
    batch_n, column_n = divmod(np.arange(start, stop), self.batch_size)
    extra_n = column_n >= self.identities * self.images
    record_n = np.empty(len(batch_n), np.int64)
    occurrence_n = batch_n * self.identities // self.num_identities
    own_n = ~extra_n
    slot_n, image_n = divmod(column_n[own_n], self.images)
    record_n[own_n], occurrence_n[own_n] = self._own(batch_n[own_n] * self.identities + slot_n, image_n)
    if extra_n.any():
      batch_m, row_n = np.unique(batch_n[extra_n], return_inverse=True)
      record_n[extra_n] = self._others(batch_m)[row_n, column_n[extra_n] - self.identities * self.images]
    return np.zeros(len(record_n), np.int32), record_n, occurrence_n

  def _own(self, slot_n: np.ndarray, image_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(record, occurrence) of the image-th image at a slot of the infinite sequence of identities."""
    identity_n = self._identity(slot_n)
    count_n = self._count_i[identity_n]
    cursor_n = slot_n // self.num_identities * self.images + image_n
    round_n = cursor_n // np.lcm(count_n, self.images)
    index_n = permute(cursor_n % count_n, count_n, keyed(self.seed, Purpose.IMAGES, identity_n, round_n))
    return self._record_n[self._first_i[identity_n] + index_n], cursor_n // count_n

  def _identity(self, slot_n: np.ndarray) -> np.ndarray:
    """The identity at each slot of the infinite sequence."""
    size, per_batch = self.num_identities, self.identities
    lap_n, index_n = divmod(slot_n, size)
    if size < 2 * per_batch:
      # Laps shorter than two batches keep one order until laps and batches end together, so that P consecutive are distinct.
      return permute(index_n, size, keyed(self.seed, Purpose.LAP, slot_n // math.lcm(size, per_batch)))
    identity_n = permute(index_n, size, keyed(self.seed, Purpose.LAP, lap_n))
    early_n = index_n < per_batch
    for lap in np.unique(lap_n[early_n]):
      here_n = early_n & (lap_n == lap)
      identity_n[here_n] = self._opening(int(lap))[index_n[here_n]]
    return identity_n

  def _opening(self, lap: int) -> np.ndarray:
    """The first P identities of a lap: those of a batch that began in the previous lap are moved behind the others."""
    size, per_batch = self.num_identities, self.identities
    opening_p = permute(np.arange(per_batch), size, keyed(self.seed, Purpose.LAP, lap))
    begun = lap * size % per_batch
    if begun:
      # With at least two batches per lap, the end of the previous lap does not overlap its opening: no chain of laps.
      last_n = permute(np.arange(size - begun, size), size, keyed(self.seed, Purpose.LAP, lap - 1))
      head_n = np.flatnonzero(~np.isin(opening_p, last_n))[: per_batch - begun]
      opening_p = np.concatenate([opening_p[head_n], np.delete(opening_p, head_n)])
    return opening_p

  def _others(self, batch_m: np.ndarray) -> np.ndarray:
    """The extras of batches, [M, extra]: the first of a shuffle of all records of other identities than a batch's P."""
    batches, records = len(batch_m), len(self.label_n)
    # Identities of all batches in one range of numbers, so that one search finds each in its own batch.
    space_m1 = (np.arange(batches) * self.num_identities)[:, None]
    slot_mp = batch_m[:, None] * self.identities + np.arange(self.identities)
    taken_mp = self._identity(slot_mp.ravel()).reshape(slot_mp.shape) + space_m1
    key_m = keyed(self.seed, Purpose.OTHERS, batch_m)
    tried = 2 * self.extra + 16
    while True:
      tried = min(tried, records)
      record_n = permute(np.tile(np.arange(tried), batches), records, np.repeat(key_m, tried))
      record_mt = record_n.reshape(batches, tried)
      free_mt = ~np.isin(self._identity_of_record_n[record_mt] + space_m1, taken_mp)
      rank_mt = free_mt.cumsum(axis=1)
      if (rank_mt[:, -1] >= self.extra).all():
        return record_mt[free_mt & (rank_mt <= self.extra)].reshape(batches, self.extra)
      tried *= 2
