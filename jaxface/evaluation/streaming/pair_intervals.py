"""95 % intervals of TAR at FAR over all pairs of embeddings, over identities.

  found = all_pairs_intervals(embedding_nd, label_n, [1e-6])[1e-6]
  found.point.tar, found.tar                                # 0.83, (0.82, 0.84)

The number of false accepts at a threshold has the variance of the U-statistic: the sum over all pairs of pairs that share an identity.
Its ratio to that of independent pairs is the *design factor* d. With λ = target · non-mated pairs, the threshold whose FAR is the
target has λ ± 1.96 √(λ d) false accepts in 95 % of samples: the scores at these two positions are the threshold's interval. That of TAR
combines the change of TAR between these scores and the interval of TAR at a fixed threshold, with their correlation (MOVER).
Sources: Fogliato, Patil, Perona, "Confidence Intervals for Error Rates in 1:1 Matching Tasks", 2023; Zou, "Toward Using Confidence
Intervals to Compare Correlations", 2007.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxface.evaluation.intervals.figure_intervals import Interval
from jaxface.evaluation.intervals.rates import Z95, wilson
from jaxface.evaluation.measures.roc import Operating
from jaxface.evaluation.streaming.all_pairs import operating_points
from jaxface.evaluation.streaming.pair_passes import PairPasses
from jaxface.evaluation.streaming.score_blocks import Layout, Rows

# Non-mated pairs that are kept for each target: 24 MB. Of more, a random part.
KEPT = 2**20
# The design factor is estimated from at least this many false accepts.
FEWEST = 30


class PairInterval(NamedTuple):
  """TAR at one FAR and 95 % intervals over identities.

  Attributes:
    point: TAR, actual FAR and threshold, as `all_pairs_tar_at_far`.
    tar: of the TAR at the threshold whose FAR in the population is the target.
    far: of the FAR in the population at the threshold `point.threshold`.
    threshold: of the threshold whose FAR in the population is the target; up to 1 where fewer than four false accepts are expected.
    design: variance of the number of false accepts, in that of independent pairs; at least 1.
  """

  point: Operating
  tar: Interval
  far: Interval
  threshold: Interval
  design: float


class NonmatedPairs(NamedTuple):
  """The non-mated pairs with the highest scores, or a random part of them.

  Attributes:
    score_q: [Q] float64, falling.
    left_q, right_q: [Q] int, numbers of the identities.
    share: probability with which a pair was kept.
  """

  score_q: np.ndarray
  left_q: np.ndarray
  right_q: np.ndarray
  share: float

  def at(self, position: int) -> float:
    """The score at a position among all scores, from 0; 1 before the first, −1 after the last."""
    place = int(position * self.share) if position >= 0 else -1
    return 1.0 if place < 0 else float(self.score_q[place]) if place < len(self.score_q) else -1.0


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
) -> dict[float, PairInterval]:
  """TAR at each target FAR, over all pairs of one set, or of probes and a gallery, with 95 % intervals over identities.

  Takes one pass over all products more than `all_pairs_tar_at_far`, and no more memory with more embeddings, apart from numbers by
  identity. The identities are taken as independent draws from a population.

  Args:
    embedding_nd, label_n, targets, gallery_md, gallery_label_m, devices, rows: as `all_pairs_tar_at_far`.
    seed: chooses the pairs that are kept where a target has more than 2¹⁸ false accepts.
  Returns:
    `PairInterval` by target.
  Raises:
    ValueError: as `all_pairs_tar_at_far`.
  """
  pairs = PairPasses.of(embedding_nd, label_n, gallery_md, gallery_label_m, Layout.of(devices, rows))
  result: dict[float, PairInterval] = {}
  depth, waiting = 4, list(dict.fromkeys(targets))
  while waiting:  # again with more pairs, in the rare case that identities share so many that the interval reaches further
    points, floors = operating_points(pairs, waiting, lambda count, depth=depth: depth * (count + FEWEST))  # type: ignore[misc]
    result |= _intervals(pairs, points, floors, depth, seed)
    waiting, depth = [target for target in waiting if target not in result], 4 * depth
  return {target: result[target] for target in targets}


def _intervals(
  pairs: PairPasses, points: dict[float, Operating], floors: dict[float, float], depth: int, seed: int
) -> dict[float, PairInterval]:
  """Intervals of the targets whose threshold's interval lies above the floor."""
  mated, nonmated = pairs.counts()
  sides = _sizes(pairs)
  top = _collect(pairs, points, floors, depth, seed)
  design, reach, sums = {}, {}, {}
  for target, point in points.items():
    accepts = min(max(round(point.far * nonmated), FEWEST), nonmated)
    design[target], sums[target] = design_factor(top[target], accepts, *sides, pairs.one_set)
    expected = target * nonmated
    half = Z95 * math.sqrt(expected * design[target])
    low, high = math.floor(expected - half), math.ceil(expected + half)
    if high >= nonmated or high * top[target].share < len(top[target].score_q):
      reach[target] = min(top[target].at(high), point.threshold), max(top[target].at(max(low, 0) - 1), point.threshold)
  limits = np.array([[points[target].threshold, *reach[target]] for target in reach]).reshape(-1, 3)
  accepted_tki, mated_i = _mated(pairs, limits, len(sides[0]))
  result = {}
  for (target, limit), accepted_ki in zip(reach.items(), accepted_tki):
    point, factor = points[target], design[target]
    tar, wider, narrower = (accepted_ki.sum(1) / mated).tolist()
    trials = max(1.0, nonmated / factor)
    far = wilson(min(point.far * trials, trials), trials)
    residual_i = accepted_ki[0] - tar * mated_i
    variance = max(float((residual_i**2).sum()), mated * tar * (1 - tar))
    independent = mated * tar * (1 - tar) * mated / variance if variance else float(np.count_nonzero(mated_i))
    fixed = wilson(min(tar * independent, independent), independent) if independent >= 1 else (0.0, 1.0)
    scale = math.sqrt(variance * float((sums[target] ** 2).sum()))
    shared = float(np.clip((residual_i * sums[target]).sum() / scale, -1, 1)) if scale else 0.0
    low = tar - _combined(tar - fixed[0], tar - narrower, shared)
    high = tar + _combined(fixed[1] - tar, wider - tar, shared)
    result[target] = PairInterval(point, (max(0.0, low), min(1.0, high)), far, limit, factor)
  return result


def design_factor(
  top: NonmatedPairs, accepts: int, left_i: np.ndarray, right_i: np.ndarray, one_set: bool
) -> tuple[float, np.ndarray]:
  """Variance of the number of false accepts, in that of independent pairs.

  Args:
    top: the pairs with the highest scores.
    accepts: how many of all pairs are accepted.
    left_i, right_i: [I] number of embeddings of each identity on both sides.
    one_set: both sides are one set, and pairs have i < j.
  Returns:
    The factor, at least 1; and [I] false accepts of each identity, minus the number expected of its pairs.
  """
  half = 0.5 if one_set else 1.0
  total_left, total_right = float(left_i.sum()), float(right_i.sum())
  pairs_i = half * (left_i * (total_right - right_i) + right_i * (total_left - left_i))
  rate = accepts / (pairs_i.sum() / 2)
  kept = max(1, round(accepts * top.share))
  left_q, right_q = top.left_q[:kept].astype(np.int64), top.right_q[:kept].astype(np.int64)
  count_i = np.bincount(left_q, minlength=len(left_i)) + np.bincount(right_q, minlength=len(left_i))
  sum_i = count_i / top.share - rate * pairs_i
  # Squares of counts of a random part are too large by the variance of the choice.
  excess = (1 - top.share) / top.share**2
  key, count_k = np.unique(np.minimum(left_q, right_q) * len(left_i) + np.maximum(left_q, right_q), return_counts=True)
  one_k, two_k = key // len(left_i), key % len(left_i)
  size_k = half * (left_i[one_k] * right_i[two_k] + left_i[two_k] * right_i[one_k])
  square_left, square_right = float((left_i**2).sum()), float((right_i**2).sum())
  size_square = half**2 * (square_left * square_right + float((left_i * right_i).sum()) ** 2 - 2 * float((left_i**2 * right_i**2).sum()))
  of_unit = float((sum_i**2).sum()) - excess * float(count_i.sum())
  # Pairs of the same two identities were counted at both.
  of_two = float(((count_k / top.share) ** 2).sum()) - excess * kept - 2 * rate * float((count_k * size_k).sum()) / top.share
  of_two += rate**2 * size_square
  independent = accepts * (1 - rate)
  return float(max(1.0, (of_unit - of_two) / independent)) if independent > 0 else 1.0, sum_i


def _sizes(pairs: PairPasses) -> tuple[np.ndarray, np.ndarray]:
  identities = 1 + int(max(pairs.left_label.max(), pairs.right_label.max()))
  left_i, right_i = (np.bincount(label, minlength=identities).astype(np.float64) for label in (pairs.left_label, pairs.right_label))
  return left_i, right_i


def _collect(
  pairs: PairPasses, points: dict[float, Operating], floors: dict[float, float], depth: int, seed: int
) -> dict[float, NonmatedPairs]:
  """The non-mated pairs from each target's floor on, or a random part of them."""
  nonmated = pairs.counts()[1]
  wanted = {target: min(depth * (point.far * nonmated + FEWEST), nonmated) for target, point in points.items()}
  share = {target: min(1.0, KEPT / count) for target, count in wanted.items()}
  parts: dict[float, list[tuple[np.ndarray, ...]]] = {target: [] for target in points}
  random = np.random.default_rng(seed)

  def receive(*columns: np.ndarray) -> None:
    for target, floor in floors.items():
      kept = columns[0] >= floor
      if share[target] < 1:
        kept &= random.random(len(kept)) < share[target]
      parts[target].append(tuple(column[kept] for column in columns))

  pairs.each_above(min(floors.values()), receive)
  top = {}
  for target, part in parts.items():
    score_q, left_q, right_q = (np.concatenate(column) for column in zip(*part))
    order = np.argsort(-score_q, kind="stable")
    top[target] = NonmatedPairs(score_q[order], left_q[order], right_q[order], share[target])
  return top


def _mated(pairs: PairPasses, limit_tk: np.ndarray, identities: int) -> tuple[np.ndarray, np.ndarray]:
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


__all__ = ["NonmatedPairs", "PairInterval", "all_pairs_intervals", "design_factor"]
