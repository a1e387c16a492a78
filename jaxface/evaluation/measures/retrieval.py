"""Retrieval: precision@1, R-precision and MAP@R of queries against references.

References are ordered by falling score. Of equal scores, references of other identities come first: a tie counts
against the query, as in `identification`, and the figures do not depend on the order of the references.
"""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.matrix_checks import check_labels, check_score_matrix


class Retrieval(NamedTuple):
  """Figures of each query. Those of further queries are appended (`concatenate_retrievals`).

  Attributes:
    relevant: [N] int64, R: references of the query's identity, not counting itself. Queries with R = 0 have figures
      of 0 and are left out of the means.
    precision_at_1: [N] float64, 1 if the first reference is relevant.
    r_precision: [N] float64, relevant share of the first R references.
    average_precision_at_r: [N] float64, (1 / R) Σ P(i) over the relevant of the first R references, where P(i) is the relevant
      share of the first i.
  """

  relevant: np.ndarray
  precision_at_1: np.ndarray
  r_precision: np.ndarray
  average_precision_at_r: np.ndarray

  @property
  def queries(self) -> int:
    """Number of queries with a relevant reference, over which the means are taken."""
    return int(np.count_nonzero(self.relevant))

  @property
  def mean_precision_at_1(self) -> float:
    """Precision@1."""
    return float(self.precision_at_1[self.relevant > 0].mean())

  @property
  def mean_r_precision(self) -> float:
    """R-precision."""
    return float(self.r_precision[self.relevant > 0].mean())

  @property
  def map_at_r(self) -> float:
    """MAP@R."""
    return float(self.average_precision_at_r[self.relevant > 0].mean())


def retrieve(
  score_nm: np.ndarray,
  query_label_n: np.ndarray,
  reference_label_m: np.ndarray,
  *,
  itself_n: np.ndarray | None = None,
) -> Retrieval:
  """Precision@1, R-precision and average precision at R of each query.

  Args:
    score_nm: [N, M] float, score of each query with each reference, higher is more similar.
    query_label_n: [N] integers or text, identity of each query.
    reference_label_m: [M] of the same kind, identity of each reference.
    itself_n: [N] int, the column that is the query itself and is left out, −1 for none; `np.arange(N)` if the queries
      are the references.
  Returns:
    `Retrieval`.
  Raises:
    ValueError: wrong shapes, a score that is not finite, a column that is not there, or no query with a relevant reference.
  Source: Musgrave et al., "A Metric Learning Reality Check", 2020.
  """
  score_nm = check_score_matrix(score_nm, "query", "reference")
  query_label_n, reference_label_m = check_labels(
    (query_label_n, "query", score_nm.shape[0]), (reference_label_m, "reference", score_nm.shape[1])
  )
  itself_n = np.full(len(score_nm), -1) if itself_n is None else np.asarray(itself_n)
  if itself_n.shape != query_label_n.shape or itself_n.dtype.kind not in "iu":
    raise ValueError(f"itself {itself_n.dtype} {itself_n.shape}: it must be one integer for each of {len(score_nm)} queries")
  if itself_n.min() < -1 or itself_n.max() >= len(reference_label_m):
    raise ValueError(
      f"itself from {itself_n.min()} to {itself_n.max()}: it must be a column, 0 to {len(reference_label_m) - 1}, or -1"
    )
  relevant_n = np.zeros(len(score_nm), np.int64)
  first_n, share_n, average_n = (np.zeros(len(score_nm)) for _ in range(3))
  for query, score_m in enumerate(score_nm):
    relevant_m = reference_label_m == query_label_n[query]
    if itself_n[query] >= 0:
      score_m, relevant_m = np.delete(score_m, itself_n[query]), np.delete(relevant_m, itself_n[query])
    relevant = relevant_n[query] = np.count_nonzero(relevant_m)
    if relevant:
      hit_k = _first(score_m, relevant_m, int(relevant))
      precision_k = np.cumsum(hit_k) / np.arange(1, relevant + 1)
      first_n[query], share_n[query] = hit_k[0], precision_k[-1]
      average_n[query] = precision_k[hit_k].sum() / relevant
  if not relevant_n.any():
    raise ValueError(
      f"none of {len(score_nm)} queries has a reference of its identity: figures need at least one"
    )
  return Retrieval(relevant_n, first_n, share_n, average_n)


def _first(score_m: np.ndarray, relevant_m: np.ndarray, count: int) -> np.ndarray:
  """[count] bool, whether each of the first references is relevant; of equal scores the irrelevant come first."""
  # Only scores from the lowest that may be among the first on are sorted.
  least = np.partition(score_m, score_m.size - count)[score_m.size - count]
  near = np.flatnonzero(score_m >= least)
  return relevant_m[near][np.lexsort((relevant_m[near], -score_m[near]))][:count]


def concatenate_retrievals(*parts: Retrieval) -> Retrieval:
  """The figures of all queries together, for queries in blocks.

  Args:
    *parts: at least one.
  Returns:
    `Retrieval` in the order given.
  """
  if not parts:
    raise ValueError("no retrievals to concatenate")
  return Retrieval(*(np.concatenate(arrays) for arrays in zip(*parts)))


__all__ = ["Retrieval", "concatenate_retrievals", "retrieve"]
