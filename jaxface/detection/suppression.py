"""Non-maximum suppression: hard, soft and by averaging, on arrays of any length; the first two of a fixed length inside `jax.jit` too."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.geometry.rectangles import check_boxes, overlaps

DECAYS = ("gaussian", "linear")
# Rows of boxes whose overlaps with all others are computed at once, which bounds memory.
_ROWS = 512


def nms(
  box_n4: np.ndarray, score_n: np.ndarray, threshold: float, *, of: str = "union", inclusive: bool = False,
  group_n: np.ndarray | None = None,
) -> np.ndarray:
  """Greedy suppression: takes the box with the highest score, drops those that overlap it by more than the threshold, repeats.

  Args:
    box_n4: [N, 4] boxes.
    score_n: [N] scores; of equal ones, the first comes first.
    threshold: greatest overlap of two boxes that are both kept.
    of, inclusive: see `overlaps`.
    group_n: [N] integers; boxes of different groups (photos, scales) do not suppress each other.
  Returns:
    Indices of the kept boxes, by falling score.
  Raises:
    ValueError: lengths differ, or a score or a coordinate is NaN.
  """
  box_n4, score_n, group_n = _checked(box_n4, score_n, group_n)
  waiting = np.argsort(-score_n, kind="stable")
  kept = []
  while len(waiting):
    best, rest = waiting[0], waiting[1:]
    kept.append(best)
    overlap = overlaps(box_n4[best][None], box_n4[rest], of=of, inclusive=inclusive)[0]
    waiting = rest[(overlap <= threshold) | (group_n[rest] != group_n[best])]
  return np.array(kept, dtype=np.int64)


def soft_nms(
  box_n4: np.ndarray, score_n: np.ndarray, *, decay: str = "gaussian", sigma: float = 0.5, threshold: float = 0.3,
  least: float = 0.001, of: str = "union", inclusive: bool = False, group_n: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Soft suppression: a box that overlaps a better one gets a lower score instead of being dropped.

  Args:
    box_n4: [N, 4] boxes.
    score_n: [N] scores, not negative; of equal ones, the first comes first.
    decay: factor for overlap o: "gaussian", exp(−o² / sigma); "linear", 1 − o where o is above `threshold`.
    sigma: width of the Gaussian.
    threshold: overlap from which the linear decay begins.
    least: boxes whose score falls below it are dropped.
    of, inclusive, group_n: see `nms`.
  Returns:
    Indices of the kept boxes by falling new score, and their new scores.
  Raises:
    ValueError: an unknown decay, a sigma that is not positive, or as for `nms`.
  Source: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017.
  """
  _check_decay(decay, sigma)
  box_n4, score_n, group_n = _checked(box_n4, score_n, group_n)
  left_n = score_n.astype(np.float64)
  waiting = np.arange(len(left_n))[left_n >= least]
  kept, scores = [], []
  while len(waiting):
    at = np.argmax(left_n[waiting])
    best, waiting = waiting[at], np.delete(waiting, at)
    kept.append(best)
    scores.append(left_n[best])
    overlap = overlaps(box_n4[best][None], box_n4[waiting], of=of, inclusive=inclusive)[0]
    factor = np.exp(-(overlap**2) / sigma) if decay == "gaussian" else np.where(overlap > threshold, 1 - overlap, 1)
    left_n[waiting] *= np.where(group_n[waiting] == group_n[best], factor, 1)
    waiting = waiting[left_n[waiting] >= least]
  return np.array(kept, dtype=np.int64), np.array(scores)


def nms_average(
  box_n4: np.ndarray, score_n: np.ndarray, threshold: float, *, share: float = 0.9, of: str = "union", inclusive: bool = False,
  group_n: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Suppression by averaging: each cluster of boxes gives one, the mean of its best ones, with its highest score.

  Two boxes that overlap by more than the threshold are in one cluster, and so are those that a chain of such boxes connects.

  Args:
    box_n4: [N, 4] boxes.
    score_n: [N] scores, not negative; of equal ones, the first comes first.
    threshold: greatest overlap of two boxes that do not connect their clusters.
    share: boxes of a cluster with a score below this share of its highest one are not averaged.
    of, inclusive, group_n: see `nms`.
  Returns:
    Indices of the best box of each cluster by falling score, and [M, 4] float64 averaged boxes.
  Raises:
    ValueError: a share outside of 0..1, or as for `nms`.
  Source: Farfade, Saberian, Li, "Multi-view Face Detection Using Deep Convolutional Neural Networks", 2015: NMS-avg.
  """
  from scipy.sparse import coo_array
  from scipy.sparse.csgraph import connected_components

  if not 0 <= share <= 1:
    raise ValueError(f"share is {share}, should be in 0..1")
  box_n4, score_n, group_n = _checked(box_n4, score_n, group_n)
  if not len(score_n):
    return np.zeros(0, np.int64), np.zeros((0, 4))
  box_n4 = box_n4.astype(np.float64)
  firsts, seconds = [], []
  for start in range(0, len(score_n), _ROWS):
    part = slice(start, start + _ROWS)
    close = (overlaps(box_n4[part], box_n4, of=of, inclusive=inclusive) > threshold) & (group_n[part, None] == group_n)
    first_p, second_p = np.nonzero(close)
    firsts.append(first_p + start)
    seconds.append(second_p)
  first_p, second_p = np.concatenate(firsts), np.concatenate(seconds)
  graph = coo_array((np.ones(len(first_p), bool), (first_p, second_p)), (len(score_n), len(score_n)))
  count, cluster_n = connected_components(graph, directed=False)
  order = np.argsort(-score_n, kind="stable")
  best_m = order[np.unique(cluster_n[order], return_index=True)[1]]
  averaged = score_n >= share * score_n[best_m][cluster_n]
  weight_m = np.bincount(cluster_n, averaged, count)
  box_m4 = np.stack([np.bincount(cluster_n, averaged * side_n, count) / weight_m for side_n in box_n4.T], -1)
  falling = np.lexsort((best_m, -score_n[best_m]))
  return best_m[falling], box_m4[falling]


def nms_mask(
  box_n4: Array, score_n: Array, valid_n: Array, threshold: Any, *, of: str = "union", inclusive: bool = False,
  group_n: Array | None = None,
) -> Array:
  """`nms` of a fixed number of rows, for `jax.jit`: which ones are kept.

  Time is proportional to N times the number of rows that are kept.

  Args:
    box_n4: [N, 4] boxes.
    score_n: [N] scores; of equal ones, the first comes first.
    valid_n: [N] bool; other rows are padding, neither kept nor suppressing.
    threshold, of, inclusive, group_n: see `nms`.
  Returns:
    [N] bool, in the order of the arguments.
  """
  order_n = jnp.argsort(jnp.where(valid_n, -score_n, jnp.inf), stable=True)
  sorted_n4 = box_n4[order_n]
  sorted_group_n = jnp.zeros(len(score_n), jnp.int32) if group_n is None else group_n[order_n]
  later_n = jnp.arange(len(score_n))

  def suppress(state: tuple[Array, Array]) -> tuple[Array, Array]:
    kept_n, row = state
    overlap_n = overlaps(lax.dynamic_slice_in_dim(sorted_n4, row, 1), sorted_n4, of=of, inclusive=inclusive)[0]
    dropped_n = (overlap_n > threshold) & (later_n > row) & (sorted_group_n == sorted_group_n[row])
    kept_n = kept_n & ~dropped_n
    return kept_n, next_kept(kept_n, row)

  def next_kept(kept_n: Array, row: Array) -> Array:
    after_n = kept_n & (later_n > row)
    return jnp.where(after_n.any(), jnp.argmax(after_n), len(score_n))

  first_n = valid_n[order_n]
  start = (first_n, next_kept(first_n, jnp.asarray(-1)))
  kept_n = lax.while_loop(lambda state: state[1] < len(score_n), suppress, start)[0]
  return jnp.zeros_like(kept_n).at[order_n].set(kept_n)


def soft_nms_scores(
  box_n4: Array, score_n: Array, valid_n: Array, *, decay: str = "gaussian", sigma: float = 0.5, threshold: float = 0.3,
  least: float = 0.001, of: str = "union", inclusive: bool = False, group_n: Array | None = None,
) -> Array:
  """`soft_nms` of a fixed number of rows, for `jax.jit`: the new scores.

  Args:
    box_n4: [N, 4] boxes.
    score_n: [N] scores, not negative.
    valid_n: [N] bool; other rows are padding.
    decay, sigma, threshold, least, of, inclusive, group_n: see `soft_nms`.
  Returns:
    [N] new scores, in the order of the arguments; 0 for boxes that are dropped and for padding.
  """
  _check_decay(decay)
  groups_n = jnp.zeros(len(score_n), jnp.int32) if group_n is None else group_n

  def lower(state: tuple[Array, Array]) -> tuple[Array, Array]:
    left_n, waiting_n = state
    best = jnp.argmax(jnp.where(waiting_n, left_n, -jnp.inf))
    waiting_n = waiting_n.at[best].set(False)
    overlap_n = overlaps(lax.dynamic_slice_in_dim(box_n4, best, 1), box_n4, of=of, inclusive=inclusive)[0]
    factor_n = jnp.exp(-(overlap_n**2) / sigma) if decay == "gaussian" else jnp.where(overlap_n > threshold, 1 - overlap_n, 1)
    left_n = jnp.where(waiting_n & (groups_n == groups_n[best]), left_n * factor_n, left_n)
    left_n = jnp.where(waiting_n & (left_n < least), 0, left_n)
    return left_n, waiting_n & (left_n > 0)

  first_n = jnp.where(valid_n & (score_n >= least), score_n, 0)
  return lax.while_loop(lambda state: state[1].any(), lower, (first_n, first_n > 0))[0]


def _checked(box_n4: Any, score_n: Any, group_n: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  box_n4, score_n = np.asarray(check_boxes("box_n4", box_n4)), np.asarray(score_n)
  group_n = np.zeros(len(score_n), np.int64) if group_n is None else np.asarray(group_n)
  if not len(box_n4) == len(score_n) == len(group_n):
    raise ValueError(f"{len(box_n4)} boxes, {len(score_n)} scores and {len(group_n)} groups: expected one of each per box")
  if np.isnan(box_n4).any() or np.isnan(score_n).any():
    row = int(np.flatnonzero(np.isnan(box_n4).any(-1) | np.isnan(score_n))[0])
    raise ValueError(f"box {row} is {box_n4[row].tolist()} with score {score_n[row]}: NaN has no order")
  return box_n4, score_n, group_n


def _check_decay(decay: str, sigma: float = 1.0) -> None:
  if decay not in DECAYS:
    raise ValueError(f"decay {decay!r}: takes {', '.join(DECAYS)}")
  if not sigma > 0:
    raise ValueError(f"sigma is {sigma}, should be positive")


__all__ = ["DECAYS", "nms", "nms_average", "nms_mask", "soft_nms", "soft_nms_scores"]
