"""Several record sets as one source, and an order that takes a given share of each batch from each of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxface.data.fingerprint import digest, fingerprint
from jaxface.data.order import Rows
from jaxface.data.permutation import keyed, permute
from jaxface.data.source import Source, UnreadableRow, identity_names, shards
from jaxface.formats.manifest import UNKNOWN_TEMPLATE, UNKNOWN_TEMPLATES
from jaxface.seeds import Purpose

# Positions after which the choice of sets repeats. Shares are rounded to multiples of 1 / CYCLE.
CYCLE = 2**16


class MixtureSource:
  """The records of several sources, one source after the other.

  Records are called SET/NAME. Identities are called SET/IDENTITY, or, if sets share them, by their name.

  Args:
    sources: at least one, all with images of one size.
    sets: a name for each, for the names of records and identities, and for messages.
    shared: identities of the same name in different sets are one identity; otherwise none are.
  Attributes:
    sources: the sources.
    sets: their names.
    part_n: [N] int32, the source of each record.
    shard_n: [N] int32, the shard of each record; None if a source has none.
  Raises:
    ValueError: images of different sizes or alignment templates, sets of the same name, or sets without names of identities to share.
  """

  def __init__(self, sources: Sequence[Source], sets: Sequence[str], *, shared: bool = False):
    if not sources or len(sets) != len(sources) or len(set(sets)) < len(sets):
      raise ValueError(f"a mixture needs sources with different names, not {len(sources)} called {', '.join(sets) or 'nothing'}")
    self.sources, self.sets, self.shared = tuple(sources), tuple(sets), shared
    self.image_shape = sources[0].image_shape
    if any(source.image_shape != self.image_shape for source in sources):
      sizes = ", ".join(f"{name} {'x'.join(map(str, source.image_shape))}" for name, source in zip(sets, sources))
      raise ValueError(f"the sets of a mixture have images of different sizes ({sizes}): pack them with the same --size")
    self.template = _template(sources, sets)
    count_s = [source.num_records for source in sources]
    self._first_s = np.cumsum([0, *count_s])
    self.num_records = int(self._first_s[-1])
    self.part_n = np.repeat(np.arange(len(sources), dtype=np.int32), count_s)
    self.shard_n = _shards(self.sources)
    label_s, self._identities = self._labels()
    self.num_identities = len(self._identities) if self._identities is not None else sum(source.num_identities for source in sources)
    self.label_n = np.concatenate(label_s).astype(np.int32)

  def _labels(self) -> tuple[list[np.ndarray], list[str] | None]:
    """The labels of each source in the mixture, and the name of each identity."""
    names_s = [identity_names(source) for source in self.sources]
    if not self.shared:
      first_s = np.cumsum([0, *(source.num_identities for source in self.sources)])
      labels = [source.label_n + first for source, first in zip(self.sources, first_s)]
      every = [f"{name}/{one}" for name, names in zip(self.sets, names_s) for one in names or ()]
      return labels, None if None in names_s else every
    number: dict[str, int] = {}
    labels = []
    for name, source, names in zip(self.sets, self.sources, names_s):
      if names is None:
        raise ValueError(f"the sets of a mixture cannot share identities: {name} has no names of identities")
      label_i = np.array([number.setdefault(one, len(number)) for one in names], np.int64)
      labels.append(label_i[source.label_n])
    return labels, list(number)

  def names(self) -> list[str]:
    """Name of each record."""
    return [f"{name}/{one}" for name, source in zip(self.sets, self.sources) for one in source.names()]

  def identity_names(self) -> list[str] | None:
    """Name of each identity, by label; None if a source does not provide them."""
    return self._identities

  def fingerprint(self) -> dict[str, Any]:
    """Fingerprints of the sources, and the digest of the labels."""
    facts = {f"set {number}, {fact}": value for number, source in enumerate(self.sources) for fact, value in fingerprint(source).items()}
    return {"records": self.num_records, "identities": self.num_identities, **facts, "labels_sha256": digest([self.label_n])}

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Reads records of the sources; errors give the record numbers of the sources.

    Args:
      record_n: [N] int, record numbers.
      out: [N, H, W, C] uint8, C-contiguous.
    Returns:
      One error per unreadable row, in order of rows.
    """
    record_n = np.asarray(record_n)
    part_n, errors = self.part_n[record_n], []
    for part in np.unique(part_n):
      row_m = np.flatnonzero(part_n == part)
      whole = len(row_m) == len(record_n)
      image_mhwc = out if whole else np.empty((len(row_m), *out.shape[1:]), np.uint8)
      for error in self.sources[part].read(record_n[row_m] - self._first_s[part], image_mhwc):
        error.row = int(row_m[error.row])
        errors.append(error)
      if not whole:
        out[row_m] = image_mhwc
    return sorted(errors, key=lambda error: error.row)


def _shards(sources: Sequence[Source]) -> np.ndarray | None:
  """The shards of all sources, numbered one source after the other."""
  found, first = [], 0
  for source in sources:
    shard_n = shards(source)
    if shard_n is None:
      return None
    found.append(shard_n + first)
    first = int(found[-1].max(initial=first - 1)) + 1
  return np.concatenate(found).astype(np.int32)


def _template(sources: Sequence[Source], sets: Sequence[str]) -> str:
  """The template of all sources; "unknown" if it is that of some, or not known at all."""
  found = {source.template for source in sources}
  if len(found - UNKNOWN_TEMPLATES) > 1:
    text = ", ".join(f"{name} {source.template}" for name, source in zip(sets, sources))
    raise ValueError(f"the sets of a mixture are aligned to different templates ({text}): align them to one")
  return found.pop() if len(found) == 1 else UNKNOWN_TEMPLATE


class MixtureOrder:
  """Records of several sets, each set with its share of the positions.

  The sets take turns in a fixed cycle of `CYCLE` positions, as evenly as their shares allow: of n positions in a row, such as a batch,
  a set of share w among S sets has n·w records, to within 1 + S·w. Each set has its own epochs: all of its records once, in a new order
  each time, and then again, however often the other sets have ended.

  Args:
    part_n: [N] int, the set of each record, from 0.
    weights: share of the positions of each set, relative to the others.
    seed: any integer; another seed gives another order.
  Raises:
    ValueError: a set without records, a number of weights other than of sets, or one that is not positive or too small beside the others.
  """

  def __init__(self, part_n: np.ndarray, weights: Sequence[float], seed: int = 0):
    part_n = np.asarray(part_n)
    self.seed = seed
    weight_s = np.asarray(weights, np.float64)
    self._record_n = np.argsort(part_n, kind="stable")
    self.count_s = np.bincount(part_n, minlength=len(weight_s))
    if len(self.count_s) != len(weight_s) or not np.isfinite(weight_s).all() or not (weight_s > 0).all():
      raise ValueError(f"an order of {len(self.count_s)} sets needs as many positive weights, not {list(weights)}")
    if not self.count_s.all():
      empty = int(np.argmin(self.count_s))
      raise ValueError(f"set {empty} of the mixture has no records to take, but a weight of {weights[empty]}: leave it out")
    self._first_s = np.cumsum(self.count_s) - self.count_s
    self.turns_s = _turns(weight_s)
    if not self.turns_s.all():
      least = int(np.argmin(self.turns_s))
      raise ValueError(f"weight {weights[least]} of set {least} is less than one record in {CYCLE:,}: leave the set out")
    # The k-th of m turns of a set is due at (k + 1/2) / m of the cycle; of turns due together the first set's comes first.
    turn_q = np.concatenate([np.arange(turns) for turns in self.turns_s])
    set_q = np.repeat(np.arange(len(weight_s), dtype=np.int32), self.turns_s)
    due_q = np.argsort((2 * turn_q + 1) / (2 * self.turns_s[set_q]), kind="stable")
    self._set_q, self._turn_q = set_q[due_q], turn_q[due_q]

  def rows(self, start: int, stop: int) -> Rows:
    """Records at the positions [start, stop).

    Args:
      start: first global position, from 0.
      stop: the position after the last.
    Returns:
      source [N] int32, the set; record [N] int64; occurrence [N] int64 (number of earlier occurrences of the record).
    """
    cycle_n, place_n = np.divmod(np.arange(start, stop), CYCLE)
    set_n = self._set_q[place_n]
    cursor_n = cycle_n * self.turns_s[set_n] + self._turn_q[place_n]
    epoch_n, index_n = np.divmod(cursor_n, self.count_s[set_n])
    index_n = permute(index_n, self.count_s[set_n], keyed(self.seed, Purpose.MIXTURE, set_n, epoch_n))
    return set_n, self._record_n[self._first_s[set_n] + index_n], epoch_n


def _turns(weight_s: np.ndarray) -> np.ndarray:
  """[S] int64, turns of each set in a cycle: shares of CYCLE, rounded so that they sum to it (largest remainders, then first sets)."""
  exact_s = weight_s / weight_s.sum() * CYCLE
  turns_s = np.floor(exact_s).astype(np.int64)
  more_s = np.argsort(turns_s - exact_s, kind="stable")[: CYCLE - int(turns_s.sum())]
  turns_s[more_s] += 1
  return turns_s


__all__ = ["CYCLE", "MixtureOrder", "MixtureSource"]
