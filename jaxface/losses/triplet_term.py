"""Triplets of the global batch as a term of the objective."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.collapse import collapse
from jaxface.losses.metrics import Mean
from jaxface.losses.mining import MINERS, REACHES, check_batch, same_and_other
from jaxface.losses.ranges import check_choice, check_range
from jaxface.losses.triplets import (
  AVERAGES,
  FORMS,
  TripletSums,
  distances_of_live,
  listed_sums,
  spread,
  triplet_sums,
)
from jaxface.losses.unit import at_least_float32


def _mean(value_bb: Array, mask_bb: Array) -> Mean:
  return Mean(jnp.where(mask_bb, value_bb, 0.0).sum(), mask_bb.astype(value_bb.dtype).sum())


@dataclass(frozen=True)
class TripletLoss:
  """Triplet loss on squared distances of unit embeddings.

  Attributes:
    mining: "all", "semi_hard", "hard" or "easy" mines the global batch (see `jaxface.losses.mining`); "listed" takes rows
      3i, 3i + 1, 3i + 2 for anchor, positive and negative, as `jaxface.data.triplets` orders them.
    form: "margin" for max(0, v), "softplus" for log(1 + eᵛ), v = ‖a − p‖² − ‖a − n‖² + margin.
    margin: FaceNet's α, at least 0 and less than 4, the squared diameter of the sphere.
    average: over the "active" triplets (v > 0), or over "all" mined triplets.
    reach: for `semi_hard`: "inside", "beyond" or "farthest".
    collapse_at: squared length of the mean direction from which the metric `collapsed` is 1.
    weight: weight of this term in the objective; the objective multiplies by it, the term does not.
  """

  scope: ClassVar[str] = "pairs"

  mining: Literal["all", "semi_hard", "hard", "easy", "listed"] = "semi_hard"
  form: Literal["margin", "softplus"] = "margin"
  margin: float = 0.2
  average: Literal["active", "all"] = "active"
  reach: Literal["inside", "beyond", "farthest"] = "inside"
  collapse_at: float = 0.95
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_choice(self, "mining", (*MINERS, "listed"))
    check_choice(self, "form", FORMS)
    check_range(self, "margin", 0.0, 4.0, open_high=True, what="a squared distance on the unit sphere, at most 4")
    check_choice(self, "average", AVERAGES)
    check_choice(self, "reach", REACHES)
    check_range(self, "collapse_at", 0.0, 1.0, open_low=True, what="squared length of the mean direction")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """No parameters and no state."""
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean | Array]]:
    """Contribution of each anchor to the mean over triplets, and metrics of the batch.

    Args:
      params: not used.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding; other values are equivalent).
      state: returned unchanged.
      step: not used.
      key: not used.
    Returns:
      loss_b [B], of which sum(loss_b) / sum(weight_b) is the mean over triplets, and NaN at rows of positive weight that
      are not finite. The state. Metrics:
      triplets: number of mined triplets, a mean over steps.
      active_share: share of them with v > 0.
      positive_distance, negative_distance: mean squared distance over all pairs of one identity, and of two.
      collapse: squared length of the mean direction, 1 if all directions are equal.
      collapsed: 1 from `collapse_at` on, else 0; the mean over logged steps is a share of the steps. A collapsed net does
        not recover: every v is the margin, the loss is constant, and distances go to 0.
    Raises:
      TypeError: labels are not integers.
      ValueError: the size of a listed batch is not a multiple of 3.
    """
    embedding_bd, label_b, weight_b = inputs["embedding_bd"], inputs["label_b"], inputs["weight_b"]
    distance_bb, broken_b = distances_of_live(embedding_bd, weight_b)
    if self.mining == "listed":
      sums = listed_sums(embedding_bd, label_b, weight_b, form=self.form, margin=self.margin)
    else:
      sums = triplet_sums(
        distance_bb, label_b, weight_b, mining=self.mining, form=self.form, margin=self.margin, reach=self.reach
      )
      sums = sums._replace(loss_b=sums.loss_b + broken_b)
    total = at_least_float32(weight_b).sum()
    loss_b = spread(sums, total, form=self.form, average=self.average)
    return loss_b, state, self._metrics(sums, distance_bb, inputs)

  def _metrics(self, sums: TripletSums, distance_bb: Array, inputs: dict[str, Array]) -> dict[str, Mean | Array]:
    label_b, weight_b = inputs["label_b"], inputs["weight_b"]
    live_b = check_batch(distance_bb, label_b, weight_b)
    same_bb, other_bb = same_and_other(label_b, live_b)
    distance_bb = lax.stop_gradient(distance_bb)
    triplets = sums.count_b.sum()
    # Padding, even NaN, has no direction.
    embedding_bd = jnp.where(live_b[:, None], inputs["embedding_bd"], 0.0)
    mean_direction = collapse(embedding_bd, live_b.astype(distance_bb.dtype))
    return {
      "triplets": triplets,
      "active_share": Mean(sums.active_b.sum(), triplets),
      "positive_distance": _mean(distance_bb, same_bb),
      "negative_distance": _mean(distance_bb, other_bb),
      "collapse": mean_direction,
      "collapsed": (mean_direction >= self.collapse_at).astype(distance_bb.dtype),
    }


__all__ = ["TripletLoss"]
