"""Clusters of embeddings: components over a threshold, and agglomerative clustering with three linkages.

Clusters are numbered from 0 in the order of their first members.
"""

import numpy as np

from jaxface.evaluation.matrix_checks import NEAR, check_score_matrix, unit_rows
from jaxface.evaluation.measures.graph import join, numbered, roots
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs

LINKAGES = ("single", "average", "complete")
# Rows of one block of cosines; and the most members of a component whose cosines are stored (512 MiB).
BLOCK, LARGEST = 1024, 8192


def cluster(embedding_nd: np.ndarray, threshold: float, *, linkage: str = "single") -> np.ndarray:
  """Clusters embeddings by their cosines.

  - "single": the components of the graph that joins every pair with cosine ≥ threshold. Memory grows with N.
  - "average", "complete": `agglomerate` on the cosines of each such component. (No cluster of either is larger than
    a component.) Memory grows with the square of the largest component.

  Cosines near the threshold are computed separately for each pair, so that "single" does not depend on the order of
  the embeddings or on blocks.

  Args:
    embedding_nd: [N, D] float, not necessarily normalised.
    threshold: cosine.
    linkage: one of `LINKAGES`.
  Returns:
    [N] int64, number of the cluster of each embedding.
  Raises:
    ValueError: wrong shape, an embedding that is zero or not finite, an unknown linkage, a threshold that is NaN, or a
      component too large for its cosines to be stored.
  """
  _check(threshold, linkage)
  unit_nd = unit_rows(embedding_nd, "embedding")
  parent_n = np.arange(len(unit_nd))
  for start in range(0, len(unit_nd), BLOCK):
    score_bm = unit_nd[start : start + BLOCK] @ unit_nd[start:].T
    left_p, right_p = np.nonzero(score_bm >= threshold - NEAR)
    upper = left_p < right_p
    left_p, right_p = left_p[upper], right_p[upper]
    sure_p = score_bm[left_p, right_p] > threshold + NEAR
    left_p, right_p = left_p + start, right_p + start
    sure_p[~sure_p] = cosine_of_pairs(embedding_nd, left_p[~sure_p], right_p[~sure_p]) >= threshold
    join(parent_n, left_p[sure_p], right_p[sure_p])
  if linkage == "single":
    return numbered(parent_n)
  cluster_n = np.empty_like(parent_n)
  order = np.argsort(parent_n, kind="stable")
  for row_m in np.split(order, np.flatnonzero(np.diff(parent_n[order])) + 1):
    if row_m.size > LARGEST:
      raise ValueError(
        f"{row_m.size} embeddings are joined by cosines of at least {threshold}: {linkage} linkage stores the cosines "
        f'of at most {LARGEST}; take a higher threshold, or linkage "single"'
      )
    left_p, right_p = np.triu_indices(row_m.size, 1)
    score_mm = np.eye(row_m.size)
    score_mm[left_p, right_p] = cosine_of_pairs(embedding_nd, row_m[left_p], row_m[right_p])
    score_mm[right_p, left_p] = score_mm[left_p, right_p]
    number_m = agglomerate(score_mm, threshold, linkage=linkage)
    # The first member stands for its cluster.
    cluster_n[row_m] = row_m[np.unique(number_m, return_index=True)[1]][number_m]
  return numbered(cluster_n)


def agglomerate(score_nn: np.ndarray, threshold: float, *, linkage: str = "average") -> np.ndarray:
  """Agglomerative clustering: the two most similar clusters are merged while their similarity is at least `threshold`.

  The similarity of two clusters is the largest ("single"), the mean ("average", UPGMA) or the smallest ("complete") score of
  a member of one with a member of the other. If several merges are equally similar, average and complete linkage
  may give another partition for another order of the rows; single linkage never does.

  Args:
    score_nn: [N, N] float, symmetric; the diagonal is not used.
    threshold: score.
    linkage: one of `LINKAGES`.
  Returns:
    [N] int64, number of the cluster of each row.
  Raises:
    ValueError: wrong shape, a score that is not finite, scores that are not symmetric, an unknown linkage, or a threshold
      that is NaN.
  Source: Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011 (chains of nearest neighbours).
  """
  _check(threshold, linkage)
  score_nn = check_score_matrix(score_nn, "row", "column")
  if score_nn.shape[0] != score_nn.shape[1]:
    raise ValueError(f"scores {score_nn.shape}: they must be [N, N]")
  for row, column in np.argwhere(score_nn != score_nn.T)[:1]:
    raise ValueError(
      f"the score of {row} with {column} is {score_nn[row, column]}, of {column} with {row} {score_nn[column, row]}: "
      "scores must be symmetric"
    )
  # Average linkage keeps sums of scores, which are exact for longer than means.
  value_nn = score_nn.astype(np.float64)
  size_n, open_n, parent_n = np.ones(len(value_nn)), np.ones(len(value_nn), bool), np.arange(len(value_nn))
  chain: list[int] = []
  while open_n.any():
    if not chain:
      chain = [int(np.argmax(open_n))]
    here = chain[-1]
    near_n = value_nn[here] / (size_n[here] * size_n) if linkage == "average" else value_nn[here]
    near_n = np.where(open_n, near_n, -np.inf)
    near_n[here] = -np.inf
    best = int(np.argmax(near_n))
    if len(chain) > 1 and near_n[chain[-2]] == near_n[best]:
      best = chain[-2]
    if near_n[best] < threshold:
      # No later merge makes another cluster more similar to this one: it is finished.
      open_n[here] = False
      chain.pop()
    elif len(chain) > 1 and best == chain[-2]:
      low, high = sorted((here, best))
      merge = {"single": np.maximum, "average": np.add, "complete": np.minimum}[linkage]
      value_nn[low] = value_nn[:, low] = merge(value_nn[low], value_nn[high])
      size_n[low] += size_n[high]
      open_n[high], parent_n[high] = False, low
      chain = [low]
    else:
      chain.append(best)
  return numbered(roots(parent_n))


def _check(threshold: float, linkage: str) -> None:
  if linkage not in LINKAGES:
    raise ValueError(f"no linkage {linkage!r}: it must be one of {', '.join(LINKAGES)}")
  if np.isnan(threshold):
    raise ValueError("threshold is nan: it must be a number")


__all__ = ["LINKAGES", "agglomerate", "cluster"]
