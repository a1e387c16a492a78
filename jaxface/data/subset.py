"""Subsets of a source's identities with new dense labels: filter by number of images, and hold-out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxface.data.fingerprint import digest, fingerprint
from jaxface.data.permutation import keyed, permute
from jaxface.data.source import Source, UnreadableRow, identity_names, parts, shards
from jaxface.seeds import Purpose


def split_identities(
  label_n: np.ndarray, *, min_images: int = 1, holdout: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Splits identities into disjoint training and held-out parts.

  Args:
    label_n: [N] int32, identity of each record.
    min_images: identities with fewer records are in neither part.
    holdout: share of the remaining identities to hold out, in [0, 1); at least one if it is not 0.
    seed: the same seed gives the same identities.
  Returns:
    (train_i, holdout_i): int32 labels, each ascending.
  Raises:
    ValueError: a share outside [0, 1), or no identity left for training.
  """
  if not 0 <= holdout < 1:
    raise ValueError(f"holdout is a share of the identities, at least 0 and less than 1, not {holdout}")
  count_i = np.bincount(label_n)
  kept_i = np.flatnonzero(count_i >= max(min_images, 1)).astype(np.int32)
  held = max(round(holdout * len(kept_i)), 1) if holdout else 0
  if len(kept_i) <= held:
    raise ValueError(
      f"no identity is left for training: {len(kept_i)} of {len(np.flatnonzero(count_i))} have {min_images} images or "
      f"more (the largest has {count_i.max(initial=0)}), {held} of them held out"
    )
  shuffled_i = kept_i[permute(np.arange(len(kept_i)), len(kept_i), keyed(seed, Purpose.HOLDOUT))]
  return np.sort(shuffled_i[held:]), np.sort(shuffled_i[:held])


class SubsetSource:
  """The records of some identities of a source.

  Label j here is label `identity_i[j]` there, and record r here is record `record_n[r]` there; both ascend, which
  preserves the order.

  Args:
    source: any source.
    identity_i: labels to keep, in any order.
  Attributes:
    identity_i: [I] int32, the labels in the source by label here.
    record_n: [N] int64, the records in the source by record here.
    part_n: [N] int32, the set of a mixture that each record is from.
    shard_n: [N] int32, the shard of each record; None if the source has none.
  """

  def __init__(self, source: Source, identity_i: np.ndarray):
    self.source = source
    self.identity_i = np.unique(identity_i).astype(np.int32)
    self.record_n = np.flatnonzero(np.isin(source.label_n, self.identity_i))
    self.label_n = np.searchsorted(self.identity_i, source.label_n[self.record_n]).astype(np.int32)
    self.part_n = parts(source)[self.record_n]
    shard_n = shards(source)
    self.shard_n = None if shard_n is None else shard_n[self.record_n]
    self.num_records = len(self.record_n)
    self.num_identities = len(self.identity_i)
    self.image_shape = source.image_shape
    self.template = source.template

  def names(self) -> list[str]:
    """Name of each record."""
    names = self.source.names()
    return [names[record] for record in self.record_n]

  def fingerprint(self) -> dict[str, Any]:
    """Fingerprint of the source, and the selected identities."""
    return {
      **fingerprint(self.source), "identities_chosen": self.num_identities, "chosen_sha256": digest([self.identity_i]),
    }

  def identity_names(self) -> list[str] | None:
    """Name of each kept identity, by label here; None if the source does not provide them."""
    names = identity_names(self.source)
    return None if names is None else [names[identity] for identity in self.identity_i]

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Reads records of the source; errors give the record numbers of the source.

    Args:
      record_n: [N] int, record numbers.
      out: [N, H, W, C] uint8, C-contiguous.
    Returns:
      One error per unreadable row.
    """
    return self.source.read(self.record_n[record_n], out)


class RangeSource:
  """The records [start, stop) of a source, with the source's labels.

  Args:
    source: any source.
    start, stop: record numbers.
    names: names of all records of the source, if they are known already.
  """

  def __init__(self, source: Source, start: int, stop: int, names: Sequence[str] | None = None):
    self.source, self.start = source, start
    self._names = (source.names() if names is None else names)[start:stop]
    self.label_n = source.label_n[start:stop]
    self.num_records, self.num_identities = len(self._names), source.num_identities
    self.image_shape, self.template = source.image_shape, source.template

  def names(self) -> list[str]:
    """Name of each record."""
    return list(self._names)

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Reads records of the source; errors give the record numbers of the source."""
    return self.source.read(np.asarray(record_n) + self.start, out)


class NamedSource:
  """The records of a source with given names, with the source's labels and order.

  Args:
    source: any source.
    names: names of records; names that the source lacks are ignored.
  """

  def __init__(self, source: Source, names: set[str]):
    self.source = source
    every = source.names()
    self.record_n = np.array([record for record, name in enumerate(every) if name in names], np.int64)
    self._names = [every[record] for record in self.record_n]
    self.label_n = source.label_n[self.record_n]
    self.num_records, self.num_identities = len(self.record_n), source.num_identities
    self.image_shape, self.template = source.image_shape, source.template

  def names(self) -> list[str]:
    """Name of each record."""
    return self._names

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Reads records of the source; errors give the record numbers of the source."""
    return self.source.read(self.record_n[record_n], out)
