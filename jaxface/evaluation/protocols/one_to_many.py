"""Identification of probe templates in a gallery of one template per subject, with intervals over subjects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.bootstrap import percentiles
from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.people_draws import mean_draws, tpir_draws
from jaxface.evaluation.measures.identification import Searches, open_set, search_gallery, tpir_at_fpir
from jaxface.evaluation.protocols.base import rate_name

RANKS, FPIRS = (1, 5, 10), (1e-2, 1e-1)


def identify(score_nm: np.ndarray, probe_n: np.ndarray, gallery_m: np.ndarray) -> tuple[dict[str, Any], Searches, dict[str, np.ndarray]]:
  """Identification of probes in a gallery of one template per subject.

  Ranks as in `search_gallery`, TPIR at FPIR as in `tpir_at_fpir`, of mates of rank 1.

  Args:
    score_nm: [N, M] float.
    probe_n: [N] int, subject of each probe.
    gallery_m: [M] int, subject of each template, all different.
  Returns:
    (shares by name, each with its 95 % interval over subjects (`NAME_95`), and the numbers of probes; rank and score of each probe; the
    shares in draws [R], equally weighted for equal probes). The interval of TPIR is the union of that at the threshold found and of that
    of draws, which choose it again.
  Raises:
    ValueError: a subject twice in the gallery, or no mated or no non-mated probe.
  """
  subjects = len(np.unique(gallery_m))
  if subjects < len(gallery_m):
    raise ValueError(f"{len(gallery_m)} templates of {subjects} subjects: a gallery has one for each")
  searches = search_gallery(score_nm, probe_n, gallery_m)
  mated_n, score_n = searches.mated, searches.score
  mated = int(mated_n.sum())
  if not 0 < mated < len(probe_n):
    raise ValueError(f"{mated} of {len(probe_n)} probes are mated: identification needs mated and non-mated ones")
  curve = open_set(searches, rank=1)
  subject_i, number_n = np.unique(probe_n, return_inverse=True)
  correct = {f"rank-{rank}": searches.rank[mated_n] <= rank for rank in RANKS}
  drawn = {name: mean_draws(correct_n, number_n[mated_n], len(subject_i)) for name, correct_n in correct.items()}
  tpir_rt = tpir_draws(searches, number_n, len(subject_i), FPIRS)
  for fpir, tpir_r in zip(FPIRS, tpir_rt.T):
    point = tpir_at_fpir(curve, fpir)
    name = f"TPIR@FPIR {rate_name(fpir)}"
    correct[name], drawn[name] = (searches.rank[mated_n] == 1) & (score_n[mated_n] >= point.threshold), tpir_r
  found: dict[str, Any] = {"mated_probes": mated, "nonmated_probes": curve.nonmated}
  for name, correct_n in correct.items():
    low, high = mean_interval(correct_n, probe_n[mated_n])
    if name.startswith("TPIR"):
      again = percentiles(drawn[name])
      low, high = min(low, again[0]), max(high, again[1])
    found[name], found[f"{name}_95"] = float(correct_n.mean()), [low, high]
  return found, searches, drawn


def mean_of(mean: float, parts: Sequence[tuple[float, Sequence[float]]]) -> list[float]:
  """Interval of a mean of independent shares, from theirs."""
  low, high = (float(np.sqrt(sum((value - ends[side]) ** 2 for value, ends in parts))) / len(parts) for side in (0, 1))
  return [max(0.0, mean - low), min(1.0, mean + high)]


__all__ = ["identify", "mean_of"]
