"""Approximate search with FAISS (the extra `search`), and how much of the exact answer a search finds."""

from types import ModuleType

import numpy as np

from jaxface.evaluation.streaming.nearest import Nearest
from jaxface.evaluation.streaming.score_blocks import ROWS, Rows, exact_scores, read_block


class ApproximateIndex:
  """A graph of a gallery's embeddings (HNSW of FAISS), which finds most of the nearest ones without multiplying all.

    index = ApproximateIndex(gallery_md)
    found = index.nearest(probe_qd, 20)
    recall(found, nearest_embeddings(probe_qd[:1000], gallery_md, 20))     # measure it on a sample of probes

  The index is in memory, with a float32 copy of the gallery.

  Args:
    gallery_md: [M, D] float, not necessarily normalised: an array, a memory map, `EmbeddingRows`.
    neighbours: edges of each embedding; more give more recall, and take more memory and time.
    effort: candidates that a search keeps (`efSearch`); more give more recall, and take more time.
  Raises:
    ModuleNotFoundError: FAISS is not installed.
    ValueError: an embedding that is zero or not finite.
  Source: Malkov, Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable Small
    World Graphs", 2018.
  """

  def __init__(self, gallery_md: Rows, *, neighbours: int = 32, effort: int = 64):
    faiss = _faiss()
    self._gallery_md = gallery_md
    self._index = faiss.IndexHNSWFlat(gallery_md.shape[1], neighbours, faiss.METRIC_INNER_PRODUCT)
    self._index.hnsw.efSearch = effort
    for start in range(0, gallery_md.shape[0], ROWS):
      block = read_block(gallery_md, start, min(start + ROWS, gallery_md.shape[0]))
      self._index.add(block.unit(len(block.wide_rd)))

  def nearest(self, probe_qd: np.ndarray, count: int) -> Nearest:
    """The `count` rows that the index finds for every probe, by exact float64 cosine; of equal ones the lower row first.

    Args:
      probe_qd: [Q, D] float.
      count: k.
    Returns:
      `Nearest`. Where the index finds fewer than k, the rest are row −1 with score −inf.
    Raises:
      ValueError: an embedding that is zero or not finite, or of another size.
    """
    if probe_qd.ndim != 2 or probe_qd.shape[1] != self._gallery_md.shape[1]:
      raise ValueError(f"probes {probe_qd.shape} and gallery {self._gallery_md.shape}: they must be [Q, D] and [M, D]")
    probe = read_block(probe_qd, 0, len(probe_qd))
    row_qk = self._index.search(probe.unit(len(probe_qd)), count)[1].astype(np.int64)
    score_qk = np.full(row_qk.shape, -np.inf)
    probe_p, rank_p = np.nonzero(row_qk >= 0)
    distinct, place_p = np.unique(row_qk[probe_p, rank_p], return_inverse=True)
    rows = [self._gallery_md[row : row + 1] for row in distinct.tolist()]
    if rows:
      found = read_block(np.concatenate(rows), 0, len(rows))
      score_qk[probe_p, rank_p] = exact_scores(probe, found, probe_p, place_p)
    order_qk = np.lexsort((row_qk, -score_qk))
    return Nearest(*(np.take_along_axis(each, order_qk, axis=1) for each in (row_qk, score_qk)))


def recall(found: Nearest, exact: Nearest) -> float:
  """The share of the exact nearest rows that a search found, over all probes.

  Args:
    found: of an approximate search.
    exact: of `nearest_embeddings`, for the same probes and k.
  Raises:
    ValueError: other probes or another k.
  """
  if found.row.shape != exact.row.shape:
    raise ValueError(f"found {found.row.shape} and exact {exact.row.shape}: the same probes and k are needed")
  hits = sum(len(np.intersect1d(*rows)) for rows in zip(found.row, exact.row))
  return hits / max(exact.row.size, 1)


def _faiss() -> ModuleType:
  try:
    import faiss
  except ModuleNotFoundError:
    raise ModuleNotFoundError(
      "approximate search needs FAISS: pip install jaxface[search]. nearest_embeddings is exact and needs nothing"
    ) from None
  return faiss


__all__ = ["ApproximateIndex", "recall"]
