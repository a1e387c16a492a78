"""Center loss: embeddings are pulled to the centre of their identity; the centres have their own update rule."""

from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.metrics import Mean, mean_of
from jaxface.losses.ranges import check_labels, check_range, class_labels
from jaxface.losses.unit import at_least_float32


def _rows(center_cd: Array, label_b: Array) -> Array:
  # A label outside [0, C) gets a zero centre; plain indexing would count -1 from the end.
  return jnp.take(center_cd, _outside(label_b, len(center_cd)), axis=0, mode="fill", fill_value=0.0)


def _outside(label_b: Array, num_classes: int) -> Array:
  label_b = class_labels(label_b)
  return jnp.where(label_b < 0, num_classes, label_b)


def center_loss(embedding_bd: Array, label_b: Array, center_cd: Array) -> Array:
  """½‖x − c_y‖² of each row; the centres get no gradient.

  Args:
    embedding_bd: [B, D] float, not normalised.
    label_b: [B] int in [0, C).
    center_cd: [C, D] float.
  Returns:
    [B], at least float32.
  Raises:
    TypeError: labels are not integers.
    AssertionError: ranks or sizes differ.
  Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016, eq. 2.
  """
  _check(embedding_bd, label_b, center_cd)
  away_bd = at_least_float32(embedding_bd) - lax.stop_gradient(_rows(center_cd, label_b))
  return 0.5 * jnp.sum(away_bd * away_bd, axis=-1)


def move_centers(
  center_cd: Array, embedding_bd: Array, label_b: Array, weight_b: Array | None = None, *, alpha: float = 0.5,
) -> Array:
  """Centres after a batch: c_j − α·Σ(c_j − x)/(1 + n_j), the sum and n_j over the batch's rows of class j.

  Classes that are not in the batch do not move. Only the rows of classes in the batch are touched: O(B·D + C).

  Args:
    center_cd: [C, D] float.
    embedding_bd: [B, D] float.
    label_b: [B] int; rows with a label outside [0, C) are ignored.
    weight_b: [B] weight of each row, 0 for padding; None for ones.
    alpha: α in [0, 1].
  Returns:
    [C, D] with the dtype of `center_cd`.
  Raises:
    TypeError: labels are not integers.
    AssertionError: ranks or sizes differ.
  Source: Wen et al., 2016, eq. 4 and algorithm 1. Other implementations update the centres with the optimizer instead.
  """
  _check(embedding_bd, label_b, center_cd)
  embedding_bd = lax.stop_gradient(at_least_float32(embedding_bd))
  weight_b = jnp.ones(len(label_b), embedding_bd.dtype) if weight_b is None else weight_b
  index_b = _outside(label_b, len(center_cd))
  count_c = jnp.zeros(len(center_cd), weight_b.dtype).at[index_b].add(weight_b, mode="drop")
  share_b = weight_b / (1.0 + jnp.take(count_c, index_b, mode="fill", fill_value=0.0))
  step_bd = share_b[:, None] * (embedding_bd - _rows(center_cd, label_b))
  return jnp.asarray(center_cd).at[index_b].add((alpha * step_bd).astype(center_cd.dtype), mode="drop")


def _check(embedding_bd: Array, label_b: Array, center_cd: Array) -> None:
  check_labels(label_b)
  chex.assert_rank([embedding_bd, label_b, center_cd], [2, 1, 2])
  chex.assert_equal_shape_prefix([embedding_bd, label_b], 1)
  chex.assert_equal(embedding_bd.shape[1], center_cd.shape[1])


@dataclass(frozen=True)
class CenterLoss:
  """Center loss as a term. It needs a classification that separates the centres; alone, all embeddings collapse.

  The centres are state, not parameters: no optimizer, momentum or weight decay applies to them. They start at zero. The loss of a
  step uses the centres from before that step's update.

  Attributes:
    alpha: update rate of the centres, in [0, 1].
    weight: λ of the paper.
  """

  scope: ClassVar[str] = "batch"
  alpha: float = 0.5
  weight: float = 0.003

  def __post_init__(self) -> None:
    check_range(self, "alpha", 0.0, 1.0, what="update rate of the centres")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict[str, Array]]:
    """No parameters; the state is center_cd [C, D], zeros."""
    return {}, {"center_cd": jnp.zeros((num_classes, embedding_size), jnp.float32)}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: dict[str, Array], step: Array | int, key: Array | None,
  ) -> tuple[Array, dict[str, Array], dict[str, Mean]]:
    """Weighted loss of each row, the updated centres, and metrics; see `Term`.

    Rows of weight 0, or with a label outside [0, C), are ignored, even if they hold NaN.

    Returns:
      loss_b [B], already multiplied by the weight of its row; the state; metrics: distance (mean ‖x − c_y‖) and
      embedding_norm, its reference scale.
    """
    label_b, center_cd = class_labels(inputs["label_b"]), state["center_cd"]
    live_b = (label_b >= 0) & (label_b < len(center_cd)) & (inputs["weight_b"] > 0)
    weight_b = jnp.where(live_b, inputs["weight_b"], 0.0)
    embedding_bd = at_least_float32(jnp.where(live_b[:, None], inputs["embedding_bd"], 0.0))
    loss_b = center_loss(embedding_bd, label_b, center_cd)
    moved_cd = move_centers(center_cd, embedding_bd, label_b, weight_b, alpha=self.alpha)
    squared_b = {"distance": 2.0 * loss_b, "embedding_norm": jnp.sum(embedding_bd * embedding_bd, axis=-1)}
    metrics = {name: mean_of(jnp.sqrt(lax.stop_gradient(s_b)), weight_b) for name, s_b in squared_b.items()}
    return loss_b * weight_b, {"center_cd": moved_cd}, metrics


__all__ = ["CenterLoss", "center_loss", "move_centers"]
