"""A range of scores in which an order statistic lies, counted and, as soon as they are few, collected."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Scores are in [-1, 1].
BOTTOM, TOP = -1.0, float(np.nextafter(1.0, 2.0))
BINS = 4096
# Distinct scores that are kept: 64 MB with their counts.
CAPACITY = 2**22


class Found(NamedTuple):
  """An order statistic.

  Attributes:
    score: its value.
    above: number of greater scores.
    next_above: the least greater score; None if there is none, or if it lies outside the range.
  """

  score: float
  above: int
  next_above: float | None


class ScoreBand:
  """Scores in [low, high): a histogram, and the distinct ones with their counts while they are at most `capacity`.

  Attributes:
    low, high: the range.
    above: number of scores of at least `high`.
    error: if positive, scores are added that are wrong by up to this much; then only the histogram is kept, which narrows the
      range, and nothing is found.
  """

  def __init__(self, low: float, high: float, capacity: int = CAPACITY, *, error: float = 0.0):
    self.low, self.high, self.error = low, high, error
    self.above = 0
    self._capacity = capacity
    self._edges = np.linspace(low, high, BINS + 1)
    self._count_b = np.zeros(BINS, np.int64)
    self._value: np.ndarray | None = None if error else np.zeros(0)
    self._times = np.zeros(0, np.int64)
    self._waiting: list[np.ndarray] = []
    self._waits = 0

  def add(self, score_p: np.ndarray) -> None:
    """Counts scores, of which some may be outside the range."""
    self.above += int(np.count_nonzero(score_p >= self.high))
    inside_p = score_p[(score_p >= self.low) & (score_p < self.high)]
    if not inside_p.size:
      return
    # Searched rather than computed: a bin has exactly the scores between its edges.
    bin_p = np.searchsorted(self._edges, inside_p, side="right") - 1
    self._count_b += np.bincount(np.minimum(bin_p, BINS - 1), minlength=BINS)
    if self._value is not None:
      self._waiting.append(inside_p)
      self._waits += inside_p.size
      if self._waits > self._capacity:
        self._merge()

  def _merge(self) -> None:
    if self._value is None or not self._waiting:
      return
    value, inverse = np.unique(np.concatenate([self._value, *self._waiting]), return_inverse=True)
    times = np.zeros(len(value), np.int64)
    np.add.at(times, inverse[: len(self._value)], self._times)
    times += np.bincount(inverse[len(self._value) :], minlength=len(value))
    self._value, self._times, self._waiting, self._waits = value, times, [], 0
    if len(value) > self._capacity:
      self._value, self._times = None, np.zeros(0, np.int64)

  def parts(self) -> list[np.ndarray]:
    """What was counted and kept, for `join`; without kept scores where there were too many."""
    self._merge()
    kept = self._value is not None
    return [np.array([self.above, kept], np.int64), self._count_b, self._value if self._value is not None else np.zeros(0), self._times]

  def join(self, others: Sequence[Sequence[np.ndarray]]) -> None:
    """Takes the sum of the `parts` of several bands of one range in place of what it has.

    Args:
      others: parts of each; those of this band are among them.
    """
    self._merge()
    self.above = int(sum(part[0][0] for part in others))
    self._count_b = np.sum([part[1] for part in others], axis=0)
    if self.error or not all(part[0][1] for part in others):
      self._value, self._times = None, np.zeros(0, np.int64)
      return
    value, inverse = np.unique(np.concatenate([part[2] for part in others]), return_inverse=True)
    times = np.zeros(len(value), np.int64)
    np.add.at(times, inverse, np.concatenate([part[3] for part in others]))
    self._value, self._times = (value, times) if len(value) <= self._capacity else (None, np.zeros(0, np.int64))

  def find(self, position: int) -> "Found | tuple[float, float]":
    """The score with `position` places before it in falling order, or a narrower range (low, high) that has it."""
    self._merge()
    inside = position - self.above
    if inside < 0:
      return max(self.high - self.error, BOTTOM), TOP
    if inside >= self._count_b.sum():
      return BOTTOM, min(self.low + self.error, TOP)
    if self._value is None:
      before_b = np.cumsum(self._count_b[::-1])[::-1] - self._count_b
      here = int(np.flatnonzero((before_b <= inside) & (inside < before_b + self._count_b))[0])
      # An order statistic of scores that are wrong by up to `error` is wrong by no more.
      low, high = float(self._edges[here]) - self.error, float(self._edges[here + 1]) + self.error
      return max(low, BOTTOM), min(high, TOP)
    before_v = np.cumsum(self._times[::-1])[::-1] - self._times
    here = int(np.flatnonzero((before_v <= inside) & (inside < before_v + self._times))[0])
    greater = float(self._value[here + 1]) if here + 1 < len(self._value) else None
    return Found(float(self._value[here]), self.above + int(before_v[here]), greater)


__all__ = ["BOTTOM", "CAPACITY", "TOP", "Found", "ScoreBand"]
