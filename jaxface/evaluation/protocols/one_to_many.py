"""Identification of probe templates in a gallery of one template per subject, with intervals over subjects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.means import mean_interval

RANKS, FPIRS = (1, 5, 10), (1e-2, 1e-1)


def identify(score_nm: np.ndarray, probe_n: np.ndarray, gallery_m: np.ndarray) -> dict[str, Any]:
  """Identification of probes in a gallery of one template per subject.

  The rank of a probe is one plus the number of other templates that score at least as high as its own: ties count against it. TPIR at
  FPIR: the share of mated probes of rank 1 with a score at or above the lowest threshold at which the share of non-mated probes with any
  such score is at most the FPIR.

  Args:
    score_nm: [N, M] float.
    probe_n: [N] int, subject of each probe.
    gallery_m: [M] int, subject of each template, all different.
  Returns:
    Shares by name, each with its 95 % interval over subjects (`NAME_95`; at the threshold found), and the numbers of probes.
  Raises:
    ValueError: a subject twice in the gallery, or no mated or no non-mated probe.
  """
  subject_m, place_m = np.unique(gallery_m, return_index=True)
  if len(subject_m) < len(gallery_m):
    raise ValueError(f"{len(gallery_m)} templates of {len(subject_m)} subjects: a gallery has one for each")
  at_n = np.minimum(np.searchsorted(subject_m, probe_n), len(subject_m) - 1)
  mated_n = subject_m[at_n] == probe_n
  if not mated_n.any() or mated_n.all():
    raise ValueError(f"{int(mated_n.sum())} of {len(mated_n)} probes are mated: identification needs mated and non-mated ones")
  mated = score_nm[mated_n]
  own_n = mated[np.arange(len(mated)), place_m[at_n[mated_n]]]
  rank_n = (mated >= own_n[:, None]).sum(1)
  top_n = np.sort(score_nm[~mated_n].max(1))[::-1]
  found: dict[str, Any] = {"mated_probes": len(mated), "nonmated_probes": len(top_n)}
  correct = {f"rank-{rank}": rank_n <= rank for rank in RANKS}
  for fpir in FPIRS:
    allowed = int(np.searchsorted(np.arange(len(top_n) + 1) / len(top_n), fpir, side="right")) - 1
    # Every score above the first forbidden one is accepted: no more than `allowed` non-mated probes have one.
    limit = top_n[allowed] if allowed < len(top_n) else -np.inf
    correct[f"TPIR@FPIR {fpir:.0e}".replace("e-0", "e-")] = (rank_n == 1) & (own_n > limit)
  for name, correct_n in correct.items():
    found[name], found[f"{name}_95"] = float(correct_n.mean()), list(mean_interval(correct_n, probe_n[mated_n]))
  return found


def mean_of(mean: float, parts: Sequence[tuple[float, Sequence[float]]]) -> list[float]:
  """Interval of a mean of independent shares, from theirs."""
  low, high = (float(np.sqrt(sum((value - ends[side]) ** 2 for value, ends in parts))) / len(parts) for side in (0, 1))
  return [max(0.0, mean - low), min(1.0, mean + high)]


__all__ = ["identify", "mean_of"]
