"""The exact nearest embeddings of a gallery, which is read block by block.

  found = nearest_embeddings(probe_qd, gallery_md, 20)     # found.row [Q, 20], found.score [Q, 20]
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


class Nearest(NamedTuple):
  """The nearest embeddings of every probe, nearest first.

  Attributes:
    row: [Q, k] int64, rows of the gallery.
    score: [Q, k] float64, cosines.
  """

  row: np.ndarray
  score: np.ndarray


def nearest_embeddings(
  probe_qd: Rows,
  gallery_md: Rows,
  count: int,
  *,
  devices: Sequence[jax.Device] | None = None,
  rows: int | None = None,
) -> Nearest:
  """The `count` embeddings of a gallery with the highest cosine, for every probe.

  Scores are float64 cosines; of equal ones the lower row of the gallery comes first. The result depends neither on blocks
  nor on devices. Memory is that of a few blocks and of the result. Each block of the gallery is read once for each
  8 · `rows` probes.

  Args:
    probe_qd: [Q, D] float, not necessarily normalised: an array, a memory map, `EmbeddingRows`.
    gallery_md: [M, D], likewise.
    count: k, at most M.
    devices: devices over which the gallery's rows in each block are split; default: all of this process.
    rows: rows of a block, which determine memory and speed, not the result; default 2,048.
  Returns:
    `Nearest`.
  Raises:
    ValueError: shapes that do not fit, k outside 1 to M, or an embedding that is zero or not finite.
  """
  layout = Layout.of(devices, rows)
  if len(probe_qd.shape) != 2 or len(gallery_md.shape) != 2 or probe_qd.shape[1] != gallery_md.shape[1]:
    raise ValueError(f"probes {probe_qd.shape} and gallery {gallery_md.shape}: they must be [Q, D] and [M, D], made by one network")
  if not 1 <= count <= gallery_md.shape[0]:
    raise ValueError(f"the {count} nearest of {gallery_md.shape[0]} embeddings: from 1 to all of them")
  parts = list(_groups(probe_qd, gallery_md, count, layout))
  empty = Nearest(np.zeros((0, count), np.int64), np.zeros((0, count)))
  return Nearest(*(np.concatenate(part) for part in zip(empty, *parts)))


class _Best:
  """The best of the rows so far, for the probes of one block."""

  def __init__(self, probe: Block, count: int, layout: Layout, rows: int):
    self._probe, self._count = probe, count
    self._error = score_error(probe.wide_rd.shape[1])
    probes = len(probe.wide_rd)
    self.row_qk = np.full((probes, count), np.iinfo(np.int64).max)
    self.score_qk = np.full((probes, count), -np.inf)
    self._layout, self._rows = layout, rows
    self._unit_rd = layout.place(probe.unit(rows), split=False)

  def products(self, unit_rd: jax.Array, valid_r: jax.Array) -> jax.Array:
    """Products of the probes with a block, `ABSENT` where a row cannot be one of the nearest any more."""
    # Rounded down in float32.
    floor_q = np.nextafter((self.score_qk[:, -1] - self._error).astype(np.float32), np.float32(-np.inf))
    floor_q = padded(np.maximum(floor_q, np.float32(ABSENT)), self._rows, np.float32(-ABSENT))
    return _reaching(*self._unit_rd, *self._layout.place(floor_q, split=False), unit_rd, valid_r)

  def add(self, block: Block, product_rr: jax.Array) -> None:
    """Takes the rows of a block that are among the best."""
    for probe_p, row_p, product_p in hits(product_rr, ABSENT / 2 - 0.5):
      if product_p.size > 4 * self._count * len(self.score_qk):
        keep_p = self._reach(probe_p, product_p)
        probe_p, row_p = probe_p[keep_p], row_p[keep_p]
      score_p = exact_scores(self._probe, block, probe_p, row_p)
      chosen_p = score_p >= self.score_qk[probe_p, -1]
      self._merge(probe_p[chosen_p], block.start + row_p[chosen_p], score_p[chosen_p])

  def _reach(self, probe_p: np.ndarray, product_p: np.ndarray) -> np.ndarray:
    """Which of many products may belong to the best: those that reach the k-th best product of the same probe."""
    start_q = np.searchsorted(probe_p, np.arange(len(self.score_qk) + 1))
    keep_p = np.ones(len(product_p), bool)
    for first, last in itertools.pairwise(start_q):
      if last - first > self._count:
        here_p = product_p[first:last]
        least = np.partition(here_p, here_p.size - self._count)[here_p.size - self._count]
        keep_p[first:last] = here_p >= np.float64(least) - 2 * self._error
    return keep_p

  def _merge(self, probe_p: np.ndarray, row_p: np.ndarray, score_p: np.ndarray) -> None:
    touched = np.unique(probe_p)
    if not touched.size:
      return
    probe_p = np.concatenate([probe_p, np.repeat(touched, self._count)])
    row_p = np.concatenate([row_p, self.row_qk[touched].ravel()])
    score_p = np.concatenate([score_p, self.score_qk[touched].ravel()])
    order_p = np.lexsort((row_p, -score_p, probe_p))
    first_q = np.searchsorted(probe_p[order_p], touched)
    best_qk = order_p[first_q[:, None] + np.arange(self._count)]
    self.row_qk[touched], self.score_qk[touched] = row_p[best_qk], score_p[best_qk]


def _groups(probe_qd: Rows, gallery_md: Rows, count: int, layout: Layout) -> Iterator[Nearest]:
  probes, gallery = probe_qd.shape[0], gallery_md.shape[0]
  rows = min(layout.rows, probes)
  for group in layout.groups(probes):
    blocks = [read_block(probe_qd, start, min(start + layout.rows, probes)) for start in group]
    best = [_Best(block, count, layout, rows) for block in blocks]
    waiting: list[tuple[_Best, Block, jax.Array]] = []
    for start in layout.starts(gallery):
      block = read_block(gallery_md, start, min(start + layout.rows, gallery))
      valid_r = padded(np.ones(len(block.wide_rd), bool), layout.rows, False)
      placed = layout.place(block.unit(layout.rows), valid_r, split=True)
      for each in best:
        product_rr = each.products(*placed)
        # The host merges one block while the device multiplies the next.
        while waiting:
          other, before, done_rr = waiting.pop()
          other.add(before, done_rr)
        waiting.append((each, block, product_rr))
    for other, before, done_rr in waiting:
      other.add(before, done_rr)
    for each in best:
      yield Nearest(each.row_qk, each.score_qk)


@jax.jit
def _reaching(probe_rd: jax.Array, floor_r: jax.Array, gallery_rd: jax.Array, valid_r: jax.Array) -> jax.Array:
  product_rr = products(probe_rd, gallery_rd)
  return jnp.where((product_rr >= floor_r[:, None]) & valid_r[None, :], product_rr, ABSENT)


__all__ = ["Nearest", "nearest_embeddings"]
