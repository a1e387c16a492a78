"""Passes over the scores of all pairs of a set, tile by tile: counts above thresholds, scores between them, and mated scores."""

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
  """

  above: list[int]
  inside: list[np.ndarray]
  mated: np.ndarray


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

  def passed(self, low_t: np.ndarray, high_t: np.ndarray, *, progress: bool = False) -> Passed:
    """One pass over all tiles.

    Args:
      low_t: [T] float32, low ends of brackets.
      high_t: [T] float32, high ends; scores inside are at least low and less than high.
      progress: draw a progress bar.
    """
    # Padded, so that passes with other numbers of brackets use one program.
    brackets, size = len(low_t), _PACKED
    while size < brackets:
      size *= 2
    low_t, high_t = (np.pad(end_t, (0, size - brackets), constant_values=np.inf) for end_t in (low_t, high_t))
    above, inside, mated = [0] * len(low_t), [[] for _ in low_t], []  # type: ignore[var-annotated]
    work = tqdm(self._run(low_t, high_t), total=self.panels * (self.panels + 1) // 2, desc="pairs", unit="tile", disable=not progress)
    for above_t, groups, own in work:
      for at, (low, high) in enumerate(zip(low_t, high_t)):
        above[at] += int(above_t[at])
        inside[at].append(groups[(groups >= low) & (groups < high)])
      mated.append(own)
    return Passed(above[:brackets], [np.sort(np.concatenate(parts)) for parts in inside[:brackets]], np.sort(np.concatenate(mated)))

  def _run(self, low_t: np.ndarray, high_t: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Counts, scores of groups that have some inside, and mated scores, of each tile; a few tiles are computed ahead."""
    ahead: deque[tuple[Any, Any]] = deque()
    for tile in self._tiles():
      ahead.append((tile, _tile(self.capacity, *tile, low_t, high_t)))
      if len(ahead) > 2 * len(self.devices):
        yield self._taken(*ahead.popleft(), low_t, high_t)
    while ahead:
      yield self._taken(*ahead.popleft(), low_t, high_t)

  def _tiles(self) -> Iterator[tuple[bool, Array, Array, np.ndarray, np.ndarray, int]]:
    number = 0
    for row in range(self.panels):
      rows = self.panel(row)
      on_device: dict[Any, Array] = {}
      for column in range(row, self.panels):
        device = self.devices[number % len(self.devices)]
        number += 1
        if device not in on_device:
          on_device[device] = jax.device_put(rows, device)
        row_id, column_id = (self.padded_n[at * TILE : (at + 1) * TILE] for at in (row, column))
        # Mated pairs and padding: only where identities overlap, and in the last column.
        masked = bool(row_id[-1] >= column_id[0]) or column == self.panels - 1
        yield masked, on_device[device], jax.device_put(self.panel(column), device), row_id, column_id, (column - row) * TILE

  def _taken(self, tile: Any, result: Any, low_t: np.ndarray, high_t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    above_t, count, groups, score = result
    if int(count) > len(groups):  # later tiles are likely to have as many
      self.capacity = max(self.capacity, 2 << int(count).bit_length())
      above_t, count, groups, score = _tile(self.capacity, *tile, low_t, high_t)
    masked, _, _, row_id, column_id, offset = tile
    own = np.zeros(0, np.float32)
    if masked:
      pair = (row_id[:, None] == column_id) & (np.arange(TILE)[:, None] < np.arange(TILE) + offset) & (row_id >= 0)[:, None]
      own = np.asarray(score)[pair]
    return np.asarray(above_t), np.asarray(groups)[: int(count)].ravel(), own


@partial(jax.jit, static_argnums=(0, 1))
def _tile(
  capacity: int, masked: bool, row_td: Array, column_td: Array, row_id: Array, column_id: Array, offset: Array | int, low_t: Array,
  high_t: Array,
) -> tuple[Array, Array, Array, Array | None]:
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
  return above_t, flag.sum(), groups[index // _GROUPS, :, index % _GROUPS], score if masked else None


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
