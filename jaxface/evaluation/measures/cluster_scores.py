"""Scores of a clustering against the true identities: pairwise F and BCubed."""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.matrix_checks import check_labels


class ClusterScore(NamedTuple):
  """Precision and recall of a clustering."""

  precision: float
  recall: float

  @property
  def f(self) -> float:
    """F, the harmonic mean of precision and recall; 0 if both are 0."""
    total = self.precision + self.recall
    return 2 * self.precision * self.recall / total if total else 0.0


def pairwise_f(identity_n: np.ndarray, cluster_n: np.ndarray) -> ClusterScore:
  """Pairwise precision and recall.

  Precision: of the pairs in one cluster, the share of one identity. Recall: of the pairs of one identity, the share in one
  cluster. If there are no such pairs, none is wrong and the share is 1.

  Args:
    identity_n: [N] integers or text.
    cluster_n: [N] integers or text.
  Returns:
    `ClusterScore`.
  Raises:
    ValueError: wrong shapes, or no samples.
  """
  both_k, identity_k, cluster_k = cluster_cells(identity_n, cluster_n)
  right = _pairs(both_k)
  together, same = _pairs(_sizes(cluster_k, both_k)), _pairs(_sizes(identity_k, both_k))
  return ClusterScore(right / together if together else 1.0, right / same if same else 1.0)


def bcubed(identity_n: np.ndarray, cluster_n: np.ndarray) -> ClusterScore:
  """BCubed precision and recall.

  Precision of a sample: the share of its cluster that has its identity, itself included. Recall: the share of its identity that
  is in its cluster. Both are means over samples.

  Args:
    identity_n: [N] integers or text.
    cluster_n: [N] integers or text.
  Returns:
    `ClusterScore`.
  Raises:
    ValueError: wrong shapes, or no samples.
  Source: Bagga and Baldwin, "Entity-Based Cross-Document Coreferencing Using the Vector Space Model", 1998; Amigó et al., "A
    comparison of extrinsic clustering evaluation metrics based on formal constraints", 2009.
  """
  both_k, _, precision_k, recall_k = _bcubed_cells(identity_n, cluster_n)
  samples = both_k.sum()
  return ClusterScore(float((both_k * precision_k).sum() / samples), float((both_k * recall_k).sum() / samples))


def bcubed_samples(identity_n: np.ndarray, cluster_n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """BCubed precision and recall of each sample, ordered by identity.

  Args:
    identity_n, cluster_n: as for `bcubed`.
  Returns:
    Number of the identity [N] int64, precision [N] float64, recall [N] float64.
  Raises:
    ValueError: as `bcubed`.
  """
  both_k, identity_k, precision_k, recall_k = _bcubed_cells(identity_n, cluster_n)
  number_n, precision_n, recall_n = (np.repeat(value_k, both_k) for value_k in (identity_k, precision_k, recall_k))
  return number_n, precision_n, recall_n


def _bcubed_cells(identity_n: np.ndarray, cluster_n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Samples of each identity in each cluster: their number, the identity's number, and the precision and recall of each of them."""
  both_k, identity_k, cluster_k = cluster_cells(identity_n, cluster_n)
  precision_k, recall_k = (both_k / _sizes(number_k, both_k)[number_k] for number_k in (cluster_k, identity_k))
  return both_k, identity_k, precision_k, recall_k


def cluster_cells(identity_n: np.ndarray, cluster_n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Number of samples [K] of each identity and cluster that occur together, with the numbers [K] of both, ordered by identity.

  Args:
    identity_n, cluster_n: as for `pairwise_f`.
  Raises:
    ValueError: wrong shapes, or no samples.
  """
  (identity_n,) = check_labels((identity_n, "identity", None))
  (cluster_n,) = check_labels((cluster_n, "cluster", identity_n.size))
  identity_n, cluster_n = (np.unique(label_n, return_inverse=True)[1] for label_n in (identity_n, cluster_n))
  clusters = int(cluster_n.max()) + 1
  cell_k, both_k = np.unique(identity_n * clusters + cluster_n, return_counts=True)
  return both_k, cell_k // clusters, cell_k % clusters


def _sizes(number_k: np.ndarray, both_k: np.ndarray) -> np.ndarray:
  """Number of samples of each number."""
  total = np.zeros(int(number_k.max()) + 1, np.int64)
  np.add.at(total, number_k, both_k)
  return total


def _pairs(size_k: np.ndarray) -> int:
  """Number of pairs within groups of these sizes."""
  return int((size_k * (size_k - 1) // 2).sum())


__all__ = ["ClusterScore", "bcubed", "bcubed_samples", "cluster_cells", "pairwise_f"]
