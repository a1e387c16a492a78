"""Passes over all pairs of embeddings: order statistics of non-mated scores, counts of mated ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.streaming.host_exchange import exchange, fail_together
from jaxface.evaluation.streaming.score_band import BOTTOM, TOP, Found, ScoreBand
from jaxface.evaluation.streaming.score_blocks import (
  ABSENT,
  Block,
  Layout,
  Rows,
  exact_scores,
  hits,
  padded,
  products,
  read_block,
  score_error,
)

# Rows of a sample from which the first ranges of scores are guessed, and consecutive rows in it.
_SAMPLE, _RUN = 2048, 8
# A range is crowded with this share of all pairs, unless they are few.
_CROWD, _FEW = 5e-3, 1e5
_LAST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class PairPasses:
  """All pairs of one set (i < j), or of probes and a gallery, visited block by block.

  With `hosts` every process of the run visits a share of the non-mated pairs, and all get what all found.
  """

  left: Rows
  left_label: np.ndarray
  right: Rows
  right_label: np.ndarray
  one_set: bool
  layout: Layout
  hosts: bool = False

  @classmethod
  def of(
    cls, left: Rows, left_label: np.ndarray, right: Rows | None, right_label: np.ndarray | None, layout: Layout, hosts: bool = False
  ) -> "PairPasses":
    if (right is None) != (right_label is None):
      raise ValueError("a gallery needs embeddings and labels: give gallery_md and gallery_label_m, or neither")
    sides = [(left, np.asarray(left_label), "embeddings")]
    if right is not None and right_label is not None:
      sides.append((right, np.asarray(right_label), "gallery"))
    for rows, label, name in sides:
      if len(rows.shape) != 2 or label.shape != rows.shape[:1]:
        raise ValueError(f"{name} {rows.shape} with labels {label.shape}: they must be [N, D] with N labels")
      if rows.shape[0] >= _LAST:
        raise ValueError(f"{name} {rows.shape}: at most {_LAST - 1} rows")
    if sides[0][0].shape[1] != sides[-1][0].shape[1]:
      raise ValueError(f"embeddings {left.shape} and gallery {sides[-1][0].shape}: both must have the same D, made by one network")
    _, number = np.unique(np.concatenate([label for _, label, _ in sides]), return_inverse=True)
    number = number.astype(np.int32)
    count = left.shape[0]
    if right is None:
      return cls(left, number, left, number, True, layout, hosts)
    return cls(left, number[:count], right, number[count:], False, layout, hosts)

  @property
  def share(self) -> tuple[int, int]:
    """Number of this process and of all that share the pairs."""
    return (jax.process_index(), jax.process_count()) if self.hosts else (0, 1)

  def shared(self, columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Columns that `each_above` gave here, with those of the other processes below them; a collective call."""
    if self.share[1] == 1:
      return list(columns)
    return [np.concatenate(parts) for parts in zip(*exchange(columns))]

  def counts(self) -> tuple[int, int]:
    """Number of mated and of non-mated pairs."""
    classes = 1 + max(self.left_label.max(initial=-1), self.right_label.max(initial=-1))
    left_c, right_c = (np.bincount(label, minlength=classes) for label in (self.left_label, self.right_label))
    left, right = len(self.left_label), len(self.right_label)
    if self.one_set:
      mated = int((left_c * (left_c - 1) // 2).sum())
      return mated, left * (left - 1) // 2 - mated
    mated = int((left_c * right_c).sum())
    return mated, left * right - mated

  def order_statistics(self, positions: set[int], nonmated: int) -> dict[int, Found]:
    """Non-mated scores by position in falling order, from 0, with passes over all pairs until every one is found."""
    ranges = self._guess(positions, nonmated)
    found: dict[int, Found] = {}
    while ranges:
      bands = {position: ScoreBand(low, high, error=error) for position, (low, high, error) in ranges.items()}
      self.scan(list(bands.values()))
      ranges = {}
      for position, band in bands.items():
        answer = band.find(position)
        if isinstance(answer, Found):
          found[position] = answer
        else:
          ranges[position] = (*answer, 0.0)
    return found

  def _guess(self, positions: set[int], nonmated: int) -> dict[int, tuple[float, float, float]]:
    """Ranges that probably contain the scores at these positions, from a sample of rows.

    Returns:
      (low, high, error) by position. The error is positive if the range has so many pairs that a pass which only counts their
      products, to narrow it, takes less time than scoring them again.
    """
    left, right = (self._sample(rows, label) for rows, label in ((self.left, self.left_label), (self.right, self.right_label)))
    product_p = (left[0] @ right[0].T)[left[1][:, None] != right[1][None, :]]
    falling = -np.sort(-product_p)
    ranges = {}
    for position in positions:
      middle = position / nonmated * falling.size
      # Products share rows: their number above a score varies by a share of it, beyond the binomial.
      spread = 4 * np.sqrt(middle) + 0.15 * middle + 8
      above, below = int(middle - spread), int(np.ceil(middle + spread))
      error = score_error(self.left.shape[1])
      high = float(falling[above]) + 2 * error if middle >= spread and falling.size else TOP
      low = float(falling[below]) - 2 * error if below < falling.size else BOTTOM
      crowd = (below - above) / max(falling.size, 1) * nonmated
      ranges[position] = (max(low, BOTTOM), min(high, TOP), error if crowd > max(_CROWD * nonmated, _FEW) else 0.0)
    return ranges

  def _sample(self, embedding: Rows, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = len(label)
    starts = range(0, count, max(_RUN, count * _RUN // _SAMPLE))
    blocks = [read_block(embedding, start, min(start + _RUN, count)) for start in starts]
    unit = [block.unit(len(block.wide_rd)) for block in blocks]
    return np.concatenate(unit), np.concatenate([label[start : start + _RUN] for start in starts])

  def scan(self, bands: Sequence[ScoreBand]) -> None:
    """Adds the scores of all non-mated pairs to the ranges."""
    error = score_error(self.left.shape[1])
    floor = min((band.low for band in bands), default=TOP) - error
    self._visit(floor, lambda *found: _count(bands, error, *found))
    if self.share[1] > 1:
      for band in bands:
        band.join(exchange(band.parts()))

  def each_above(self, floor: float, receive: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> None:
    """Gives `receive` the score [P], and both identities' numbers [P], of the non-mated pairs with a score of at least `floor`.

    Of several processes each gets those of its share, see `shared`.
    """

    def score(left: Block, right: Block, left_p: np.ndarray, right_p: np.ndarray, _: np.ndarray) -> None:
      score_p = exact_scores(left, right, left_p, right_p)
      kept = score_p >= floor
      receive(score_p[kept], self.left_label[left.start + left_p[kept]], self.right_label[right.start + right_p[kept]])

    self._visit(floor - score_error(self.left.shape[1]), score)

  def _visit(self, floor: float, receive: "Callable[[Block, Block, np.ndarray, np.ndarray, np.ndarray], None]") -> None:
    """Gives `receive` the blocks, rows and products of this process's non-mated pairs whose product is at least `floor`."""
    if self.share[1] == 1:
      self._visit_share(floor, receive)
      return
    failure: ValueError | None = None
    try:
      self._visit_share(floor, receive)
    except ValueError as error:  # a row that only this process read: the others would wait for it
      failure = error
    fail_together(failure)

  def _visit_share(self, floor: float, receive: "Callable[[Block, Block, np.ndarray, np.ndarray, np.ndarray], None]") -> None:
    waiting: Callable[[], None] | None = None
    for left, right, product_rr in self._products():
      # The host looks at one block while the device multiplies the next.
      if waiting is not None:
        waiting()

      def waiting(left: Block = left, right: Block = right, product_rr: jax.Array = product_rr) -> None:
        for left_p, right_p, product_p in hits(product_rr, floor):
          receive(left, right, left_p, right_p, product_p)

    if waiting is not None:
      waiting()

  def _products(self) -> Iterator[tuple[Block, Block, jax.Array]]:
    layout = self.layout
    index, count = self.share
    for starts in layout.groups(len(self.left_label)):
      group = []
      for start in starts:
        block = self._block(self.left, start)
        group.append((block, self._place(block, self.left_label, split=False)))
      for start in layout.starts(len(self.right_label)):
        if (self.one_set and start < starts[0]) or start // layout.rows % count != index:
          continue
        right = self._block(self.right, start)
        placed = self._place(right, self.right_label, split=True)
        for left, others in group:
          if not self.one_set or left.start <= start:
            yield left, right, _nonmated(*others, *placed)

  def _block(self, embedding: Rows, start: int) -> Block:
    return read_block(embedding, start, min(start + self.layout.rows, embedding.shape[0]))

  def _place(self, block: Block, label: np.ndarray, *, split: bool) -> list[jax.Array]:
    """Unit embeddings, labels and places on the devices. A pair counts where the left place is less than the right one."""
    count, rows = len(block.wide_rd), self.layout.rows
    place_r = np.arange(block.start, block.start + count, dtype=np.int32)
    if not self.one_set:
      place_r = np.full(count, 0 if split else -1, np.int32)
    here = label[block.start : block.start + count]
    return self.layout.place(
      block.unit(rows), padded(here, rows, -1), padded(place_r, rows, -2 if split else _LAST), split=split
    )

  def mated_above(self, score_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mated pairs with a score above each given one: their number [T] int64, and their least score [T], infinite without."""
    return counted_above(self.mated_scores(), score_t)

  def mated_scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores [P] of some mated pairs at a time, and the number of the identity [P] of each."""
    rows = self.layout.rows
    for starts in self.layout.groups(len(self.left_label)):
      group: dict[int, Block] = {}
      for right_start in self.layout.starts(len(self.right_label)):
        right = None
        for start in starts:
          if self.one_set and right_start < start:
            continue
          here = self.left_label[start : start + rows], self.right_label[right_start : right_start + rows]
          for left_p, right_p in _same_label(*here):
            if self.one_set and start == right_start:
              left_p, right_p = left_p[left_p < right_p], right_p[left_p < right_p]
            if left_p.size:
              right = right or self._block(self.right, right_start)
              group[start] = group[start] if start in group else self._block(self.left, start)
              yield exact_scores(group[start], right, left_p, right_p), here[0][left_p]


@jax.jit
def _nonmated(
  left_rd: jax.Array, left_label_r: jax.Array, left_place_r: jax.Array,
  right_rd: jax.Array, right_label_r: jax.Array, right_place_r: jax.Array,
) -> jax.Array:
  """Products of the non-mated pairs of two blocks, `ABSENT` elsewhere."""
  other_rr = left_label_r[:, None] != right_label_r[None, :]
  counts_rr = left_place_r[:, None] < right_place_r[None, :]
  return jnp.where(other_rr & counts_rr, products(left_rd, right_rd), ABSENT)


def _count(
  bands: Sequence[ScoreBand], error: float, left: Block, right: Block, left_p: np.ndarray, right_p: np.ndarray,
  product_p: np.ndarray,
) -> None:
  """Adds pairs to the ranges; scores those again that are in one, or as near to it as the product may be wrong."""
  product_p = product_p.astype(np.float64)
  for band in bands:
    if band.error:
      band.add(product_p)
  exact = [band for band in bands if not band.error]
  near_kp = [(product_p >= band.low - error) & (product_p < band.high + error) for band in exact]
  for band in exact:
    band.above += int(np.count_nonzero(product_p >= band.high + error))
  again_q = np.flatnonzero(np.logical_or.reduce(near_kp)) if exact else np.zeros(0, np.int64)
  if again_q.size:
    score_q = exact_scores(left, right, left_p[again_q], right_p[again_q])
    for band, near_p in zip(exact, near_kp):
      band.add(score_q[near_p[again_q]])


def _same_label(left_label_r: np.ndarray, right_label_r: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Pairs of rows with equal labels: for every row on the left its first partner, then its second, and so on."""
  order_r = np.argsort(right_label_r, kind="stable")
  sorted_r = right_label_r[order_r]
  start_r, stop_r = (np.searchsorted(sorted_r, left_label_r, side) for side in ("left", "right"))
  left_p = np.flatnonzero(start_r < stop_r)
  step = 0
  while left_p.size:
    yield left_p, order_r[start_r[left_p] + step]
    step += 1
    left_p = left_p[start_r[left_p] + step < stop_r[left_p]]


def counted_above(scores: Iterable[tuple[np.ndarray, np.ndarray]], score_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Scores above each given one: their number [T] int64, and the least of them [T], infinite without.

  Args:
    scores: pairs of an array of scores [P] and another array.
    score_t: [T].
  """
  above_t, least_t = np.zeros(len(score_t), np.int64), np.full(len(score_t), np.inf)
  for score_p, _ in scores:
    for place, score in enumerate(score_t):
      accepted_p = score_p[score_p > score]
      above_t[place] += accepted_p.size
      least_t[place] = min(least_t[place], accepted_p.min(initial=np.inf))
  return above_t, least_t


__all__ = ["PairPasses", "counted_above"]
