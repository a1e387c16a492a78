"""Passes over the scores of all pairs of a set, tile by tile: counts above thresholds, scores between them, and mated scores."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from tqdm import tqdm

# Rows and columns of a tile, and scores of a group, which are reduced together.
TILE, GROUP = 2_048, 32
_GROUPS = TILE // GROUP  # of a row
# Counts in one int32, of six bits each: a group has at most 32 scores.
_PACKED, _BITS = 5, 6
# Groups that a tile returns at least, and the panels kept in memory.
_CAPACITY, _KEPT = 1_024, 64


class Passed(NamedTuple):
  """Results of a pass.

  Attributes:
    above: for each bracket, number of non-mated scores at or above its high end.
    inside: for each bracket, its non-mated scores, ascending.
    mated: all mated scores, ascending.
    pair: for each bracket, [.., 2] int64 rows of the embeddings of the scores inside; None if they were not asked for.
    mated_row: a row of each mated pair.
  """

  above: list[int]
  inside: list[np.ndarray]
  mated: np.ndarray
  pair: list[np.ndarray] | None
  mated_row: np.ndarray


class Tiles:
  """All pairs of a set, in tiles of one shape.

  Args:
    embedding_nd: [N, D] float, in memory or mapped from a file.
    order: [N] int, its rows by identity.
    identity_n: [N] int, the identities in that order.
    devices: that share the tiles.
  """

  def __init__(self, embedding_nd: np.ndarray, order: np.ndarray, identity_n: np.ndarray, devices: Sequence[jax.Device]):
    self.embedding_nd, self.order, self.devices = embedding_nd, order, devices
    self.panels = -(-len(order) // TILE)
    padding = self.panels * TILE - len(order)
    self.identity_n = np.unique(identity_n, return_inverse=True)[1].astype(np.int32)
    self.panel = lru_cache(_KEPT)(self._panel)
    self.capacity = _CAPACITY
    self.padded_n = np.append(self.identity_n, np.full(padding, -1, np.int32))

  def _panel(self, index: int) -> np.ndarray:
    """[TILE, D] float32 rows of a panel, zeros behind the last.

    Raises:
      ValueError: an embedding that is not finite.
    """
    rows = self.order[index * TILE : (index + 1) * TILE]
    part = np.asarray(self.embedding_nd[np.sort(rows)], np.float32)[np.argsort(np.argsort(rows))]
    bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
    if bad.size:
      raise ValueError(f"embedding {rows[bad[0]]} is not finite: it has no scores")
    return np.pad(part, ((0, TILE - len(part)), (0, 0)))

  def sample(self, count: int, seed: int) -> np.ndarray:
    """Scores of random non-mated pairs, ascending; about `count` of them."""
    random, total = np.random.default_rng(seed), len(self.order)
    left, right = random.integers(0, total, (2, count))
    apart = self.identity_n[left] != self.identity_n[right]
    left, right = self.order[left[apart]], self.order[right[apart]]
    score = np.empty(len(left), np.float32)
    for start in range(0, len(left), TILE * 8):
      here = slice(start, start + TILE * 8)
      score[here] = np.einsum("nd,nd->n", *(np.asarray(self.embedding_nd[side[here]], np.float32) for side in (left, right)))
    return np.sort(score)

  def passed(self, low_t: np.ndarray, high_t: np.ndarray, *, pairs: bool = False, progress: bool = False) -> Passed:
    """One pass over all tiles.

    Args:
      low_t: [T] float32, low ends of brackets.
      high_t: [T] float32, high ends; scores inside are at least low and less than high.
      pairs: also give the pairs of the scores inside.
      progress: draw a progress bar.
    """
    # Padded, so that passes with other numbers of brackets use one program.
    brackets, size = len(low_t), _PACKED
    while size < brackets:
      size *= 2
    low_t, high_t = (np.pad(end_t, (0, size - brackets), constant_values=np.inf) for end_t in (low_t, high_t))
    above: list[int] = [0] * brackets
    inside: list[list[np.ndarray]] = [[] for _ in above]
    pair: list[list[np.ndarray]] = [[] for _ in above]
    mated, mated_row = [], []
    total = self.panels * (self.panels + 1) // 2
    for tile, own in tqdm(self._run(low_t, high_t), total=total, desc="pairs", unit="tile", disable=not progress):
      for at in range(brackets):
        above[at] += int(tile.above_t[at])
        where = np.nonzero((tile.groups >= low_t[at]) & (tile.groups < high_t[at]))
        inside[at].append(tile.groups[where])
        if pairs:
          pair[at].append(self._pairs(tile, *where))
      mated.append(own[0])
      mated_row.append(own[1])
    joined = [np.concatenate(parts) for parts in inside]
    order = [np.argsort(score, kind="stable") for score in joined]
    own_order = np.argsort(score := np.concatenate(mated), kind="stable")
    return Passed(
      above, [score[by] for score, by in zip(joined, order)], score[own_order],
      [np.concatenate(parts)[by] for parts, by in zip(pair, order)] if pairs else None, np.concatenate(mated_row)[own_order],
    )

  def _pairs(self, tile: "_Tile", group: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows of the embeddings of some scores of a tile's groups."""
    at = tile.group_g[group]
    row, column = tile.row * TILE + at // _GROUPS, tile.column * TILE + at % _GROUPS + _GROUPS * place
    return np.stack([self.order[row], self.order[column]], axis=1)

  def _run(self, low_t: np.ndarray, high_t: np.ndarray) -> Iterator[tuple["_Tile", tuple[np.ndarray, np.ndarray]]]:
    """Each tile, and its mated scores with a row of each; a few tiles are computed ahead."""
    ahead: deque[tuple[Any, Any, Any]] = deque()
    for place in self._places():
      given = self._given(*place)
      ahead.append((place, given, _tile(self.capacity, *given, low_t, high_t)))
      if len(ahead) > 2 * len(self.devices):
        yield self._taken(*ahead.popleft(), low_t, high_t)
    while ahead:
      yield self._taken(*ahead.popleft(), low_t, high_t)

  def _places(self) -> Iterator[tuple[int, int, jax.Device]]:
    number = itertools.count()
    for row in range(self.panels):
      for column in range(row, self.panels):
        yield row, column, self.devices[next(number) % len(self.devices)]

  def _given(self, row: int, column: int, device: jax.Device) -> tuple[bool, Array, Array, np.ndarray, np.ndarray, int]:
    row_id, column_id = (self.padded_n[at * TILE : (at + 1) * TILE] for at in (row, column))
    # Mated pairs and padding: only where identities overlap, and in the last column.
    masked = bool(row_id[-1] >= column_id[0]) or column == self.panels - 1
    rows, columns = (jax.device_put(self.panel(at), device) for at in (row, column))
    return masked, rows, columns, row_id, column_id, (column - row) * TILE

  def _taken(
    self, place: tuple[int, int, jax.Device], given: Any, result: Any, low_t: np.ndarray, high_t: np.ndarray
  ) -> tuple["_Tile", tuple[np.ndarray, np.ndarray]]:
    count = int(result[1])
    if count > len(result[2]):  # later tiles are likely to have as many
      self.capacity = max(self.capacity, 2 << count.bit_length())
      result = _tile(self.capacity, *given, low_t, high_t)
    above_t, _, groups, index, score = result
    masked, _, _, row_id, column_id, offset = given
    own = np.zeros(0, np.float32), np.zeros(0, np.int64)
    if masked:
      pair = (row_id[:, None] == column_id) & (np.arange(TILE)[:, None] < np.arange(TILE) + offset) & (row_id >= 0)[:, None]
      own = np.asarray(score)[pair], self.order[place[0] * TILE + np.nonzero(pair)[0]]
    return _Tile(place[0], place[1], np.asarray(above_t), np.asarray(groups)[:count], np.asarray(index)[:count]), own


class _Tile(NamedTuple):
  """Results of a tile: its place, counts above each bracket, and the groups with some scores inside."""

  row: int
  column: int
  above_t: np.ndarray
  groups: np.ndarray
  group_g: np.ndarray


@partial(jax.jit, static_argnums=(0, 1))
def _tile(
  capacity: int, masked: bool, row_td: Array, column_td: Array, row_id: Array, column_id: Array, offset: Array | int, low_t: Array,
  high_t: Array,
) -> tuple[Array, Array, Array, Array, Array | None]:
  """Counts at or above the high ends, and the groups with scores inside a bracket, of one tile.

  The count of groups may exceed the capacity: the rest is not returned then.
  """
  score = jnp.matmul(row_td, column_td.T, precision=lax.Precision.HIGHEST)
  shown = score
  if masked:
    place = jnp.arange(TILE)
    keep = (row_id[:, None] != column_id) & (place[:, None] < place + offset)
    shown = jnp.where(keep & (row_id >= 0)[:, None] & (column_id >= 0), score, -jnp.inf)
  # Groups along the second axis: reductions over an inner axis are not vectorised.
  groups = shown.reshape(TILE, GROUP, _GROUPS)
  low_p, high_p = _counts(groups, low_t), _counts(groups, high_t)
  flag = jnp.stack([low != high for low, high in zip(low_p, high_p)]).any(axis=0).ravel()
  above_t = jnp.stack([
    ((high_p[at // _PACKED] >> (_BITS * (at % _PACKED))) & ((1 << _BITS) - 1)).sum(dtype=jnp.int32) for at in range(len(high_t))
  ])
  index = jnp.nonzero(flag, size=min(capacity, len(flag)), fill_value=0)[0]
  return above_t, flag.sum(), groups[index // _GROUPS, :, index % _GROUPS], index, score if masked else None


def _counts(groups: Array, least_t: Array) -> list[Array]:
  """[TILE, _GROUPS] numbers of scores at or above each threshold, several in one integer."""
  return [
    sum(
      (jnp.where(groups >= least_t[at], jnp.int32(1 << (_BITS * (at - first))), 0) for at in range(first, min(first + _PACKED, len(least_t)))),
      jnp.zeros((), jnp.int32),
    ).sum(axis=1, dtype=jnp.int32)
    for first in range(0, len(least_t), _PACKED)
  ]


__all__ = ["GROUP", "TILE", "Passed", "Tiles"]
