"""Pair losses over the global batch as a term of the objective."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.collapse import collapse
from jaxface.losses.metrics import Mean
from jaxface.losses.pair_forms import Contrastive, CosineHinge, Hinge, Histogram, PairForm, Params
from jaxface.losses.pairs import AVERAGES, pair_mean, pair_weights
from jaxface.losses.ranges import check_choice, check_range
from jaxface.losses.unit import at_least_float32

KINDS = ("both", "same", "different")
# Weights of same pairs and of different pairs, each [B, B].
Kinds = tuple[Array, Array]


def live_rows(inputs: dict[str, Array]) -> tuple[Array, Array, Array]:
  """Embeddings in at least float32 with padding set to zero, and the pair weights by kind."""
  embedding_bd, weight_b = at_least_float32(inputs["embedding_bd"]), at_least_float32(inputs["weight_b"])
  embedding_bd = jnp.where(weight_b[:, None] > 0.0, embedding_bd, 0.0)
  return embedding_bd, *pair_weights(inputs["label_b"], weight_b)


def pair_metrics(
  embedding_bd: Array, weight_b: Array, distance_bb: Array, cost_bb: Array, pairs: Kinds, taken_pairs: Kinds
) -> dict[str, Mean | Array]:
  """Statistics of a batch of pairs, without gradients.

  Args:
    embedding_bd: [B, D] float.
    weight_b: [B] float, 0 for padding.
    distance_bb: [B, B] float.
    cost_bb: [B, B] float, ≥ 0.
    pairs: weights of all same pairs and of all different pairs of the batch.
    taken_pairs: the same, for the pairs in the loss.
  Returns:
    same_distance and different_distance (means over all pairs of the kind), active_share (share of the pairs in the
    loss with a non-zero loss), same_pairs (their number, a mean over steps), collapse (`jaxface.losses.collapse`).
  """
  distance_bb, cost_bb = lax.stop_gradient((distance_bb, cost_bb))

  def mean(value_bb: Array, share_bb: Array) -> Mean:
    return Mean((value_bb * share_bb).sum(), share_bb.sum())

  return {
    "same_distance": mean(distance_bb, pairs[0]),
    "different_distance": mean(distance_bb, pairs[1]),
    "active_share": mean(cost_bb > 0.0, taken_pairs[0] + taken_pairs[1]),
    "same_pairs": 0.5 * pairs[0].sum(),
    "collapse": collapse(embedding_bd, weight_b),
  }


def taken(kinds: str, same_bb: Array, different_bb: Array) -> Kinds:
  """Pair weights reduced to one kind: L2+ keeps the same pairs, L2− the different ones."""
  return same_bb * (kinds != "different"), different_bb * (kinds != "same")


@dataclass(frozen=True)
class PairLoss:
  """A loss over all pairs of the global batch, without padding.

  Attributes:
    form: the loss of a pair.
    kinds: `both`, or `same` or `different` pairs alone (DeepID2's L2+ and L2−).
    average: over `all` pairs, or over the `active` ones, those with a non-zero loss.
    by_kind: the mean over same pairs plus the mean over different pairs; otherwise one mean over both.
    weight: weight of this term in the objective; the objective multiplies by it, the term does not.
  """

  scope: ClassVar[str] = "pairs"

  form: PairForm = field(default_factory=Contrastive)
  kinds: Literal["both", "same", "different"] = "both"
  average: Literal["all", "active"] = "all"
  by_kind: bool = True
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_choice(self, "kinds", KINDS)
    check_choice(self, "average", AVERAGES)
    check_range(self, "weight", 0.0, what="factor of this term in the objective")
    if isinstance(self.form, Histogram) and (self.kinds, self.average, self.by_kind) != ("both", "all", True):
      raise ValueError(
        f"PairLoss of Histogram has kinds={self.kinds!r}, average={self.average!r}, by_kind={self.by_kind}: its loss is"
        " an expectation over all pairs of both kinds, so it needs kinds='both', average='all', by_kind=True"
      )

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[Params, dict]:
    """The form's parameters, and no state."""
    return self.form.init(embedding_size), {}

  def __call__(
    self, params: Params, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean | Array]]:
    """Contribution of each row to the mean over pairs, and metrics of the batch.

    Args:
      params: from `init`.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding).
      state: returned unchanged.
      step: not used.
      key: not used.
    Returns:
      loss_b [B], of which sum(loss_b) / sum(weight_b) is the mean over pairs; the state; metrics of `pair_metrics`.
    Raises:
      TypeError: labels are not integers.
    """
    embedding_bd, same_bb, different_bb = live_rows(inputs)
    weight_b = at_least_float32(inputs["weight_b"])
    cost_bb, distance_bb = self.form(params, embedding_bd, same_bb, different_bb)
    kinds = taken(self.kinds, same_bb, different_bb)
    loss_b = pair_mean(cost_bb, *kinds, average=self.average, by_kind=self.by_kind) * weight_b.sum()
    metrics = pair_metrics(embedding_bd, weight_b, distance_bb, cost_bb, (same_bb, different_bb), kinds)
    return loss_b, state, metrics


# Names of pair losses in other libraries.
LIBRARY_LOSSES = {
  "pytorch_metric_learning.losses.ContrastiveLoss": PairLoss(Hinge(), average="active"),
  "tensorflow_addons.losses.ContrastiveLoss": PairLoss(Hinge(squared=True, unit=False), by_kind=False),
  "torch.nn.HingeEmbeddingLoss": PairLoss(Hinge(unit=False), by_kind=False),
  "torch.nn.CosineEmbeddingLoss": PairLoss(CosineHinge(), by_kind=False),
}

__all__ = ["KINDS", "LIBRARY_LOSSES", "PairLoss", "live_rows", "pair_metrics", "taken"]
