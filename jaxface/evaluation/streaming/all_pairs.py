"""Exact TAR at FAR over all pairs of embeddings, whose scores are never stored.

  point = all_pairs_tar_at_far(embedding_nd, label_n, [1e-6])[1e-6]     # as tar_at_far(roc(all scores, same), 1e-6)
  counts = count_all_pairs(embedding_nd, label_n, [0.3, 0.4])          # accepted pairs at thresholds

docs/evaluation_at_scale.md explains the method.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxface.evaluation.measures.roc import Operating, allowed_errors
from jaxface.evaluation.streaming.pair_passes import PairPasses
from jaxface.evaluation.streaming.score_band import BOTTOM, Found, ScoreBand
from jaxface.evaluation.streaming.score_blocks import Layout, Rows
from jaxface.evaluation.streaming.scored_passes import ScoredPasses


class PairCounts(NamedTuple):
  """Accepted pairs at thresholds.

  Attributes:
    threshold: [T] float64.
    false_accepts: [T] int64, non-mated pairs with score >= threshold.
    true_accepts: [T] int64, mated pairs with score >= threshold.
    nonmated, mated: number of pairs.
  """

  threshold: np.ndarray
  false_accepts: np.ndarray
  true_accepts: np.ndarray
  nonmated: int
  mated: int


def all_pairs_tar_at_far(
  embedding_nd: Rows,
  label_n: np.ndarray,
  targets: Sequence[float],
  *,
  gallery_md: Rows | None = None,
  gallery_label_m: np.ndarray | None = None,
  devices: Sequence[jax.Device] | None = None,
  rows: int | None = None,
  hosts: bool = False,
) -> dict[float, Operating]:
  """The largest TAR with a FAR of at most each target, over all pairs of one set, or of probes and a gallery.

  Equal, bit for bit, to `tar_at_far` of the ROC of all scores in float64. Memory does not depend on the number of embeddings
  (apart from their labels). One pass over all products is enough for small targets; a target above 1e-2, or a first
  guess that failed, needs a few.

  Args:
    embedding_nd: [N, D] float, not necessarily normalised: an array, a memory map, `EmbeddingRows`. Each pair i < j is
      counted once.
    label_n: [N] int or text, identities.
    targets: FARs in [0, 1].
    gallery_md: [M, D]; if given, the pairs are those of an embedding with one of the gallery.
    gallery_label_m: [M], identities of the gallery.
    devices: devices over which the columns of each block are split; default: all of this process.
    rows: rows of a block, which determine memory and speed, not the result; default 2,048.
    hosts: whether all processes of the run (`jax.distributed`) share the pairs. Each must call it with the same embeddings, and gets the same result.
  Returns:
    `Operating` (TAR, actual FAR, threshold) by target.
  Raises:
    ValueError: shapes that do not fit, an embedding that is zero or not finite, no mated or no non-mated pairs, a target
      outside [0, 1].
  """
  pairs = PairPasses.of(embedding_nd, label_n, gallery_md, gallery_label_m, Layout.of(devices, rows), hosts)
  return operating_points(pairs, targets)[0]


def operating_points(
  pairs: PairPasses | ScoredPasses, targets: Sequence[float], further: Callable[[int], int] | None = None
) -> tuple[dict[float, Operating], dict[float, float]]:
  """`all_pairs_tar_at_far` of given pairs.

  Args:
    pairs: all pairs.
    targets: FARs in [0, 1].
    further: position of a lower score that is also wanted, by the number of false accepts that a target allows.
  Returns:
    `Operating` by target, and the further score by target.
  Raises:
    ValueError: as `all_pairs_tar_at_far`.
  """
  for target in targets:
    if not 0 <= target <= 1:
      raise ValueError(f"target FAR {target}: it must lie in [0, 1]")
  mated, nonmated = pairs.counts()
  if not mated or not nonmated:
    raise ValueError(f"{mated} mated and {nonmated} non-mated pairs: TAR at FAR needs at least one of each")
  allowed = {target: allowed_errors(target, nonmated) for target in targets}
  # The first rejected score; if all may be accepted, the lowest.
  deeper = {target: min(further(count), nonmated - 1) for target, count in allowed.items()} if further else {}
  found = pairs.order_statistics({min(count, nonmated - 1) for count in allowed.values()} | set(deeper.values()), nonmated)
  lower = {target: found[position].score for target, position in deeper.items()}
  for count in allowed.values():
    point = found[min(count, nonmated - 1)]
    if count < nonmated and point.next_above is None and point.above:
      next_above = pairs.order_statistics({point.above - 1}, nonmated)[point.above - 1].score
      found[count] = point._replace(next_above=next_above)
  rejected = [found[count].score if count < nonmated else -np.inf for count in allowed.values()]
  accepted_t, least_t = pairs.mated_above(np.array(rejected))
  result = {}
  for (target, count), score, accepted, least in zip(allowed.items(), rejected, accepted_t, least_t):
    point = found[min(count, nonmated - 1)]
    if count == nonmated:
      point = Found(score, nonmated, point.score)
    threshold = min(least, np.inf if point.next_above is None else point.next_above)
    if not np.isfinite(threshold):
      threshold = np.nextafter(score, np.inf)
    result[target] = Operating(int(accepted) / mated, point.above / nonmated, float(threshold))
  return result, lower


def count_all_pairs(
  embedding_nd: Rows,
  label_n: np.ndarray,
  thresholds: Sequence[float],
  *,
  gallery_md: Rows | None = None,
  gallery_label_m: np.ndarray | None = None,
  devices: Sequence[jax.Device] | None = None,
  rows: int | None = None,
  hosts: bool = False,
) -> PairCounts:
  """Exact numbers of accepted pairs at thresholds, in one pass over all pairs.

  Args:
    embedding_nd, label_n, gallery_md, gallery_label_m, devices, rows, hosts: as `all_pairs_tar_at_far`.
    thresholds: cosines; a pair is accepted where score >= threshold.
  Returns:
    `PairCounts`.
  Raises:
    ValueError: as `all_pairs_tar_at_far`; pairs of one kind may be absent.
  """
  pairs = PairPasses.of(embedding_nd, label_n, gallery_md, gallery_label_m, Layout.of(devices, rows), hosts)
  threshold = np.asarray(thresholds, np.float64)
  if threshold.ndim != 1 or not np.isfinite(threshold).all():
    raise ValueError(f"thresholds {threshold}: they must be finite numbers")
  # Every score is at least BOTTOM; a pair that is left out has a lower product.
  bands = [ScoreBand(value, value) for value in np.maximum(threshold, BOTTOM).tolist()]
  pairs.scan(bands)
  # Those above the number before a threshold are those of at least the threshold.
  accepted_t, _ = pairs.mated_above(np.nextafter(threshold, -np.inf))
  mated, nonmated = pairs.counts()
  return PairCounts(threshold, np.array([band.above for band in bands], np.int64), accepted_t, nonmated, mated)


__all__ = ["PairCounts", "all_pairs_tar_at_far", "count_all_pairs", "operating_points"]
