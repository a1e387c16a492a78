"""Softmax cross-entropy of a network whose output is one number per class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.metrics import Mean, mean_of
from jaxface.losses.ranges import check_range, class_labels
from jaxface.losses.unit import at_least_float32


@dataclass(frozen=True)
class LogitLoss:
  """Softmax cross-entropy of the network's output, whose numbers are the logits of the classes.

  For a classifier of known classes. A network that gives embeddings has its classes in a head instead, see
  `jaxface.heads.Classification`.

  Attributes:
    weight: factor of the term in the objective.
  """

  scope: ClassVar[str] = "row"
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """Neither parameters nor state.

    Raises:
      ValueError: the network has fewer outputs than the training set has classes.
    """
    if embedding_size < num_classes:
      raise ValueError(f"LogitLoss: the network has {embedding_size} outputs and the training set {num_classes} classes: needs one output per class")
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean]]:
    """Weighted loss of each row; see `Term`.

    Args:
      inputs: embedding_bd [B, C] logits, label_b [B] int, weight_b [B]. Rows of weight 0 are ignored, even if they hold NaN.
    Returns:
      loss_b [B]; the state; metrics: accuracy, the share of rows whose largest logit is that of their class.
    """
    logits_bc, label_b, weight_b = inputs["embedding_bd"], class_labels(inputs["label_b"]), inputs["weight_b"]
    chex.assert_rank([logits_bc, label_b, weight_b], [2, 1, 1])
    logits_bc = jnp.where((weight_b > 0)[:, None], at_least_float32(logits_bc), 0.0)
    loss_b = -jnp.take_along_axis(jax.nn.log_softmax(logits_bc), label_b[:, None], 1)[:, 0]
    return loss_b * weight_b, state, {"accuracy": mean_of(logits_bc.argmax(1) == label_b, weight_b)}


__all__ = ["LogitLoss"]
