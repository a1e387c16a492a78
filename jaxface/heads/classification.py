"""Classification of identities as a term of the objective: a margin over the dense head, with its metrics."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from jaxface.heads.centers import init_centers
from jaxface.heads.checks import check_rows
from jaxface.losses.dense import dense_head
from jaxface.losses.joint import Margin
from jaxface.losses.margins import CosFace
from jaxface.losses.margins_filter import Filtered
from jaxface.losses.metrics import Metric, Sum, mean_of
from jaxface.losses.ranges import check_choice, check_range, class_labels
from jaxface.losses.regularisers import center_repulsion

CENTER_INITS = ("normal", "mean_embedding")


@dataclass(frozen=True)
class Classification:
  """Classifies the identities of the training set.

  Attributes:
    margin: margin applied to the scores.
    label_smoothing: ε in [0, 1), share of the target spread evenly over all classes.
    interclass_filtering: other classes whose cosine to a row is above this are ignored in its loss, as probably the same
      person under another name, see `Filtered`; None ignores none.
    center_repulsion: weight of the repulsion energy between the centres of the batch's classes and all others; with
      `ASoftmax` this is SphereFace+ (which uses 1).
    center_init: initial centres: "normal" (random), or "mean_embedding", the mean embedding of each identity's images
      under the initial network, see `jaxface.training.class_centers`.
    debug: report step and row of non-finite embeddings and labels out of range, see `check_rows`.
    weight: weight of this term in the objective, which multiplies by it; the term does not.
  """

  scope: ClassVar[str] = "row"

  margin: Margin = field(default_factory=CosFace)
  label_smoothing: float = 0.0
  interclass_filtering: float | None = None
  center_repulsion: float = 0.0
  center_init: Literal["normal", "mean_embedding"] = "normal"
  debug: bool = False
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "label_smoothing", 0.0, 1.0, open_high=True, what="share of the target spread over all classes")
    check_range(self, "center_repulsion", 0.0, math.inf, open_high=True, what="weight of the energy between centres")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")
    check_choice(self, "center_init", CENTER_INITS)
    subcenters = self.margin.geometry.subcenters
    if self.center_repulsion and subcenters > 1:
      raise ValueError(
        f"Classification.center_repulsion = {self.center_repulsion} needs one centre per class, but the margin"
        f" {type(self.margin).__name__} has {subcenters}, which would repel each other too"
      )
    self._margin()  # Checks the threshold.

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
  ) -> tuple[Array, Any, dict[str, Metric]]:
    """Weighted loss of each row, the new state, and metrics of the batch.

    Rows of weight 0 are masked before any computation: whatever they contain, even NaN, they do not contribute and get
    no gradient. Rows with a label out of range are masked too and counted by the metric `bad_labels` (the loader rejects
    them on the host and names the record; `debug` reports row and step).

    Args:
      params: from `init`.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding).
      state: from `init` or the previous step.
      step: number of the optimizer step, from 0.
      key: random key of this step.
    Returns:
      loss_b [B], already multiplied by the weight of its row: the mean is sum(loss_b) / sum(weight_b). The state.
      Metrics, weighted means over the rows: accuracy (own score, before the margin, above all others),
      target_score and other_score (own, and largest other; cosines for normalised margins), embedding_norm; and
      the sum bad_labels. With `center_repulsion` also center_energy.
    Raises:
      TypeError: labels that are not integers.
    """
    label_b, weight_b = class_labels(inputs["label_b"]), inputs["weight_b"]
    num_classes = params["center_cd"].shape[0] // self.margin.geometry.subcenters
    if self.debug:
      check_rows(inputs["embedding_bd"], label_b, weight_b, num_classes, step)
    known_b = (label_b >= 0) & (label_b < num_classes)
    live_b = known_b & (weight_b > 0)
    weight_b = jnp.where(live_b, weight_b, 0.0)
    result = dense_head(
      params, jnp.where(live_b[:, None], inputs["embedding_bd"], 0.0), label_b, weight_b,
      margin=self._margin(), state=state, step=step, key=key, label_smoothing=self.label_smoothing,
    )
    loss_b = jnp.where(live_b, result.loss_b, 0.0) * weight_b
    metrics: dict[str, Metric] = {
      "accuracy": mean_of(result.target_b > result.best_other_b, weight_b),
      "target_score": mean_of(result.target_b, weight_b),
      "other_score": mean_of(result.best_other_b, weight_b),
      "embedding_norm": mean_of(result.norm_b, weight_b),
      "bad_labels": Sum(jnp.sum(~known_b & (inputs["weight_b"] > 0), dtype=weight_b.dtype)),
    }
    if self.center_repulsion:
      energy_b = center_repulsion(params["center_cd"], jnp.where(live_b, label_b, 0))
      loss_b = loss_b + self.center_repulsion * energy_b * weight_b
      metrics["center_energy"] = mean_of(energy_b, weight_b)
    return loss_b, result.state, metrics

  def _margin(self) -> Margin:
    threshold = self.interclass_filtering
    return self.margin if threshold is None else Filtered(self.margin, threshold)


__all__ = ["Classification"]
