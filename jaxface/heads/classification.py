"""Classification of identities as a term of the objective: a margin over the dense head, with its metrics."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxface.heads.centers import init_centers
from jaxface.heads.dense import dense_head
from jaxface.losses.margins import CosFace, Margin
from jaxface.losses.ranges import check_range


@dataclass(frozen=True)
class Classification:
  """Which identity is it, among those of the training set.

  Attributes:
    margin: what a score becomes.
    label_smoothing: ε in [0, 1), share of the target spread evenly over all classes.
    weight: of this term in the objective; the objective multiplies by it, the term does not.
  """

  margin: Margin = field(default_factory=CosFace)
  label_smoothing: float = 0.0
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "label_smoothing", 0.0, 1.0, open_high=True, what="share of the target spread over all classes")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict[str, Array], Any]:
    """Parameters (centres, biases) and the margin's state.

    Args:
      key: random key.
      embedding_size: D.
      num_classes: C, identities of the training set.
    Returns:
      center_cd [C·K, D] (and bias_c [C]), and the state.
    """
    return init_centers(key, num_classes, embedding_size, self.margin.geometry), self.margin.init_state()

  def __call__(
    self, params: dict[str, Array], inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Array]]:
    """Weighted loss of each row, the new state, and metrics of the batch.

    A row of weight 0 is cut off before anything is computed from it: whatever it holds, even NaN, it adds nothing
    and gets no gradient. So is a row whose label is no class; the metric `bad_labels` counts those (the loader
    refuses them on the host, where it can name the record).

    Args:
      params: from `init`.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding).
      state: from `init` or the step before.
      step: number of the optimizer step, from 0.
      key: random key of this step.
    Returns:
      loss_b [B], already multiplied by the weight of its row: the mean is sum(loss_b) / sum(weight_b). The state.
      Metrics, scalars, weighted means over the batch: accuracy (own score, before the margin, above all others),
      target_score and other_score (own, and largest other; cosines for normalised margins), embedding_norm; and
      the count bad_labels.
    """
    label_b, weight_b = inputs["label_b"], inputs["weight_b"]
    num_classes = params["center_cd"].shape[0] // self.margin.geometry.subcenters
    known_b = (label_b >= 0) & (label_b < num_classes)
    live_b = known_b & (weight_b > 0)
    weight_b = jnp.where(live_b, weight_b, 0.0)
    result = dense_head(
      params, jnp.where(live_b[:, None], inputs["embedding_bd"], 0.0), label_b, weight_b,
      margin=self.margin, state=state, step=step, key=key, label_smoothing=self.label_smoothing,
    )
    loss_b = jnp.where(live_b, result.loss_b, 0.0) * weight_b
    total = jnp.maximum(weight_b.sum(), jnp.finfo(weight_b.dtype).tiny)

    def mean(value_b: Array) -> Array:
      return lax.stop_gradient(jnp.where(live_b, value_b, 0.0) * weight_b).sum() / total

    metrics = {
      "accuracy": mean(result.target_b > result.best_other_b),
      "target_score": mean(result.target_b),
      "other_score": mean(result.best_other_b),
      "embedding_norm": mean(result.norm_b),
      "bad_labels": jnp.sum(~known_b & (inputs["weight_b"] > 0), dtype=weight_b.dtype),
    }
    return loss_b, result.state, metrics


__all__ = ["Classification"]
