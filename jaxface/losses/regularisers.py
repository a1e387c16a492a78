"""Regularisers for a classification: range loss, marginal loss, and repulsion between class centres (SphereFace+)."""

import abc
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.distances import cosine, squared_l2
from jaxface.losses.ranges import check_labels, check_range, class_labels
from jaxface.losses.unit import at_least_float32, unit_rows

# Lower bound on the squared distance of unit vectors in the repulsion.
_TOUCHING = 1e-4


def _same(label_b: Array, live_b: Array) -> Array:
  """[B, B] bool: two rows of one identity, neither of them padding; includes the diagonal."""
  return (label_b[:, None] == label_b) & live_b[:, None] & live_b


def range_loss(
  embedding_bd: Array, label_b: Array, weight_b: Array, *, k: int = 2, margin: float = 2e4, intra: float = 5e-5,
  inter: float = 1e-4,
) -> Array:
  """intra·Σ over identities of the harmonic mean of the k largest distances within + inter·max(0, margin − D).

  Distances are squared L2. D is the smallest distance between the centres of two identities of the batch; a batch of one identity has
  no second summand. An identity with fewer than k pairs uses those it has.

  Args:
    embedding_bd: [B, D] float, not normalised.
    label_b: [B] int, identity of each row.
    weight_b: [B]; rows of weight 0 are ignored, the others count equally.
    k: number of distances of each identity.
    margin: squared distance beyond which two centres have zero loss.
    intra: weight of the distances within an identity.
    inter: weight of the distance between centres.
  Returns:
    A scalar, at least float32.
  Source: Zhang et al., "Range Loss for Deep Face Recognition with Long-Tailed Training Data", 2017, eqs. 5-8.
  """
  check_labels(label_b)
  chex.assert_rank([embedding_bd, label_b, weight_b], [2, 1, 1])
  live_b = weight_b > 0
  embedding_bd = jnp.where(live_b[:, None], at_least_float32(embedding_bd), 0.0)
  rows = len(label_b)
  same_bb = _same(label_b, live_b)
  # The first row of an identity represents it.
  first_b = jnp.where(live_b, jnp.argmax(same_bb, axis=1), rows)
  stands_b = first_b == jnp.arange(rows)

  # The largest distances of an identity are among the largest of its rows; each pair is counted at its earlier row.
  pair_bb = jnp.where(jnp.triu(same_bb, 1), squared_l2(embedding_bd), -1.0)
  greatest_bk = lax.top_k(pair_bb, min(k, rows))[0]
  of_bbk = jnp.where((first_b == jnp.arange(rows)[:, None])[:, :, None], greatest_bk, -1.0)
  distance_bk = lax.top_k(of_bbk.reshape(rows, -1), min(k, rows))[0]
  pair_bk = distance_bk >= 0.0
  # With a distance of 0 the harmonic mean is 0.
  alive_b = ((distance_bk > 0.0) | ~pair_bk).all(axis=1) & pair_bk[:, 0]
  inverse_bk = jnp.where(pair_bk, 1.0 / jnp.where(distance_bk > 0.0, distance_bk, 1.0), 0.0)
  mean_b = jnp.where(alive_b, pair_bk.sum(axis=1) / jnp.where(alive_b, inverse_bk.sum(axis=1), 1.0), 0.0)

  share_bb = same_bb / jnp.maximum(same_bb.sum(axis=1, keepdims=True), 1).astype(embedding_bd.dtype)
  between_bb = squared_l2(share_bb @ embedding_bd)
  other_bb = jnp.triu(stands_b[:, None] & stands_b, 1)
  least = jnp.where(other_bb, between_bb, jnp.inf).reshape(-1)
  nearest = least[jnp.argmin(least)]
  return intra * mean_b.sum() + inter * jnp.maximum(margin - nearest, 0.0)


def marginal_loss(
  embedding_bd: Array, label_b: Array, weight_b: Array, *, threshold: float = 1.2, margin: float = 0.3
) -> Array:
  """Mean over ordered pairs of max(0, margin − y·(threshold − d)): y is 1 for same pairs and −1 for different ones.

  d is the squared L2 distance of the directions.

  Args:
    embedding_bd: [B, D] float.
    label_b: [B] int, identity of each row.
    weight_b: [B]; rows of weight 0 are ignored, the others count equally.
    threshold: distance that separates same from different pairs.
    margin: required distance from the threshold.
  Returns:
    A scalar, at least float32; 0 with fewer than two rows.
  Source: Deng et al., "Marginal Loss for Deep Face Recognition", 2017, eq. 5.
  """
  check_labels(label_b)
  chex.assert_rank([embedding_bd, label_b, weight_b], [2, 1, 1])
  live_b = weight_b > 0
  distance_bb = 2.0 - 2.0 * cosine(jnp.where(live_b[:, None], embedding_bd, 0.0))
  sign_bb = jnp.where(label_b[:, None] == label_b, 1.0, -1.0)
  pair_bb = live_b[:, None] & live_b & ~jnp.eye(len(label_b), dtype=bool)
  cost_bb = jnp.maximum(margin - sign_bb * (threshold - distance_bb), 0.0)
  return jnp.where(pair_bb, cost_bb, 0.0).sum() / jnp.maximum(pair_bb.sum(), 1)


def center_repulsion(center_cd: Array, label_b: Array) -> Array:
  """Mean over all other classes of 1/‖ŵ_y − ŵ_j‖²: the energy that repels the centre of each row's class from the others.

  Args:
    center_cd: [C, D] float, scaled to length one here.
    label_b: [B] int in [0, C).
  Returns:
    [B], at least float32; 0 if there is one class. Nearly equal centres (squared distance below 1e-4) are treated as at
    that distance, without a gradient.
  Raises:
    TypeError: labels are not integers.
  Source: Liu et al., "Learning towards Minimum Hyperspherical Energy", 2018, eq. 8 with s = 2 (SphereFace+).
  """
  chex.assert_rank([center_cd, label_b], [2, 1])
  label_b = class_labels(label_b)
  unit_cd, _ = unit_rows(center_cd)
  square_bc = 2.0 - 2.0 * unit_cd[label_b] @ unit_cd.T
  other_bc = label_b[:, None] != jnp.arange(len(center_cd), dtype=label_b.dtype)
  energy_bc = jnp.where(other_bc, 1.0 / jnp.maximum(square_bc, _TOUCHING), 0.0)
  return energy_bc.sum(axis=1) / max(len(center_cd) - 1, 1)


class _BatchTerm(abc.ABC):
  """A term without parameters or state, with one value per batch."""

  scope: ClassVar[str] = "pairs"

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    return {}, {}

  @abc.abstractmethod
  def value(self, embedding_bd: Array, label_b: Array, weight_b: Array) -> Array:
    """The loss of the batch."""

  def __call__(
    self, params: dict[str, Array], inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Array]]:
    """The loss of every row is the value of the batch: sum(loss_b) / sum(weight_b) is that value."""
    value = self.value(inputs["embedding_bd"], inputs["label_b"], inputs["weight_b"])
    return value * inputs["weight_b"], state, {"value": lax.stop_gradient(value)}


@dataclass(frozen=True)
class RangeLoss(_BatchTerm):
  """`range_loss` as a term. The published constants are for embeddings with norms in the hundreds.

  Attributes:
    k: number of distances of each identity.
    margin: squared distance beyond which two centres have zero loss.
    intra: weight of the distances within an identity.
    inter: weight of the distance between centres.
    weight: weight of this term in the objective.
  """

  k: int = 2
  margin: float = 2e4
  intra: float = 5e-5
  inter: float = 1e-4
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "k", 1, what="distances of each identity")
    for name in ("margin", "intra", "inter", "weight"):
      check_range(self, name, 0.0, math.inf, open_high=True)

  def value(self, embedding_bd: Array, label_b: Array, weight_b: Array) -> Array:
    return range_loss(
      embedding_bd, label_b, weight_b, k=self.k, margin=self.margin, intra=self.intra, inter=self.inter
    )


@dataclass(frozen=True)
class MarginalLoss(_BatchTerm):
  """`marginal_loss` as a term.

  Attributes:
    threshold: squared distance of directions that separates same from different pairs.
    margin: required distance from the threshold.
    weight: weight of this term in the objective.
  """

  threshold: float = 1.2
  margin: float = 0.3
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "threshold", 0.0, 4.0, what="squared distance of directions")
    check_range(self, "margin", 0.0, 4.0, what="squared distance of directions")
    check_range(self, "weight", 0.0, math.inf, open_high=True, what="factor of this term in the objective")

  def value(self, embedding_bd: Array, label_b: Array, weight_b: Array) -> Array:
    return marginal_loss(embedding_bd, label_b, weight_b, threshold=self.threshold, margin=self.margin)


__all__ = ["MarginalLoss", "RangeLoss", "center_repulsion", "marginal_loss", "range_loss"]
