"""95 % intervals over identities of identification, retrieval and clustering figures, by `mean_interval`; of pairwise F by draws."""

import numpy as np

from jaxface.evaluation.intervals.bootstrap import interval_of
from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.people_draws import mean_draws, pairwise_draws
from jaxface.evaluation.measures.cluster_scores import bcubed, bcubed_samples, pairwise_f
from jaxface.evaluation.measures.identification import Searches, cmc
from jaxface.evaluation.measures.retrieval import Retrieval

Interval = tuple[float, float]


def cmc_interval(rank_n: np.ndarray, identity_n: np.ndarray, ranks: int) -> np.ndarray:
  """Intervals of the cumulative match characteristic, each of its own rank; the gallery is taken as given.

  Args:
    rank_n: [N] int, as for `cmc`.
    identity_n: [N] integers or text, identity of each probe.
    ranks: R, the largest rank.
  Returns:
    [R, 2] float64, low and high.
  Raises:
    ValueError: as `cmc`, or other lengths.
  """
  cmc(rank_n, ranks)  # checks
  rank_n, identity_n = _probes(rank_n, identity_n)
  mated_n = rank_n > 0
  return np.array([mean_interval(rank_n[mated_n] <= rank, identity_n[mated_n]) for rank in range(1, ranks + 1)])


def tpir_interval(searches: Searches, identity_n: np.ndarray, threshold: float, *, rank: int | None = None) -> Interval:
  """Interval of the TPIR at a threshold; the threshold and the gallery are taken as given.

  Args:
    searches: of mated and non-mated probes.
    identity_n: [N] integers or text, identity of each probe.
    threshold: accept where score >= threshold, such as `tpir_at_fpir(...).threshold`.
    rank: as for `open_set`.
  Returns:
    (low, high).
  Raises:
    ValueError: no mated probe, or other lengths.
  """
  rank_n, identity_n = _probes(searches.rank, identity_n)
  mated_n = rank_n > 0
  found_n = (searches.score >= threshold) & ((rank_n <= rank) if rank is not None else True)
  return mean_interval(found_n[mated_n], identity_n[mated_n])


def fpir_interval(searches: Searches, identity_n: np.ndarray, threshold: float) -> Interval:
  """Interval of the FPIR at a threshold; the threshold and the gallery are taken as given.

  Args:
    searches, identity_n, threshold: as for `tpir_interval`.
  Returns:
    (low, high).
  Raises:
    ValueError: no non-mated probe, or other lengths.
  """
  rank_n, identity_n = _probes(searches.rank, identity_n)
  other_n = rank_n == 0
  return mean_interval(searches.score[other_n] >= threshold, identity_n[other_n])


def retrieval_intervals(found: Retrieval, identity_n: np.ndarray) -> dict[str, Interval]:
  """Intervals of the means of `retrieve`; the references are taken as given.

  Args:
    found: figures of each query.
    identity_n: [N] integers or text, identity of each query.
  Returns:
    (low, high) by name: mean_precision_at_1, mean_r_precision, map_at_r.
  Raises:
    ValueError: no query with a relevant reference, or other lengths.
  """
  relevant_n, identity_n = _probes(found.relevant, identity_n)
  kept = relevant_n > 0
  columns = {"mean_precision_at_1": found.precision_at_1, "mean_r_precision": found.r_precision, "map_at_r": found.average_precision_at_r}
  return {name: mean_interval(value_n[kept], identity_n[kept]) for name, value_n in columns.items()}


def bcubed_intervals(identity_n: np.ndarray, cluster_n: np.ndarray) -> dict[str, Interval]:
  """Intervals of BCubed precision and recall, as means over samples, and of F, by percentiles of 1,000 draws of both.

  A sample's precision also depends on the other people in its cluster, which are taken as given.

  Args:
    identity_n, cluster_n: as for `bcubed`.
  Returns:
    (low, high) by name: precision, recall, f.
  Raises:
    ValueError: as `bcubed`.
  """
  number_n, precision_n, recall_n = bcubed_samples(identity_n, cluster_n)
  total = int(number_n.max()) + 1
  f_r = _harmonic(mean_draws(precision_n, number_n, total), mean_draws(recall_n, number_n, total))
  return {
    "precision": mean_interval(precision_n, number_n), "recall": mean_interval(recall_n, number_n),
    "f": interval_of(bcubed(identity_n, cluster_n).f, f_r),
  }


def pairwise_intervals(identity_n: np.ndarray, cluster_n: np.ndarray) -> dict[str, Interval]:
  """Intervals of pairwise precision, recall and F: percentiles of 1,000 draws with random weights of the identities.

  The clusters are taken as given. A pair of one identity has its weight, a pair of two the product of theirs. Few large clusters may have
  nearly all pairs: then the intervals are wide.

  Args:
    identity_n, cluster_n: as for `pairwise_f`.
  Returns:
    (low, high) by name: precision, recall, f.
  Raises:
    ValueError: as `pairwise_f`.
  Source: Owen, Eckles, "Bootstrapping data arrays of arbitrary order", 2012.
  """
  found = pairwise_f(identity_n, cluster_n)
  precision_r, recall_r = pairwise_draws(identity_n, cluster_n)
  return {
    "precision": interval_of(found.precision, precision_r), "recall": interval_of(found.recall, recall_r),
    "f": interval_of(found.f, _harmonic(precision_r, recall_r)),
  }


def _harmonic(precision_r: np.ndarray, recall_r: np.ndarray) -> np.ndarray:
  """F of each draw, 0 if both are 0."""
  sum_r = precision_r + recall_r
  return np.divide(2 * precision_r * recall_r, sum_r, out=np.zeros_like(sum_r), where=sum_r > 0)


def _probes(value_n: np.ndarray, identity_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  value_n, identity_n = np.asarray(value_n), np.asarray(identity_n)
  if identity_n.shape != value_n.shape:
    raise ValueError(f"identities {identity_n.shape} of {value_n.shape} probes or queries: one identity for each")
  return value_n, identity_n


__all__ = ["bcubed_intervals", "cmc_interval", "fpir_interval", "pairwise_intervals", "retrieval_intervals", "tpir_interval"]
