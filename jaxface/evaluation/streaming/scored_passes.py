"""Passes over all pairs of embeddings that are scored by other than the cosine, such as by a verifier; the scores are never stored.

Every pass scores the same blocks, so that a pair has the same score in each. Order statistics are found by digits: a histogram over the first
16 bits of all scores, then over the next ones of those in the bin that is looked for, until these are few enough to sort.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jaxface.evaluation.pairs.pair_score import MatrixScore
from jaxface.evaluation.streaming.pair_passes import counted_above
from jaxface.evaluation.streaming.score_band import CAPACITY, Found
from jaxface.evaluation.streaming.score_blocks import Rows

ROWS = 1024  # of a block: its scores take 8 MB
_DIGIT = 16
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class ScoredPasses:
  """All pairs i < j of one set, the left embedding being that of i; it has the methods of `PairPasses` that intervals need."""

  row: Rows
  left_label: np.ndarray
  score: MatrixScore
  rows: int = ROWS
  capacity: int = CAPACITY
  one_set: bool = True

  @classmethod
  def of(cls, row: Rows, label: np.ndarray, score: MatrixScore, rows: int | None = None) -> "ScoredPasses":
    label = np.asarray(label)
    if len(row.shape) != 2 or label.shape != row.shape[:1]:
      raise ValueError(f"embeddings {row.shape} with labels {label.shape}: they must be [N, D] with N labels")
    if rows is not None and rows < 1:
      raise ValueError(f"{rows} rows in a block: at least one")
    return cls(row, np.unique(label, return_inverse=True)[1].astype(np.int64), score, rows or ROWS)

  @property
  def share(self) -> tuple[int, int]:
    """Number of this process and of those that share the pairs: one."""
    return 0, 1

  def shared(self, columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The columns; see `PairPasses.shared`."""
    return list(columns)

  @property
  def right_label(self) -> np.ndarray:
    return self.left_label

  def counts(self) -> tuple[int, int]:
    """Number of mated and of non-mated pairs."""
    count_c = np.bincount(self.left_label)
    mated = int((count_c * (count_c - 1) // 2).sum())
    return mated, len(self.left_label) * (len(self.left_label) - 1) // 2 - mated

  def order_statistics(self, positions: set[int], nonmated: int) -> dict[int, Found]:
    """Non-mated scores by position in falling order, from 0."""
    del nonmated  # for the same call as that of PairPasses
    # By position: the digits known so far as a number, how many bits they are, and the scores above all that begin with them.
    sought = {position: (0, 0, 0) for position in positions}
    found: dict[int, Found] = {}
    few: dict[int, tuple[int, int]] = {}  # bins that are sorted, with the number of scores above them
    found_above: dict[int, int] = {}
    while sought or few:
      counts = {(prefix, bits): np.zeros(1 << _DIGIT, np.int64) for prefix, bits, _ in sought.values()}
      kept: dict[tuple[int, int], list[np.ndarray]] = {place: [] for place in few.values()}
      for score_p, _, _ in self._nonmated():
        key_p = _keys(score_p)
        for (prefix, bits), count_b in counts.items():
          digit_p = (_begins(key_p, prefix, bits) >> np.uint64(64 - bits - _DIGIT)) & np.uint64(
            (1 << _DIGIT) - 1
          )
          count_b += np.bincount(digit_p.astype(np.int64), minlength=1 << _DIGIT)
        for (prefix, bits), part in kept.items():
          part.append(_begins(key_p, prefix, bits))
      for position, place in few.items():
        found[position] = self._among(np.sort(np.concatenate(kept[place])), position, found_above[position])
      few, found_above = {}, {}
      after: dict[int, tuple[int, int, int]] = {}
      for position, (prefix, bits, above) in sought.items():
        falling_b = np.cumsum(counts[prefix, bits][::-1])
        at = int(np.searchsorted(falling_b, position - above, side="right"))
        above += int(falling_b[at - 1]) if at else 0
        digit, inside = (1 << _DIGIT) - 1 - at, int(counts[prefix, bits][(1 << _DIGIT) - 1 - at])
        prefix, bits = prefix << _DIGIT | digit, bits + _DIGIT
        if bits == 64:
          found[position] = Found(_score_of(prefix), above, None)
        elif inside <= self.capacity:
          few[position], found_above[position] = (prefix, bits), above
        else:
          after[position] = prefix, bits, above
      sought = after
    return found

  @staticmethod
  def _among(key_q: np.ndarray, position: int, above: int) -> Found:
    """The score at a position, of the rising keys of one bin and the number of scores above the bin."""
    key = key_q[len(key_q) - 1 - (position - above)]
    after = int(np.searchsorted(key_q, key, side="right"))
    return Found(
      _score_of(int(key)),
      above + len(key_q) - after,
      _score_of(int(key_q[after])) if after < len(key_q) else None,
    )

  def each_above(self, floor: float, receive: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> None:
    """Gives `receive` the score [P], and both identities' numbers [P], of the non-mated pairs with a score of at least `floor`."""
    for score_p, left_p, right_p in self._nonmated():
      kept = score_p >= floor
      receive(score_p[kept], left_p[kept], right_p[kept])

  def mated_above(self, score_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mated pairs with a score above each given one: their number [T] int64, and their least score [T], infinite without."""
    return counted_above(self.mated_scores(), score_t)

  def mated_scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores [P] of some mated pairs at a time, and the number of the identity [P] of each."""
    for score_rr, counts_rr, left_r, right_r in self._blocks(mated_only=True):
      left_p, right_p = np.nonzero(counts_rr & (left_r[:, None] == right_r[None, :]))
      yield score_rr[left_p, right_p], left_r[left_p]

  def _nonmated(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scores [P] and both identities [P] of the non-mated pairs of a block."""
    for score_rr, counts_rr, left_r, right_r in self._blocks():
      left_p, right_p = np.nonzero(counts_rr & (left_r[:, None] != right_r[None, :]))
      yield score_rr[left_p, right_p], left_r[left_p], right_r[right_p]

  def _blocks(
    self, mated_only: bool = False
  ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Scores of two blocks of rows, which of them are of a pair i < j, and the identities of both."""
    label = self.left_label
    for start in range(0, len(label), self.rows):
      left = self._read(start)
      left_r = label[start : start + self.rows]
      for other in range(start, len(label), self.rows):
        right_r = label[other : other + self.rows]
        if mated_only and not np.isin(right_r, left_r).any():
          continue
        right = left if other == start else self._read(other)
        # Added 0: of the two zeros only one has a place in an order.
        score_rr = self.score.score_matrix(left, right) + 0.0
        if not np.isfinite(score_rr).all():
          at, to = np.argwhere(~np.isfinite(score_rr))[0]
          raise ValueError(
            f"{self.score.name}: the score of the embeddings {start + at} and {other + to} is {score_rr[at, to]}, it must be finite"
          )
        counts_rr = (
          np.ones(score_rr.shape, bool) if other != start else np.triu(np.ones(score_rr.shape, bool), 1)
        )
        yield score_rr, counts_rr, left_r, right_r

  def _read(self, start: int) -> np.ndarray:
    """The rows of a block.

    Raises:
      ValueError: an embedding is not finite; its row is named.
    """
    row_rd = np.asarray(self.row[start : start + self.rows])
    for row in np.flatnonzero(~np.isfinite(row_rd).all(1))[:1]:
      raise ValueError(
        f"row {start + row}: the embedding is not finite: leave the row out, or embed its image again"
      )
    return row_rd


def _keys(score_p: np.ndarray) -> np.ndarray:
  """[P] uint64 in the order of the scores: the bits of a negative number fall as it rises."""
  bits_p = np.ascontiguousarray(score_p, np.float64).view(np.uint64)
  return np.where(bits_p & _SIGN, ~bits_p, bits_p | _SIGN)


def _score_of(key: int) -> float:
  """The score of a key."""
  bits = np.uint64(key)
  return float((bits ^ _SIGN if bits & _SIGN else ~bits).view(np.float64))


def _begins(key_p: np.ndarray, prefix: int, bits: int) -> np.ndarray:
  """The keys whose first bits are those of `prefix`."""
  return key_p[key_p >> np.uint64(64 - bits) == np.uint64(prefix)] if bits else key_p


__all__ = ["ScoredPasses"]
