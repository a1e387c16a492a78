"""Identification, 1:N: ranks, CMC and Top-N, and open-set FPIR, FNIR and TPIR.

A *probe* is compared with every entry of a *gallery*. The score of a gallery identity is the largest of its
entries. The probe is *mated* if its identity is in the gallery. Its *rank* is 1 + the number of other identities
that score at least as high as its mate: a tie counts against the mate, so that rank 1 means that the mate scores
strictly above all others, and equal scores for everyone give the last rank.
"""

from typing import NamedTuple

import numpy as np

from jaxface.evaluation.matrix_checks import check_labels, check_score_matrix
from jaxface.evaluation.measures.roc import Operating, check_rate, last_allowed, roc


class Searches(NamedTuple):
  """The result of each probe. Those of further probes, or of another gallery, are appended (`concatenate_searches`).

  Attributes:
    rank: [N] int64, rank of the mate, from 1; 0 for a probe without a mate in the gallery.
    score: [N] float64, score of the mate; for a probe without one, of the best identity.
  """

  rank: np.ndarray
  score: np.ndarray

  @property
  def mated(self) -> np.ndarray:
    """[N] bool."""
    return self.rank > 0


class OpenSet(NamedTuple):
  """Open-set identification at every threshold, from "accept nothing" downwards.

  Attributes:
    threshold: [K] float64, strictly decreasing; the first is just above the highest score.
    false_positives: [K] int64, non-mated probes with any identity at or above the threshold.
    true_positives: [K] int64, mated probes whose mate is within the rank and at or above the threshold.
    nonmated: number of non-mated probes.
    mated: number of mated probes.
  """

  threshold: np.ndarray
  false_positives: np.ndarray
  true_positives: np.ndarray
  nonmated: int
  mated: int

  @property
  def fpir(self) -> np.ndarray:
    """[K] float64, false-positive identification rate."""
    return self.false_positives / self.nonmated

  @property
  def tpir(self) -> np.ndarray:
    """[K] float64, true-positive identification rate; DIR in some papers."""
    return self.true_positives / self.mated

  @property
  def fnir(self) -> np.ndarray:
    """[K] float64, false-negative identification rate, 1 − TPIR."""
    return (self.mated - self.true_positives) / self.mated


def search_gallery(score_nm: np.ndarray, probe_label_n: np.ndarray, gallery_label_m: np.ndarray) -> Searches:
  """Rank and score of each probe.

  Every probe is treated separately: the result does not depend on which probes are searched together.

  Args:
    score_nm: [N, M] float, score of each probe with each gallery entry, higher is more similar.
    probe_label_n: [N] integers or text, identity of each probe.
    gallery_label_m: [M] of the same kind, identity of each entry; several entries may have one identity.
  Returns:
    `Searches`.
  Raises:
    ValueError: wrong shapes, a score that is not finite, no probes, or an empty gallery.
  """
  score_nm = check_score_matrix(score_nm, "probe", "gallery entry")
  probe_label_n, gallery_label_m = check_labels(
    (probe_label_n, "probe", score_nm.shape[0]), (gallery_label_m, "gallery entry", score_nm.shape[1])
  )
  label_i, number_m = np.unique(gallery_label_m, return_inverse=True)
  order = np.argsort(number_m, kind="stable")
  first_i = np.searchsorted(number_m[order], np.arange(label_i.size))
  column_n = np.searchsorted(label_i, probe_label_n)
  mated_n = label_i[np.minimum(column_n, label_i.size - 1)] == probe_label_n
  rank_n, best_n = np.zeros(len(score_nm), np.int64), np.empty(len(score_nm))
  for probe, score_m in enumerate(score_nm):
    score_i = np.maximum.reduceat(score_m[order], first_i)
    best_n[probe] = score_i[column_n[probe]] if mated_n[probe] else score_i.max()
    if mated_n[probe]:
      rank_n[probe] = np.count_nonzero(score_i >= score_i[column_n[probe]])  # the mate itself is the 1
  return Searches(rank_n, best_n)


def concatenate_searches(*searches: Searches) -> Searches:
  """The searches of all probes together, for probes in blocks or several galleries.

  Args:
    *searches: at least one.
  Returns:
    `Searches` in the order given.
  """
  if not searches:
    raise ValueError("no searches to concatenate")
  return Searches(*(np.concatenate(parts) for parts in zip(*searches)))


def cmc(rank_n: np.ndarray, ranks: int) -> np.ndarray:
  """Cumulative match characteristic: share of mated probes whose mate is within each rank.

  Args:
    rank_n: [N] int, ranks from 1; probes of rank 0 have no mate and are left out.
    ranks: R, the largest rank, such as the number of identities of the gallery.
  Returns:
    [R] float64, non-decreasing; entry r − 1 is the identification rate at rank r.
  Raises:
    ValueError: no mated probes, a negative rank, or R below 1.
  """
  rank_n = np.asarray(rank_n)
  if rank_n.ndim != 1 or rank_n.dtype.kind not in "iu" or (rank_n < 0).any():
    raise ValueError(f"ranks {rank_n.dtype} {rank_n.shape}: they must be integers [N] from 1, 0 for no mate")
  if ranks < 1:
    raise ValueError(f"CMC up to rank {ranks}: it must be at least 1")
  mated = rank_n[rank_n > 0]
  if not mated.size:
    raise ValueError(f"none of {rank_n.size} probes has a mate in the gallery: a CMC needs mated probes")
  within = np.bincount(mated[mated <= ranks], minlength=ranks + 1)[1:]
  return np.cumsum(within) / mated.size


def top_n(rank_n: np.ndarray, n: int) -> float:
  """Top-N accuracy, the identification rate at rank N: share of mated probes whose mate is within rank `n`.

  Args:
    rank_n: [N] int, as for `cmc`.
    n: rank, at least 1.
  Returns:
    Share in [0, 1].
  Raises:
    ValueError: as `cmc`.
  """
  return float(cmc(rank_n, n)[-1])


def open_set(searches: Searches, *, rank: int | None = None) -> OpenSet:
  """Open-set identification at every threshold.

  Args:
    searches: of mated and of non-mated probes.
    rank: a mate must also be within this rank to be found; None for any rank.
  Returns:
    `OpenSet`.
  Raises:
    ValueError: no mated or no non-mated probes, or a rank below 1.
  Source: ISO/IEC 19795-1; Grother et al., "Face Recognition Vendor Test, Part 2: Identification", 2019.
  """
  if rank is not None and rank < 1:
    raise ValueError(f"open-set identification within rank {rank}: it must be at least 1")
  mated_n = searches.mated
  mated, nonmated = int(mated_n.sum()), int((~mated_n).sum())
  if not mated or not nonmated:
    raise ValueError(f"{mated} mated and {nonmated} non-mated probes: open-set rates need at least one of each")
  lost_n = mated_n & (searches.rank > rank) if rank is not None else np.zeros_like(mated_n)
  # Probes that no threshold finds stand below all others, as a last point of the curve that is removed.
  score_n = np.where(lost_n, np.nextafter(searches.score.min(), -np.inf), searches.score)
  curve = roc(score_n, mated_n)
  points = slice(None, -1 if lost_n.any() else None)
  return OpenSet(curve.threshold[points], curve.false_accepts[points], curve.true_accepts[points], nonmated, mated)


def tpir_at_fpir(curve: OpenSet, target: float) -> Operating:
  """The largest TPIR among the thresholds whose FPIR is at most `target`, without interpolation.

  Args:
    curve: from `open_set`.
    target: FPIR in [0, 1].
  Returns:
    `Operating`: `tar` is the TPIR and `far` the actual FPIR.
  Raises:
    ValueError: a target outside [0, 1].
  """
  check_rate(target, "target FPIR")
  return last_allowed(curve.tpir, curve.fpir, curve.threshold, target)


__all__ = [
  "OpenSet",
  "Searches",
  "cmc",
  "concatenate_searches",
  "open_set",
  "search_gallery",
  "top_n",
  "tpir_at_fpir",
]
