"""Triplet mining on the distance matrix of a batch, with anchors in rows and all anchor–positive pairs considered.

A *pair* is two different rows of one identity; (anchor, positive) and (positive, anchor) are two pairs. A *negative* of an
anchor is a row of another identity. Rows of weight 0 are padding: neither anchor, positive nor negative, even if they hold NaN.
Identities may have any number of images: pass k handles the k-th positive of every anchor, and the number of passes is the
largest number of positives of an anchor. A pass takes O(B²) time and memory; there is no B×B×B array. Ties are broken by the
lowest row.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp
from jax import Array

from jaxface.losses.groups import group, kth_positive
from jaxface.losses.ranges import check_labels, check_name

MINERS = ("all", "semi_hard", "hard", "easy")
REACHES = ("inside", "beyond", "farthest")


class Triplets(NamedTuple):
  """At most one triplet for each anchor; distances are undefined where `valid_b` is false.

  Attributes:
    positive_b: [B] int32 row of the positive.
    negative_b: [B] int32 row of the negative.
    positive_distance_b: [B].
    negative_distance_b: [B].
    valid_b: [B] bool, whether there is a triplet.
  """

  positive_b: Array
  negative_b: Array
  positive_distance_b: Array
  negative_distance_b: Array
  valid_b: Array


class Mining(NamedTuple):
  """Mined triplets, computed pass by pass.

  Attributes:
    passes: number of passes: an int, or a scalar for `lax.fori_loop`.
    take: returns the triplets of pass k.
  """

  passes: Array | int
  take: Callable[[Array | int], Triplets]


class Pairs(NamedTuple):
  """All triplets, as pairs computed pass by pass, each with all negatives of its anchor.

  Attributes:
    passes: as in `Mining`.
    take: returns for pass k and each anchor: [B] int32 row of a positive, [B] its distance, [B] bool whether there is one.
    other_bb: [B, B] bool, negatives of the anchor in rows.
  """

  passes: Array | int
  take: Callable[[Array | int], tuple[Array, Array, Array]]
  other_bb: Array


def check_batch(distance_bb: Array, label_b: Array, weight_b: Array | None) -> Array:
  """Checks a batch and returns which rows are not padding.

  Args:
    distance_bb: [B, B] float.
    label_b: [B] int.
    weight_b: [B], or None for ones.
  Returns:
    [B] bool, false for padding.
  Raises:
    AssertionError: ranks or sizes differ.
    TypeError: labels are not integers.
  """
  chex.assert_rank([distance_bb, label_b], [2, 1])
  chex.assert_shape(distance_bb, (len(label_b), len(label_b)))
  check_labels(label_b)
  if weight_b is None:
    return jnp.ones(label_b.shape, bool)
  chex.assert_equal_shape([label_b, weight_b])
  return weight_b > 0


def same_and_other(label_b: Array, live_b: Array) -> tuple[Array, Array]:
  """Masks of pairs and of negatives.

  Args:
    label_b: [B] int.
    live_b: [B] bool.
  Returns:
    [B, B] bool each, anchors in rows; the diagonal is in neither.
  """
  both_bb = live_b[:, None] & live_b[None, :]
  equal_bb = label_b[:, None] == label_b[None, :]
  return both_bb & equal_bb & ~jnp.eye(len(label_b), dtype=bool), both_bb & ~equal_bb


def column_of(matrix_nm: Array, value_n: Array) -> Array:
  """The first column that equals a value in each row.

  After a plain minimum this is several times faster than an argmin that is not vectorised, and costs nothing if the result is
  unused.

  Args:
    matrix_nm: [N, M].
    value_n: [N].
  Returns:
    [N] int32, the last column if the value does not occur.
  """
  last = matrix_nm.shape[1] - 1
  # Indices in float32, exact up to 2²⁴: integer minima are slower.
  column_m = jnp.arange(last + 1, dtype=jnp.float32)
  return jnp.where(matrix_nm == value_n[:, None], column_m, jnp.float32(last)).min(axis=1).astype(jnp.int32)


def lowest(distance_nm: Array, mask_nm: Array) -> tuple[Array, Array]:
  """Smallest masked entry of each row and its first column.

  Args:
    distance_nm: [N, M] float.
    mask_nm: [N, M] bool, the entries to consider.
  Returns:
    [N] distance, ∞ where the mask is empty; [N] int32 column.
  """
  masked_nm = jnp.where(mask_nm, distance_nm, jnp.inf)
  low_n = masked_nm.min(axis=1)
  return low_n, column_of(masked_nm, low_n)


def highest(distance_nm: Array, mask_nm: Array) -> tuple[Array, Array]:
  """As `lowest`, for the largest entry; −∞ where the mask is empty."""
  low_n, column_n = lowest(-distance_nm, mask_nm)
  return -low_n, column_n


def _at(distance_bb: Array, column_b: Array) -> Array:
  return jnp.take_along_axis(distance_bb, column_b[:, None], axis=1)[:, 0]


def every(distance_bb: Array, label_b: Array, weight_b: Array | None = None) -> Pairs:
  """Batch-all: every pair with every negative of its anchor.

  An anchor without a positive, or without a negative, forms no triplet.

  Args:
    distance_bb: [B, B], anchors in rows.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
  Returns:
    As many passes as the largest number of positives of an anchor.
  """
  live_b = check_batch(distance_bb, label_b, weight_b)
  groups = group(label_b, live_b)

  def take(k: Array | int) -> tuple[Array, Array, Array]:
    positive_b, valid_b = kth_positive(groups, k)
    return positive_b, _at(distance_bb, positive_b), valid_b

  return Pairs(groups.positives_b.max(initial=0), take, same_and_other(label_b, live_b)[1])


def hard(distance_bb: Array, label_b: Array, weight_b: Array | None = None) -> Mining:
  """Batch-hard: one triplet per anchor, of its farthest positive and its nearest negative.

  An anchor without a positive, or without a negative, forms none.

  Args:
    distance_bb: [B, B], anchors in rows.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
  Returns:
    One pass.
  Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, eq. 5.
  """
  same_bb, other_bb = same_and_other(label_b, check_batch(distance_bb, label_b, weight_b))
  far_b, positive_b = highest(distance_bb, same_bb)
  near_b, negative_b = lowest(distance_bb, other_bb)
  triplets = Triplets(positive_b, negative_b, far_b, near_b, jnp.isfinite(far_b) & jnp.isfinite(near_b))
  return Mining(1, lambda k: triplets)


def easy(distance_bb: Array, label_b: Array, weight_b: Array | None = None) -> Mining:
  """Easy positives: one triplet per anchor, of its nearest positive and its nearest negative.

  An identity may then form several clusters, as long as every image has a neighbour of its identity. (The easiest triplet, with
  the *farthest* negative, would have zero loss almost always.) An anchor without a positive, or without a negative, forms none.

  Args:
    distance_bb: [B, B], anchors in rows.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
  Returns:
    One pass.
  Source: Xuan, Stylianou, Pless, "Improved Embeddings with Easy Positive Triplet Mining", 2020.
  """
  same_bb, other_bb = same_and_other(label_b, check_batch(distance_bb, label_b, weight_b))
  own_b, positive_b = lowest(distance_bb, same_bb)
  near_b, negative_b = lowest(distance_bb, other_bb)
  triplets = Triplets(positive_b, negative_b, own_b, near_b, jnp.isfinite(own_b) & jnp.isfinite(near_b))
  return Mining(1, lambda k: triplets)


def semi_hard(
  distance_bb: Array, label_b: Array, weight_b: Array | None = None, *, margin: float = 0.2, reach: str = "inside",
) -> Mining:
  """Semi-hard: for every pair the nearest of the anchor's negatives that are strictly farther than the positive.

  `reach` selects which negatives qualify, and the treatment of a pair without one:
    inside: the negative must be less than `margin` farther than the positive; else the pair forms no triplet.
    beyond: at any distance; a pair whose negatives are all as near as the positive, or nearer, forms no triplet.
    farthest: as `beyond`, but such a pair takes the farthest negative.
  An anchor without negatives forms no triplet in any case.

  Args:
    distance_bb: [B, B], anchors in rows.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
    margin: in units of the distance; used by `inside` only.
    reach: one of `REACHES`.
  Returns:
    As many passes as the largest number of positives of an anchor.
  Raises:
    ValueError: unknown reach.
  Source: Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, §3.2;
    `farthest` is the semi-hard loss of TensorFlow Addons.
  """
  check_name("reach", reach, REACHES)
  live_b = check_batch(distance_bb, label_b, weight_b)
  groups = group(label_b, live_b)
  other_bb = same_and_other(label_b, live_b)[1]
  # Entries that are no negatives are set to −∞, so that one comparison per pass is enough.
  candidate_bb = jnp.where(other_bb, distance_bb, -jnp.inf)
  farthest_b, farthest_row_b = highest(distance_bb, other_bb)

  def take(k: Array | int) -> Triplets:
    positive_b, valid_b = kth_positive(groups, k)
    own_b = _at(distance_bb, positive_b)
    near_b = jnp.where(candidate_bb > own_b[:, None], candidate_bb, jnp.inf).min(axis=1)
    negative_b = column_of(candidate_bb, near_b)
    if reach == "inside":
      valid_b &= own_b - near_b + margin > 0
    elif reach == "beyond":
      valid_b &= jnp.isfinite(near_b)
    else:
      missed_b = ~jnp.isfinite(near_b)
      near_b = jnp.where(missed_b, farthest_b, near_b)
      negative_b = jnp.where(missed_b, farthest_row_b, negative_b)
      valid_b &= jnp.isfinite(farthest_b)
    return Triplets(positive_b, negative_b, own_b, near_b, valid_b)

  return Mining(groups.positives_b.max(initial=0), take)


def collect(mining: Mining, passes: int) -> Triplets:
  """Triplets of the first passes as arrays, for inspection.

  Args:
    mining: from a miner.
    passes: K, a constant: `hard` and `easy` have one pass, `semi_hard` the largest number of positives of an anchor.
  Returns:
    Triplets with all fields [B, K].
  """
  found = [mining.take(k) for k in range(passes)]
  return Triplets(*(jnp.stack(field, axis=1) for field in zip(*found)))


__all__ = [
  "MINERS", "REACHES", "Mining", "Pairs", "Triplets", "check_batch", "collect", "column_of",
  "easy", "every", "hard", "highest", "lowest", "same_and_other", "semi_hard",
]
