"""Figures of protocols that are no pair list under random weights of the people, for intervals and for paired differences of models.

Each draw gives every person a random weight of mean 1 and variance 1, a probe that of its person, and a pair of templates the product of
those of its two people. Thresholds are chosen again in each draw, by the rule of the figure: with all weights equal a draw is the
figure itself. Equal sets give equal weights, so that the draws of two models on one set are paired.
Source: Owen, Eckles, "Bootstrapping data arrays of arbitrary order", 2012.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxface.evaluation.intervals.bootstrap import crossing, random_weights
from jaxface.evaluation.intervals.identity_units import Units
from jaxface.evaluation.measures.cluster_scores import cluster_cells
from jaxface.evaluation.measures.identification import Searches

DRAWS = 1_000
# Of more non-mated pairs than this a random part gives the false accepts of a draw. A quarter of them is accepted, with weights of mean square 4:
# the FAR of a draw then varies by 2.2 % of itself, the square root of 4 / 2¹³.
_SAMPLE = 2**15
# Up to so many pairs their weights are added; of more their sum is approximated.
_ADDED = 2**18
# A draw may accept more pairs than its target has in the mean: so many times as many, and some more, are looked at.
_TIMES, _MORE = 4, 256


@dataclass(frozen=True)
class ProtocolDraws:
  """Figures of one model on one set, in draws.

  Attributes:
    value: the figures, by name.
    drawn: [R] float64 by name, the same in each draw.
    people: digest of who is in the set; only draws over equal people are paired.
  """

  value: Mapping[str, float]
  drawn: Mapping[str, np.ndarray]
  people: str


def mean_draws(value_n: np.ndarray, person_n: np.ndarray, total: int) -> np.ndarray:
  """Means over probes.

  Args:
    value_n: [N] bool or float, of each probe.
    person_n: [N] int, person of each, from 0.
    total: number of people, also of those without such a probe.
  Returns:
    [R] float64.
  """
  sum_i, count_i = np.bincount(person_n, np.asarray(value_n, np.float64), total), np.bincount(person_n, minlength=total)
  return np.concatenate([(weight_ri @ sum_i) / (weight_ri @ count_i) for weight_ri in random_weights(total, DRAWS, 0, width=total)])


def tpir_draws(searches: Searches, person_n: np.ndarray, total: int, targets: Sequence[float]) -> np.ndarray:
  """TPIR at FPIRs, of mates of rank 1.

  Args:
    searches: of mated and non-mated probes.
    person_n: [N] int, person of each probe, from 0.
    total: number of people.
    targets: [T] FPIRs.
  Returns:
    [R, T] float64.
  """
  mated_n = searches.mated
  found_n = searches.rank == 1
  other_k = np.flatnonzero(~mated_n)[np.argsort(-searches.score[~mated_n], kind="stable")]
  mate_m = np.flatnonzero(found_n)[np.argsort(-searches.score[found_n], kind="stable")]
  curve = _Steps.of(searches.score[mate_m], searches.score[other_k])
  drawn = []
  for weight_ri in random_weights(total, DRAWS, 0, width=len(person_n)):
    true_rk = curve.accepted(weight_ri[:, person_n[mate_m]]) / weight_ri[:, person_n[mated_n]].sum(1)[:, None]
    false_rk = curve.wrongly(weight_ri[:, person_n[other_k]])
    false_rk /= weight_ri[:, person_n[other_k]].sum(1)[:, None]
    drawn.append(np.stack([_at_most(false_rk, target, true_rk) for target in targets], 1))
  return np.concatenate(drawn)


def template_draws(score_p: np.ndarray, same_p: np.ndarray, units: Units, targets: Mapping[str, float], eer: float) -> dict[str, np.ndarray]:
  """TAR at FARs, and the equal error rate, of a long list of pairs.

  Of more than 2¹⁸ non-mated pairs the whole weight in a draw follows from those of their people, to first order: the products of two
  deviations cancel over many pairs.

  Args:
    score_p: [P] float.
    same_p: [P] bool, pairs of both kinds.
    units: people of the pairs.
    targets: FARs by name.
    eer: the equal error rate; 0 leaves it out.
  Returns:
    [R] float64 by name; the equal error rate as "eer".
  """
  other_k = np.flatnonzero(~same_p)
  other_k = other_k[np.argsort(-score_p[other_k], kind="stable")]
  mate_m = np.flatnonzero(same_p)
  mate_m = mate_m[np.argsort(-score_p[mate_m], kind="stable")]
  sides_i = np.bincount(np.concatenate([units.left_p[other_k], units.right_p[other_k]]), minlength=units.total).astype(np.float64)
  left_k, right_k = units.left_p[other_k], units.right_p[other_k]
  whole_r = np.concatenate([
    (weight_ri[:, left_k] * weight_ri[:, right_k]).sum(1) if len(other_k) <= _ADDED else np.maximum(weight_ri @ sides_i - len(other_k), 1.0)
    for weight_ri in random_weights(units.total, DRAWS, 0, width=min(len(other_k), _ADDED))
  ])
  found = {}
  for name, target in {**targets, **({"eer": eer} if eer > 0 else {})}.items():
    looked = min(len(other_k), int(_TIMES * target * len(other_k)) + _MORE)
    at_k = np.arange(looked)
    if looked > _SAMPLE:
      at_k = np.sort(np.random.default_rng(0).choice(looked, _SAMPLE, replace=False))
    curve = _Steps.of(score_p[mate_m], score_p[other_k[at_k]])
    share, done, drawn = len(at_k) / looked, 0, []
    for weight_ri in random_weights(units.total, DRAWS, 0, width=max(len(at_k), len(mate_m))):
      false_rk = curve.wrongly(weight_ri[:, left_k[at_k]] * weight_ri[:, right_k[at_k]]) / (share * whole_r[done : done + len(weight_ri), None])
      done += len(weight_ri)
      mated_rm = weight_ri[:, units.left_p[mate_m]]
      true_rk = curve.accepted(mated_rm) / mated_rm.sum(1)[:, None]
      drawn.append(crossing(false_rk + true_rk - 1.0, false_rk) if name == "eer" else _at_most(false_rk, target, true_rk))
    found[name] = np.concatenate(drawn)
  return found


def pairwise_draws(identity_n: np.ndarray, cluster_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Pairwise precision and recall of a clustering; a pair of one identity has its weight, one of two the product of theirs.

  Args:
    identity_n, cluster_n: as for `pairwise_f`.
  Returns:
    Precision [R] and recall [R] float64, 1 without pairs.
  Raises:
    ValueError: wrong shapes, or no samples.
  """
  both_k, identity_k, cluster_k = cluster_cells(identity_n, cluster_n)
  total = int(identity_k.max()) + 1
  right_i = np.bincount(identity_k, both_k * (both_k - 1) / 2, total)
  size_i = np.bincount(identity_k, both_k, total)
  same_i = size_i * (size_i - 1) / 2
  order = np.argsort(cluster_k, kind="stable")
  first = np.flatnonzero(np.diff(cluster_k[order], prepend=-1))
  precision, recall = [], []
  for weight_ri in random_weights(total, DRAWS, 0, width=max(total, len(both_k))):
    cell_rk = weight_ri[:, identity_k[order]] * both_k[order]
    # Of all pairs of samples of a cluster, those of two identities.
    apart_r = (np.add.reduceat(cell_rk, first, axis=1) ** 2).sum(1) / 2 - (cell_rk**2).sum(1) / 2
    right_r, same_r = weight_ri @ right_i, weight_ri @ same_i
    together_r = right_r + np.maximum(apart_r, 0.0)
    precision.append(np.divide(right_r, together_r, out=np.ones_like(right_r), where=together_r > 0))
    recall.append(np.divide(right_r, same_r, out=np.ones_like(right_r), where=same_r > 0))
  return np.concatenate(precision), np.concatenate(recall)


@dataclass(frozen=True)
class _Steps:
  """Numbers of accepted pairs at the thresholds just above each distinct non-mated score, from the highest, and at the lowest of them.

  Attributes:
    false_k: [K + 1] int64, non-mated pairs.
    true_k: [K + 1] int64, mated pairs: the most that there are with so many false accepts.
  """

  false_k: np.ndarray
  true_k: np.ndarray

  @classmethod
  def of(cls, mated_m: np.ndarray, other_k: np.ndarray) -> "_Steps":
    """Of scores, both falling."""
    last = np.append(np.flatnonzero(np.diff(other_k) != 0), len(other_k) - 1)
    above = np.searchsorted(-mated_m, -other_k[last], side="left")  # mated scores above each non-mated one
    at_last = np.searchsorted(-mated_m, -other_k[-1], side="right")
    return cls(np.append(0, last + 1), np.append(above, at_last))

  def accepted(self, weight_rm: np.ndarray) -> np.ndarray:
    """[R, K + 1] weight of the accepted mated pairs."""
    return _sums(weight_rm)[:, self.true_k]

  def wrongly(self, weight_rk: np.ndarray) -> np.ndarray:
    """[R, K + 1] weight of the accepted non-mated pairs."""
    return _sums(weight_rk)[:, self.false_k]


def _sums(weight_rk: np.ndarray) -> np.ndarray:
  """[R, K + 1] sums of the first weights, from none to all."""
  total_rk = np.zeros((len(weight_rk), weight_rk.shape[1] + 1))
  np.cumsum(weight_rk, axis=1, out=total_rk[:, 1:])
  return total_rk


def _at_most(false_rk: np.ndarray, target: float, true_rk: np.ndarray) -> np.ndarray:
  """[R] the rate of the last threshold whose false rate is at most the target."""
  last_r = (false_rk <= target).sum(1) - 1
  return true_rk[np.arange(len(true_rk)), last_r]


def people_digest(*parts: np.ndarray) -> str:
  """First 16 hex digits of a digest of arrays: what a set is made of.

  Args:
    *parts: integers, booleans or text.
  """
  digest = hashlib.sha256()
  for part in parts:
    digest.update(f"{part.dtype.kind}{part.shape}".encode())
    digest.update("\n".join(part.tolist()).encode() if part.dtype.kind == "U" else np.ascontiguousarray(part, np.int64).tobytes())
  return digest.hexdigest()[:16]


__all__ = ["DRAWS", "ProtocolDraws", "mean_draws", "pairwise_draws", "people_digest", "template_draws", "tpir_draws"]
