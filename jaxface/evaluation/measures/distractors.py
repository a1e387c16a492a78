"""Rank with distractors: a gallery of one mate and images of other people (MegaFace)."""

from collections.abc import Sequence

import numpy as np

from jaxface.evaluation.matrix_checks import check_score_matrix


def distractor_ranks(
  mate_score_p: np.ndarray,
  probe_p: np.ndarray,
  distractor_score_nm: np.ndarray,
  sizes: Sequence[int] | None = None,
) -> np.ndarray:
  """Rank of a mate among the first 10, 100, … distractors.

  A pair is a probe with one mate. Its gallery consists of that mate and the distractors, not of other mates. The rank is
  1 + the number of distractors that score at least as high as the mate: a tie counts against it. For distractors
  in blocks, add the ranks of the blocks less one.

  Args:
    mate_score_p: [P] float, score of each pair, higher is more similar.
    probe_p: [P] int, the row of the pair's probe in `distractor_score_nm`.
    distractor_score_nm: [N, M] float, score of each probe with each distractor, in the order of the list.
    sizes: [S] strictly increasing numbers of distractors, at most M; None for M only.
  Returns:
    [S, P] int64, ranks from 1.
  Raises:
    ValueError: wrong shapes, a score that is not finite, a row that is not there, or sizes that do not increase.
  Source: Kemelmacher-Shlizerman et al., "The MegaFace Benchmark: 1 Million Faces for Recognition at Scale", 2016.
  """
  score_nm = check_score_matrix(distractor_score_nm, "probe", "distractor")
  mate_score_p, probe_p = np.asarray(mate_score_p), np.asarray(probe_p)
  if mate_score_p.ndim != 1 or mate_score_p.shape != probe_p.shape or not mate_score_p.size:
    raise ValueError(
      f"mate scores {mate_score_p.shape} and probes {probe_p.shape}: both must be [P], at least one pair"
    )
  bad = np.flatnonzero(~np.isfinite(mate_score_p))
  if bad.size:
    raise ValueError(f"the mate score of pair {bad[0]} is {mate_score_p[bad[0]]}: it must be finite")
  if probe_p.dtype.kind not in "iu" or probe_p.min() < 0 or probe_p.max() >= len(score_nm):
    raise ValueError(
      f"probes {probe_p.dtype} from {probe_p.min()} to {probe_p.max()}: they must be rows of the distractor scores, "
      f"integers from 0 to {len(score_nm) - 1}"
    )
  ends = [score_nm.shape[1]] if sizes is None else list(sizes)
  if not ends or min(np.diff(ends, prepend=0)) < 1 or ends[-1] > score_nm.shape[1]:
    raise ValueError(f"sizes {ends}: they must increase strictly from at least 1 to at most {score_nm.shape[1]}")
  # Comparisons are between numbers of one type: a float32 score equals itself.
  kind = np.result_type(mate_score_p, score_nm)
  rank_sp = np.ones((len(ends), mate_score_p.size), np.int64)
  by_probe = np.argsort(probe_p, kind="stable")
  probes, first = np.unique(probe_p[by_probe], return_index=True)
  for probe, pairs in zip(probes, np.split(by_probe, first[1:])):
    above_p = np.zeros(pairs.size, np.int64)
    for index, (start, stop) in enumerate(zip([0, *ends], ends)):
      rising = np.sort(score_nm[probe, start:stop].astype(kind, copy=False))
      above_p += rising.size - np.searchsorted(rising, mate_score_p[pairs].astype(kind, copy=False), side="left")
      rank_sp[index, pairs] += above_p
  return rank_sp


__all__ = ["distractor_ranks"]
