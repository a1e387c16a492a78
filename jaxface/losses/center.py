"""Center loss: every embedding is drawn to the centre of its identity, and the centres follow by a rule of their own."""

from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.metrics import Mean, mean_of
from jaxface.losses.ranges import check_labels, check_range, class_labels
from jaxface.losses.unit import at_least_float32


def _rows(center_cd: Array, label_b: Array) -> Array:
  # A label that is no class gets a centre at zero; plain indexing would count -1 from the end.
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
    TypeError: labels that are no integers.
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

  A class that is not in the batch stays where it is. Only the rows of classes in the batch are touched: O(B·D + C).

  Args:
    center_cd: [C, D] float.
    embedding_bd: [B, D] float.
    label_b: [B] int; a row whose label is no class moves nothing.
    weight_b: [B], how often each row counts, 0 for padding; None counts each once.
    alpha: α in [0, 1].
  Returns:
    [C, D] in the type of `center_cd`.
  Raises:
    TypeError: labels that are no integers.
    AssertionError: ranks or sizes differ.
  Source: Wen et al., 2016, eq. 4 and algorithm 1. Other code moves the centres by the optimizer instead.
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
  """Center loss as a term, beside a classification that keeps the centres apart; alone it lets all embeddings collapse.

  The centres are state, not parameters: the optimizer, its momentum and its weight decay never see them. They start at
  zero. The loss of a step is taken to the centres before that step's batch has moved them.

  Attributes:
    alpha: share of the way that a centre goes, in [0, 1].
    weight: λ of the paper.
  """

  scope: ClassVar[str] = "batch"
  alpha: float = 0.5
  weight: float = 0.003

  def __post_init__(self) -> None:
    check_range(self, "alpha", 0.0, 1.0, what="share of the way that a centre goes")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict[str, Array]]:
    """No parameters, and the centres center_cd [C, D] at zero."""
    return {}, {"center_cd": jnp.zeros((num_classes, embedding_size), jnp.float32)}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: dict[str, Array], step: Array | int, key: Array | None,
  ) -> tuple[Array, dict[str, Array], dict[str, Mean]]:
    """Weighted loss of each row, the moved centres, and metrics; see `Term`.

    A row of weight 0, or whose label is no class, adds nothing and moves nothing, whatever it holds.

    Returns:
      loss_b [B], already multiplied by the weight of its row; the state; metrics: distance (mean ‖x − c_y‖) and
      embedding_norm, against which to judge it.
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
