"""Triplet losses over the mined triplets of a batch, and over listed triplets.

The loss of a triplet is max(0, v) in the margin form and log(1 + eᵛ) in the softplus form, v = d(a, p) − d(a, n) + margin. It is
*active* if v > 0.

The gradient with respect to the distances is computed while mining: reverse differentiation through the passes would store the
matrix once per pass.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.losses.distances import squared_l2
from jaxface.losses.mining import (
  MINERS,
  REACHES,
  check_batch,
  easy,
  every,
  hard,
  semi_hard,
)
from jaxface.losses.ranges import check_labels, check_name
from jaxface.losses.unit import unit_rows

FORMS = ("margin", "softplus")
AVERAGES = ("active", "all")
_ONE_EACH = {"hard": hard, "easy": easy}


class TripletSums(NamedTuple):
  """Sums over the triplets of each anchor.

  Attributes:
    loss_b: [B] sum of their losses.
    active_b: [B] number of active triplets.
    count_b: [B] number of triplets.
  """

  loss_b: Array
  active_b: Array
  count_b: Array


def _cost(violation: Array, form: str) -> Array:
  return jax.nn.relu(violation) if form == "margin" else jax.nn.softplus(violation)


def _slope(violation: Array, form: str) -> Array:
  return (violation > 0).astype(violation.dtype) if form == "margin" else jax.nn.sigmoid(violation)


def _add(gradient_bb: Array, column_b: Array, value_b: Array) -> Array:
  return jax.vmap(lambda row_b, column, value: row_b.at[column].add(value))(gradient_bb, column_b, value_b)


def _mine(
  distance_bb: Array, label_b: Array, live_b: Array, *, mining: str, form: str, margin: float, reach: str, slopes: bool,
) -> tuple[TripletSums, Array]:
  """The sums, and ∂ loss_b[a] / ∂ distance_bb[a] in row a ([B, 0] unless `slopes`)."""
  size, dtype = len(label_b), distance_bb.dtype
  zero_b = jnp.zeros(size, dtype)
  carry = (TripletSums(zero_b, zero_b, zero_b), jnp.zeros((size, size if slopes else 0), dtype))

  if mining == "all":
    pairs = every(distance_bb, label_b, live_b)

    def body(k: Array | int, carry: tuple) -> tuple:
      sums, slope_bb = carry
      positive_b, own_b, valid_b = pairs.take(k)
      mask_bb = valid_b[:, None] & pairs.other_bb
      violation_bb = jnp.where(mask_bb, own_b[:, None] - distance_bb + margin, -jnp.inf)
      sums = TripletSums(
        sums.loss_b + _cost(violation_bb, form).sum(1),
        sums.active_b + (violation_bb > 0).astype(dtype).sum(1),
        sums.count_b + mask_bb.astype(dtype).sum(1),
      )
      if slopes:
        falling_bb = _slope(violation_bb, form)
        slope_bb = _add(slope_bb - falling_bb, positive_b, falling_bb.sum(1))
      return sums, slope_bb

    return lax.fori_loop(0, pairs.passes, body, carry)

  if mining == "semi_hard":
    mined = semi_hard(distance_bb, label_b, live_b, margin=margin, reach=reach)
  else:
    mined = _ONE_EACH[mining](distance_bb, label_b, live_b)

  def body_of_one(k: Array | int, carry: tuple) -> tuple:
    sums, slope_bb = carry
    found = mined.take(k)
    violation_b = found.positive_distance_b - found.negative_distance_b + margin
    violation_b = jnp.where(found.valid_b, violation_b, -jnp.inf)
    sums = TripletSums(
      sums.loss_b + _cost(violation_b, form),
      sums.active_b + (violation_b > 0).astype(dtype),
      sums.count_b + found.valid_b.astype(dtype),
    )
    if slopes:
      slope_b = _slope(violation_b, form)
      slope_bb = _add(_add(slope_bb, found.positive_b, slope_b), found.negative_b, -slope_b)
    return sums, slope_bb

  return body_of_one(0, carry) if isinstance(mined.passes, int) else lax.fori_loop(0, mined.passes, body_of_one, carry)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _sums(
  distance_bb: Array, label_b: Array, live_b: Array, mining: str, form: str, margin: float, reach: str
) -> TripletSums:
  return _mine(
    distance_bb, label_b, live_b, mining=mining, form=form, margin=margin, reach=reach, slopes=False
  )[0]


def _sums_forward(
  distance_bb: Array, label_b: Array, live_b: Array, mining: str, form: str, margin: float, reach: str
) -> tuple[TripletSums, Array]:
  return _mine(distance_bb, label_b, live_b, mining=mining, form=form, margin=margin, reach=reach, slopes=True)


def _sums_backward(
  mining: str, form: str, margin: float, reach: str, slope_bb: Array, sums_bar: TripletSums
) -> tuple[Array, None, None]:
  return sums_bar.loss_b[:, None] * slope_bb, None, None


_sums.defvjp(_sums_forward, _sums_backward)


def triplet_sums(
  distance_bb: Array, label_b: Array, weight_b: Array | None = None, *, mining: str = "semi_hard", form: str = "margin",
  margin: float = 0.2, reach: str = "inside",
) -> TripletSums:
  """Loss and number of the mined triplets of each anchor, for any kind of distance.

  Only the losses have a gradient, and only with respect to the distances. Rows may be sharded: an anchor depends on its row
  only.

  Args:
    distance_bb: [B, B] float, anchors in rows.
    label_b: [B] int, identity of each row.
    weight_b: [B], 0 for padding; other values are equivalent. None counts every row.
    mining: one of `mining.MINERS`; see the functions there.
    form: "margin" or "softplus".
    margin: in units of the distance.
    reach: for `semi_hard`, see there.
  Returns:
    The sums.
  Raises:
    AssertionError: ranks or sizes differ.
    ValueError: an unknown name.
    TypeError: labels are not integers.
  """
  check_name("mining", mining, MINERS)
  check_name("form", form, FORMS)
  check_name("reach", reach, REACHES)
  return _sums(distance_bb, label_b, check_batch(distance_bb, label_b, weight_b), mining, form, float(margin), reach)


def spread(sums: TripletSums, total: Array, *, form: str, average: str) -> Array:
  """Losses of anchors, scaled so that their sum divided by `total` is the mean loss of a triplet.

  Args:
    sums: sums of each anchor.
    total: scalar, the sum of the row weights.
    form: form of the triplet loss.
    average: "active" divides by the number of active triplets (in the softplus form, where every loss is positive, of all
      triplets), "all" by the number of triplets.
  Returns:
    [B]; zeros if there is no triplet to divide by.
  Raises:
    ValueError: unknown average.
  """
  check_name("average", average, AVERAGES)
  number_b = sums.active_b if average == "active" and form == "margin" else sums.count_b
  return sums.loss_b * (total / jnp.maximum(number_b.sum(), 1.0))


def _directions(embedding_bd: Array, weight_b: Array | None) -> tuple[Array, Array]:
  """Unit rows, zero for padding, and [B] NaN for other rows that are not finite, since miners ignore NaN silently."""
  if weight_b is not None:
    embedding_bd = jnp.where(weight_b[:, None] > 0, embedding_bd, 0.0)
  unit_bd = unit_rows(embedding_bd)[0]
  return unit_bd, jnp.where(jnp.isfinite(embedding_bd).all(1), 0.0, jnp.nan).astype(unit_bd.dtype)


def distances_of_live(embedding_bd: Array, weight_b: Array | None) -> tuple[Array, Array]:
  """Squared distances on the unit sphere; not affected by the contents of padding.

  Args:
    embedding_bd: [B, D] float, of any length; a row of zeros stays zero, with gradient 0.
    weight_b: [B], 0 for padding, or None.
  Returns:
    [B, B] at least float32; and [B], NaN for a row of positive weight that is not finite, else 0.
  """
  unit_bd, broken_b = _directions(embedding_bd, weight_b)
  return squared_l2(unit_bd), broken_b


def triplet_loss(
  embedding_bd: Array, label_b: Array, weight_b: Array | None = None, *, mining: str = "semi_hard", form: str = "margin",
  margin: float = 0.2, average: str = "active", reach: str = "inside",
) -> Array:
  """Triplet loss on squared distances of unit embeddings, mined over all anchor–positive pairs of the batch.

  Args:
    embedding_bd: [B, D] float, of any length.
    label_b: [B] int, identity of each row.
    weight_b: [B], 0 for padding; other values are equivalent.
    mining: "all", "semi_hard", "hard" or "easy": see `jaxface.losses.mining`.
    form: "margin" for max(0, v), "softplus" for log(1 + eᵛ), v = ‖a − p‖² − ‖a − n‖² + margin.
    margin: FaceNet's α.
    average: over the "active" triplets (v > 0), or "all".
    reach: for `semi_hard`: "inside", "beyond" or "farthest".
  Returns:
    [B], by anchors, at least float32: its sum over sum(weight_b) is the mean over triplets. Zeros, with gradient 0, if
    there is no triplet; NaN for a row of positive weight that is not finite.
  Raises:
    AssertionError: ranks or sizes differ.
    ValueError: an unknown name.
    TypeError: labels are not integers.
  Source: Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015.
  """
  distance_bb, broken_b = distances_of_live(embedding_bd, weight_b)
  sums = triplet_sums(distance_bb, label_b, weight_b, mining=mining, form=form, margin=margin, reach=reach)
  total = jnp.asarray(len(label_b) if weight_b is None else weight_b.sum(), distance_bb.dtype)
  return spread(sums, total, form=form, average=average) + broken_b


def listed_sums(
  embedding_bd: Array, label_b: Array, weight_b: Array | None = None, *, form: str = "margin", margin: float = 0.2
) -> TripletSums:
  """Loss of triplets in the order of a list mined beforehand: rows 3i, 3i + 1, 3i + 2 are anchor, positive and negative.

  A triplet is used if none of its rows is padding and its labels form a triplet (an unreadable record may have been replaced by
  another).

  Args:
    embedding_bd: [B, D] float, of any length; distances are squared, on the unit sphere.
    label_b: [B] int.
    weight_b: [B], 0 for padding.
    form: "margin" or "softplus".
    margin: in units of the squared distance.
  Returns:
    The sums, at the rows of anchors; the loss is NaN at a row of positive weight that is not finite.
  Raises:
    ValueError: B is not a multiple of 3, or unknown form.
    TypeError: labels are not integers.
  """
  if len(label_b) % 3:
    raise ValueError(f"a batch of {len(label_b)} rows is not a list of triplets: its size must be a multiple of 3")
  check_name("form", form, FORMS)
  check_labels(label_b)
  live_b = jnp.ones(len(label_b), bool) if weight_b is None else weight_b > 0
  unit_bd, broken_b = _directions(embedding_bd, weight_b)
  unit_t3d = unit_bd.reshape(-1, 3, unit_bd.shape[1])
  anchor_td, positive_td, negative_td = unit_t3d[:, 0], unit_t3d[:, 1], unit_t3d[:, 2]
  label_t3 = label_b.reshape(-1, 3)
  valid_t = live_b.reshape(-1, 3).all(1) & (label_t3[:, 0] == label_t3[:, 1]) & (label_t3[:, 0] != label_t3[:, 2])
  violation_t = ((anchor_td - positive_td) ** 2).sum(1) - ((anchor_td - negative_td) ** 2).sum(1) + margin
  cost_t = jnp.where(valid_t, _cost(violation_t, form), 0.0)
  at_anchor = np.arange(3) == 0

  def rows(value_t: Array) -> Array:
    return (value_t.astype(cost_t.dtype)[:, None] * at_anchor).reshape(-1)

  return TripletSums(rows(cost_t) + broken_b, rows(valid_t & (violation_t > 0)), rows(valid_t))


__all__ = [
  "AVERAGES", "FORMS", "TripletSums", "distances_of_live", "listed_sums", "spread", "triplet_loss", "triplet_sums",
]
