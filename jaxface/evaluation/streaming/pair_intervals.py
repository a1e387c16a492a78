"""95 % intervals of TAR at FAR over all pairs of embeddings, over identities.

  found = all_pairs_intervals(embedding_nd, label_n, [1e-6])[1e-6]
  found.point.tar, found.tar                                # 0.83, (0.82, 0.84)

`intervals.false_accepts` gives the intervals of the FAR and of the threshold. That of TAR at FAR combines the change of TAR over the
threshold's interval and the interval of TAR at the threshold found, with their correlation (MOVER).
Source: Zou, "Toward Using Confidence Intervals to Compare Correlations", 2007.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxface.evaluation.intervals.false_accepts import FEWEST, AllPairs, Interval, threshold_interval
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.measures.roc import Operating
from jaxface.evaluation.pairs.pair_score import MatrixScore
from jaxface.evaluation.streaming.all_pairs import operating_points
from jaxface.evaluation.streaming.pair_passes import PairPasses
from jaxface.evaluation.streaming.score_blocks import Layout, Rows
from jaxface.evaluation.streaming.scored_passes import ScoredPasses

# Non-mated pairs that are kept for each target: 24 MB. Of more, a random part.
KEPT = 2**20


class PairInterval(NamedTuple):
  """TAR at one FAR and 95 % intervals over identities.

  Attributes:
    point: TAR, actual FAR and threshold, as `all_pairs_tar_at_far`.
    tar: of the TAR at the threshold whose FAR in the population is the target: it includes that this threshold is not known.
    tar_at_threshold: of the TAR in the population at the threshold `point.threshold`, as it is for a threshold that is in use.
    far: of the FAR in the population at the threshold `point.threshold`.
    threshold: of the threshold whose FAR in the population is the target; up to 1 where fewer than four false accepts are expected.
    design: variance of the number of false accepts, in that of independent pairs; at least 1. Of at least 30 false accepts.
  """

  point: Operating
  tar: Interval
  tar_at_threshold: Interval
  far: Interval
  threshold: Interval
  design: float


def all_pairs_intervals(
  embedding_nd: Rows,
  label_n: np.ndarray,
  targets: Sequence[float],
  *,
  gallery_md: Rows | None = None,
  gallery_label_m: np.ndarray | None = None,
  devices: Sequence[jax.Device] | None = None,
  rows: int | None = None,
  seed: int = 0,
  hosts: bool = False,
) -> dict[float, PairInterval]:
  """TAR at each target FAR, over all pairs of one set, or of probes and a gallery, with 95 % intervals over identities.

  Takes one pass over all products more than `all_pairs_tar_at_far`, and no more memory with more embeddings, apart from numbers by
  identity. The identities are taken as independent draws from a population.

  Args:
    embedding_nd, label_n, targets, gallery_md, gallery_label_m, devices, rows, hosts: as `all_pairs_tar_at_far`.
    seed: chooses the pairs that are kept where a target has more than 2¹⁸ false accepts; another number of hosts then keeps others.
  Returns:
    `PairInterval` by target.
  Raises:
    ValueError: as `all_pairs_tar_at_far`.
  """
  pairs = PairPasses.of(embedding_nd, label_n, gallery_md, gallery_label_m, Layout.of(devices, rows), hosts)
  return _of_passes(pairs, targets, seed, (-1.0, 1.0))


def scored_pairs_intervals(
  embedding_nd: Rows, label_n: np.ndarray, targets: Sequence[float], score: MatrixScore, *, rows: int | None = None, seed: int = 0
) -> dict[float, PairInterval]:
  """`all_pairs_intervals` of the pairs i < j of one set by another score than the cosine, such as a verifier's.

  Takes about five passes over all pairs, each of which scores them, in blocks; the scores are not stored.

  Args:
    embedding_nd: [N, D] float, an array, a memory map or `EmbeddingRows`.
    label_n: [N] int or text, identities.
    targets: FARs in [0, 1].
    score: what scores the pairs; that of i and j has the embedding of i on the left.
    rows: rows of a block, which determine memory and speed; default 1,024.
    seed: as in `all_pairs_intervals`.
  Returns:
    `PairInterval` by target; a threshold that no pair bounds has an infinite end.
  Raises:
    ValueError: shapes that do not fit; an embedding or a score that is not finite; no mated or no non-mated pairs; a target outside [0, 1].
  """
  return _of_passes(ScoredPasses.of(embedding_nd, label_n, score, rows), targets, seed, (-math.inf, math.inf))


def _of_passes(
  pairs: PairPasses | ScoredPasses, targets: Sequence[float], seed: int, range_of: tuple[float, float]
) -> dict[float, PairInterval]:
  """Intervals of all targets; thresholds lie in `range_of`."""
  result: dict[float, PairInterval] = {}
  depth, waiting = 4, list(dict.fromkeys(targets))
  while waiting:  # again with more pairs, in the rare case that identities share so many that the interval reaches further
    points, floors = operating_points(pairs, waiting, lambda count, depth=depth: depth * (count + FEWEST))  # type: ignore[misc]
    result |= _intervals(pairs, points, floors, depth, seed, range_of)
    waiting, depth = [target for target in waiting if target not in result], 4 * depth
  return {target: result[target] for target in targets}


def _intervals(
  pairs: PairPasses | ScoredPasses, points: dict[float, Operating], floors: dict[float, float], depth: int, seed: int, range_of: tuple[float, float]
) -> dict[float, PairInterval]:
  """Intervals of the targets whose threshold's interval lies above the floor."""
  nonmated = pairs.counts()[1]
  top = _collect(pairs, points, floors, depth, seed)
  count = {target: round(point.far * nonmated) for target, point in points.items()}
  limits: dict[float, Interval] = {}
  for target, point in points.items():
    ends = threshold_interval(top[target], target)
    if ends is not None:
      limits[target] = max(min(ends[0], point.threshold), range_of[0]), max(min(ends[1], range_of[1]), point.threshold)
  limit_tk = np.array([[points[target].threshold, *ends] for target, ends in limits.items()]).reshape(-1, 3)
  accepted_tki, mated_i = _mated(pairs, limit_tk, len(top[next(iter(top))].left_i))
  result = {}
  for (target, limit), accepted_ki in zip(limits.items(), accepted_tki):
    found, enough = top[target], min(max(count[target], FEWEST), nonmated)
    tar, wider, narrower = (accepted_ki.sum(1) / mated_i.sum()).tolist()
    fixed = mated_interval(accepted_ki[0], mated_i)
    residual_i, surplus_i = accepted_ki[0] - tar * mated_i, found.surplus(enough)
    scale = math.sqrt(_mated_variance(accepted_ki[0], mated_i) * float((surplus_i**2).sum()))
    shared = float(np.clip((residual_i * surplus_i).sum() / scale, -1, 1)) if scale else 0.0
    low = tar - _combined(tar - fixed[0], tar - narrower, shared)
    high = tar + _combined(fixed[1] - tar, wider - tar, shared)
    of_target = max(0.0, low), min(1.0, high)
    result[target] = PairInterval(points[target], of_target, fixed, found.interval(count[target]), limit, found.design(count[target]))
  return result


def mated_interval(accepted_i: np.ndarray, mated_i: np.ndarray) -> Interval:
  """95 % interval of the TAR of all mated pairs at a given threshold; equal to `rate_interval` over them.

  Args:
    accepted_i: [I] int, accepted mated pairs of each identity.
    mated_i: [I] int, mated pairs of each identity.
  """
  pairs, accepted = int(mated_i.sum()), int(accepted_i.sum())
  if accepted in (0, pairs):
    trials = float(max(1, int((mated_i > 0).sum())))
    return wilson(trials * (accepted > 0), trials)
  share = accepted / pairs
  trials = min(max(share * (1 - share) * pairs**2 / _mated_variance(accepted_i, mated_i), 1.0), float(pairs))
  return wilson(share * trials, trials)


def _mated_variance(accepted_i: np.ndarray, mated_i: np.ndarray) -> float:
  """Variance of the number of accepted mated pairs, at least that of independent ones."""
  share = float(accepted_i.sum() / mated_i.sum())
  return max(float(((accepted_i - share * mated_i) ** 2).sum()), float(accepted_i.sum()) * (1 - share))


def _collect(
  pairs: PairPasses | ScoredPasses, points: dict[float, Operating], floors: dict[float, float], depth: int, seed: int
) -> dict[float, AllPairs]:
  """The non-mated pairs from each target's floor on, or a random part of them."""
  nonmated = pairs.counts()[1]
  wanted = {target: min(depth * (point.far * nonmated + FEWEST), nonmated) for target, point in points.items()}
  share = {target: min(1.0, KEPT / count) for target, count in wanted.items()}
  parts: dict[float, list[tuple[np.ndarray, ...]]] = {target: [] for target in points}
  random = np.random.default_rng(seed if not pairs.share[0] else (seed, pairs.share[0]))

  def receive(*columns: np.ndarray) -> None:
    for target, floor in floors.items():
      kept = columns[0] >= floor
      if share[target] < 1:
        kept &= random.random(len(kept)) < share[target]
      parts[target].append(tuple(column[kept] for column in columns))

  pairs.each_above(min(floors.values()), receive)
  identities = 1 + int(max(pairs.left_label.max(), pairs.right_label.max()))
  left_i, right_i = (np.bincount(label, minlength=identities) for label in (pairs.left_label, pairs.right_label))
  top = {}
  for target, part in parts.items():
    empty = (np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32))
    score_t, left_t, right_t = pairs.shared([np.concatenate(column) for column in zip(*part, empty)])
    order_t = np.argsort(-score_t, kind="stable")
    columns = score_t[order_t], left_t[order_t], right_t[order_t]
    top[target] = AllPairs(*columns, left_i, None if pairs.one_set else right_i, share[target], wanted[target] == nonmated)
  return top


def _mated(pairs: PairPasses | ScoredPasses, limit_tk: np.ndarray, identities: int) -> tuple[np.ndarray, np.ndarray]:
  """Mated pairs of each identity with at least each score [T, K, I], and all of them [I]."""
  accepted_tki, mated_i = np.zeros((*limit_tk.shape, identities)), np.zeros(identities)
  for score_p, label_p in pairs.mated_scores():
    mated_i += np.bincount(label_p, minlength=identities)
    for place in np.ndindex(limit_tk.shape):
      accepted_tki[place] += np.bincount(label_p[score_p >= limit_tk[place]], minlength=identities)
  return accepted_tki, mated_i


def _combined(fixed: float, moved: float, shared: float) -> float:
  """Distance of a limit: that at a fixed threshold and that of the threshold's choice, less what they have in common.

  More false accepts than expected raise the threshold and lower the TAR, while they go with more true accepts if `shared` is positive.
  """
  return math.sqrt(max(0.0, fixed * fixed + moved * moved - 2 * shared * fixed * moved))


__all__ = ["PairInterval", "all_pairs_intervals", "mated_interval", "scored_pairs_intervals"]
