"""Which triplets of a batch teach: miners on the matrix of distances, anchors in rows, all anchor–positive pairs seen.

A *pair* is two different rows of one identity, (anchor, positive) and (positive, anchor) being two pairs; a *negative* of
an anchor is a row of another identity. Rows of weight 0 are padding: neither anchor, positive nor negative, whatever they
hold. Nothing here depends on how many images an identity has: pass k handles the k-th positive of every anchor, and there
are as many passes as the anchor with most positives needs. A pass takes O(B²) time and memory; no B×B×B array exists.
Among equal distances the lowest row is taken, so that a tie counts once.
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
  """At most one triplet for each anchor; its distances are meaningless where `valid_b` is false.

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
  """Mined triplets, to be taken pass by pass.

  Attributes:
    passes: how many there are: an int, or a scalar that `lax.fori_loop` takes.
    take: the triplets of pass k.
  """

  passes: Array | int
  take: Callable[[Array | int], Triplets]


class Pairs(NamedTuple):
  """All triplets, as pairs to be taken pass by pass, each with all negatives of its anchor.

  Attributes:
    passes: as of `Mining`.
    take: of pass k, for each anchor: [B] int32 row of a positive, [B] its distance, [B] bool whether there is one.
    other_bb: [B, B] bool, negatives of the anchor in rows.
  """

  passes: Array | int
  take: Callable[[Array | int], tuple[Array, Array, Array]]
  other_bb: Array


def check_batch(distance_bb: Array, label_b: Array, weight_b: Array | None) -> Array:
  """Refuses what is no batch, and says which rows count.

  Args:
    distance_bb: [B, B] float.
    label_b: [B] int.
    weight_b: [B], or None for ones.
  Returns:
    [B] bool, false for padding.
  Raises:
    AssertionError: ranks or sizes differ.
    TypeError: labels that are no integers.
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
  """The first column that holds a value in each row.

  After a plain minimum this is several times as fast as an argmin where that is not vectorised, and it costs nothing where
  nobody asks for it.

  Args:
    matrix_nm: [N, M].
    value_n: [N].
  Returns:
    [N] int32, the last column where the value does not occur.
  """
  last = matrix_nm.shape[1] - 1
  # Counted in float32, exact up to 2²⁴: minima of integers are the slower ones.
  column_m = jnp.arange(last + 1, dtype=jnp.float32)
  return jnp.where(matrix_nm == value_n[:, None], column_m, jnp.float32(last)).min(axis=1).astype(jnp.int32)


def lowest(distance_nm: Array, mask_nm: Array) -> tuple[Array, Array]:
  """Smallest masked entry of each row and the first column that holds it.

  Args:
    distance_nm: [N, M] float.
    mask_nm: [N, M] bool, the entries to look at.
  Returns:
    [N] distance, ∞ where the mask is empty; [N] int32 column.
  """
  masked_nm = jnp.where(mask_nm, distance_nm, jnp.inf)
  low_n = masked_nm.min(axis=1)
  return low_n, column_of(masked_nm, low_n)


def highest(distance_nm: Array, mask_nm: Array) -> tuple[Array, Array]:
  """As `lowest`, the largest; −∞ where the mask is empty."""
  low_n, column_n = lowest(-distance_nm, mask_nm)
  return -low_n, column_n


def _at(distance_bb: Array, column_b: Array) -> Array:
  return jnp.take_along_axis(distance_bb, column_b[:, None], axis=1)[:, 0]


def every(distance_bb: Array, label_b: Array, weight_b: Array | None = None) -> Pairs:
  """Every pair with every negative of its anchor.

  An anchor without a positive, or without a negative, forms no triplet.

  Args:
    distance_bb: [B, B], anchors in rows.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
  Returns:
    As many passes as any anchor has positives.
  """
  live_b = check_batch(distance_bb, label_b, weight_b)
  groups = group(label_b, live_b)

  def take(k: Array | int) -> tuple[Array, Array, Array]:
    positive_b, valid_b = kth_positive(groups, k)
    return positive_b, _at(distance_bb, positive_b), valid_b

  return Pairs(groups.positives_b.max(initial=0), take, same_and_other(label_b, live_b)[1])


def hard(distance_bb: Array, label_b: Array, weight_b: Array | None = None) -> Mining:
  """Batch-hard: for each anchor its farthest positive with its nearest negative, one triplet.

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
  """Easy positives: for each anchor its nearest positive with its nearest negative, one triplet.

  An identity may then lie in several places, as long as every image has one of its own beside it. (The easiest triplet of
  all, with the *farthest* negative, would hardly ever cost anything.) An anchor without a positive, or without a
  negative, forms none.

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
  """For every pair the nearest of the anchor's negatives that are strictly farther than the positive.

  `reach` says what counts, and what becomes of a pair for which no negative does:
    inside: the negative must lie less than `margin` beyond the positive; else the pair forms no triplet.
    beyond: wherever it lies; a pair whose negatives are all as near as the positive, or nearer, forms no triplet.
    farthest: as `beyond`, but such a pair takes the farthest negative there is.
  An anchor without negatives forms no triplet in any case.

  Args:
    distance_bb: [B, B], anchors in rows.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
    margin: in units of the distance; used by `inside` alone.
    reach: one of `REACHES`.
  Returns:
    As many passes as any anchor has positives.
  Raises:
    ValueError: unknown reach.
  Source: Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, §3.2;
    `farthest` is what TensorFlow Addons computed under the name semi-hard.
  """
  check_name("reach", reach, REACHES)
  live_b = check_batch(distance_bb, label_b, weight_b)
  groups = group(label_b, live_b)
  other_bb = same_and_other(label_b, live_b)[1]
  # Whatever is no negative is nearer than anything: one comparison per pass is enough.
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
  """Triplets of the first passes as arrays, for looking at.

  Args:
    mining: from a miner.
    passes: K, a constant: `hard` and `easy` have one pass, `semi_hard` as many as any anchor has positives.
  Returns:
    Triplets with all fields [B, K].
  """
  found = [mining.take(k) for k in range(passes)]
  return Triplets(*(jnp.stack(field, axis=1) for field in zip(*found)))


__all__ = [
  "MINERS", "REACHES", "Mining", "Pairs", "Triplets", "check_batch", "collect", "column_of",
  "easy", "every", "hard", "highest", "lowest", "same_and_other", "semi_hard",
]
