"""Offline triplets: mined over the embeddings of a record set, and used as an order of records.

A round of offline training embeds the set, mines, and trains on the list for an epoch or so:

  triplet_t3 = mine(embedding_nd, label_n, mining="semi_hard")
  order = TripletOrder(triplet_t3, seed=round)      # with the term TripletLoss(mining="listed")

The list is a function of the embeddings, and the order of list and seed: a run resumes with the same list and its position.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.data.fingerprint import digest
from jaxface.data.order import Rows
from jaxface.data.permutation import keyed, permute
from jaxface.losses.distances import squared_l2
from jaxface.losses.mining import column_of
from jaxface.losses.ranges import check_name
from jaxface.losses.unit import unit_rows
from jaxface.seeds import Purpose

MINERS = ("semi_hard", "hard", "easy")


@jax.jit
def _nearest_beyond(
  anchor_ad: Array, label_a: Array, bound_ak: Array, other_md: Array, label_m: Array
) -> tuple[Array, Array]:
  """For each bound the nearest negative that is strictly farther: [A, K] distance, ∞ for none, and [A, K] row."""
  distance_am = squared_l2(anchor_ad, other_md)
  candidate_am = jnp.where(label_a[:, None] != label_m[None, :], distance_am, -jnp.inf)

  def beyond(bound_a: Array) -> tuple[Array, Array]:
    near_a = jnp.where(candidate_am > bound_a[:, None], candidate_am, jnp.inf).min(axis=1)
    return near_a, column_of(candidate_am, near_a)

  near_ka, row_ka = lax.map(beyond, bound_ak.T)
  return near_ka.T, row_ka.T


def mine(
  embedding_nd: np.ndarray, label_n: np.ndarray, *, mining: str = "semi_hard", margin: float = 0.2,
  anchor_a: np.ndarray | None = None, block: int = 1024,
) -> np.ndarray:
  """Triplets of a record set, by squared distances of unit embeddings.

  semi_hard: for every pair of two records of one identity, the nearest record of another identity that is farther than the
    positive by less than `margin`; a pair without one forms no triplet.
  hard: for every record its farthest positive and its nearest negative. On a complete set these are mostly records with a
    wrong label: meant for inspection, and for clean data.
  easy: for every record its nearest positive and its nearest negative.
  The only record of an identity is no anchor, but may be a negative. Ties are broken by the lowest record.

  Time is N·N·(D + K) with K the number of positives; memory is a few arrays of block × block and of block × K.

  Args:
    embedding_nd: [N, D] float, of any length.
    label_n: [N] int.
    mining: one of `MINERS`.
    margin: margin of `semi_hard`.
    anchor_a: records to use as anchors, with positives and negatives from the whole set; None for all.
    block: records per block of the matrix.
  Returns:
    [T, 3] int64 records: anchor, positive, negative, ordered by anchor.
  Raises:
    ValueError: unknown mining, arrays that do not match, an embedding that is not finite (names the record), float labels.
  """
  embedding_nd, label_n = np.asarray(embedding_nd), np.asarray(label_n)
  check_name("mining", mining, MINERS)
  if embedding_nd.ndim != 2 or label_n.shape != embedding_nd.shape[:1]:
    raise ValueError(f"embeddings {embedding_nd.shape} and labels {label_n.shape}: needs [N, D] and [N]")
  if not np.issubdtype(label_n.dtype, np.integer):
    raise ValueError(f"labels are {label_n.dtype}: identities must be integers")
  broken_n = np.flatnonzero(~np.isfinite(embedding_nd).all(1))
  if len(broken_n):
    raise ValueError(f"the embedding of record {broken_n[0]} is not finite ({len(broken_n)} such records)")

  _, label_n, count_c = np.unique(label_n, return_inverse=True, return_counts=True)
  label_n = label_n.astype(np.int32)
  unit_nd = np.asarray(unit_rows(jnp.asarray(embedding_nd))[0])
  anchor_a = np.arange(len(label_n)) if anchor_a is None else np.asarray(anchor_a)
  anchor_a = anchor_a[count_c[label_n[anchor_a]] > 1]
  # Groups anchors with similar numbers of positives, so that others do not wait for those with most.
  width_a = 1 << np.ceil(np.log2(count_c[label_n[anchor_a]] - 1)).astype(np.int64)
  found = [np.empty((0, 3), np.int64)]
  for width in np.unique(width_a):
    same_a = anchor_a[width_a == width]
    for start in range(0, len(same_a), block):
      part_a = same_a[start : start + block]
      positive_ak = _positives(label_n, count_c, part_a, int(width))
      found.append(_mine_anchors(unit_nd, label_n, part_a, positive_ak, mining, margin, block))
  triplet_t3 = np.concatenate(found)
  return triplet_t3[np.lexsort(triplet_t3.T[::-1])]


def _positives(label_n: np.ndarray, count_c: np.ndarray, anchor_a: np.ndarray, width: int) -> np.ndarray:
  """[A, width] records of the anchors' identities, ascending; -1 after the last."""
  by_label_n = np.argsort(label_n, kind="stable")
  first_a = (np.cumsum(count_c) - count_c)[label_n[anchor_a]][:, None]
  rank_a = np.argsort(by_label_n)[anchor_a][:, None] - first_a
  k = np.arange(width)
  exists_ak = k < count_c[label_n[anchor_a]][:, None] - 1
  place_ak = first_a + k + (k >= rank_a)
  return np.where(exists_ak, by_label_n[np.where(exists_ak, place_ak, 0)], -1)


def _mine_anchors(
  unit_nd: np.ndarray, label_n: np.ndarray, anchor_a: np.ndarray, positive_ak: np.ndarray, mining: str, margin: float,
  block: int,
) -> np.ndarray:
  """[T, 3] triplets of a block of anchors, with the candidates in blocks."""
  anchor_ad = unit_nd[anchor_a]
  own_ak = np.stack([((anchor_ad - unit_nd[record_a]) ** 2).sum(1) for record_a in positive_ak.T], axis=1)
  if mining == "semi_hard":
    bound_ak = own_ak
  else:
    worst = -np.inf if mining == "hard" else np.inf
    own_ak = np.where(positive_ak < 0, worst, own_ak)
    chosen_a1 = (own_ak.argmax(1) if mining == "hard" else own_ak.argmin(1))[:, None]
    positive_ak = np.take_along_axis(positive_ak, chosen_a1, 1)
    bound_ak = np.full(positive_ak.shape, -np.inf, own_ak.dtype)
  best_ak = np.full(bound_ak.shape, np.inf, bound_ak.dtype)
  negative_ak = np.zeros(bound_ak.shape, np.int64)
  for start in range(0, len(label_n), block):
    stop = start + block
    near_ak, row_ak = jax.device_get(
      _nearest_beyond(anchor_ad, label_n[anchor_a], bound_ak, unit_nd[start:stop], label_n[start:stop])
    )
    # Strictly nearer: of equal ones the first is kept.
    nearer_ak = near_ak < best_ak
    best_ak = np.where(nearer_ak, near_ak, best_ak)
    negative_ak = np.where(nearer_ak, start + row_ak, negative_ak)
  valid_ak = (positive_ak >= 0) & np.isfinite(best_ak)
  if mining == "semi_hard":
    valid_ak &= own_ak - best_ak + margin > 0
  row_t, k_t = np.nonzero(valid_ak)
  return np.stack([anchor_a[row_t], positive_ak[row_t, k_t], negative_ak[row_t, k_t]], axis=1)


class TripletOrder:
  """A list of triplets, each once per epoch in a new order: positions 3i, 3i + 1, 3i + 2 are one triplet.

  The batch size must be a multiple of 3 to keep triplets together.

  Args:
    triplet_t3: [T, 3] int records: anchor, positive, negative.
    seed: any integer; another seed gives another order.
    mined_from: digest of the embeddings, if the list was mined.
  Raises:
    ValueError: no triplets, 2³¹ or more, or another shape.
  """

  def __init__(self, triplet_t3: np.ndarray, seed: int = 0, mined_from: str = ""):
    self.triplet_t3 = np.asarray(triplet_t3, np.int64)
    if self.triplet_t3.ndim != 2 or self.triplet_t3.shape[1] != 3 or not 1 <= len(self.triplet_t3) < 2**31:
      raise ValueError(f"an order of triplets needs [T, 3] records, T at least 1 and less than 2³¹, not {self.triplet_t3.shape}")
    self.seed, self.mined_from = seed, mined_from

  def fingerprint(self) -> dict[str, Any]:
    """Digests of the list and of the embeddings."""
    return {"embeddings_sha256": self.mined_from, "triplets": len(self.triplet_t3), "triplets_sha256": digest([self.triplet_t3])}

  def rows(self, start: int, stop: int) -> Rows:
    """Records at the positions [start, stop).

    Args:
      start: first global position, from 0.
      stop: the position after the last.
    Returns:
      source [N] int32 (all 0), record [N] int64, occurrence [N] int64 (number of earlier occurrences of the triplet).
    """
    number_n, role_n = np.divmod(np.arange(start, stop), 3)
    epoch_n, index_n = np.divmod(number_n, len(self.triplet_t3))
    triplet_n = permute(index_n, len(self.triplet_t3), keyed(self.seed, Purpose.TRIPLETS, epoch_n))
    return np.zeros(len(role_n), np.int32), self.triplet_t3[triplet_n, role_n], epoch_n


__all__ = ["MINERS", "TripletOrder", "mine"]
