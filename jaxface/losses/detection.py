"""Terms of the training of detectors: face or not with the hardest rows, offsets of the box, five points, and parts of a face.

MTCNN's networks give 16 numbers per crop: scores of no face and face, four offsets of the box, and x, y of five points. A target has 15: the
kind of the crop, four offsets and x, y of five points. Each kind enters some of the terms:

  NEGATIVE  overlaps no face                                  score
  POSITIVE  overlaps a face                                   score, offsets
  PART      overlaps a face in part                           offsets
  POINTS    a face with labelled points                       points

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016, eq. 1 to 4.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.metrics import Mean, mean_of
from jaxface.losses.ranges import check_range
from jaxface.losses.unit import at_least_float32

NEGATIVE, POSITIVE, PART, POINTS = 0, 1, 2, 3
SCORES, BOXES, OUTPUTS, TARGETS = 2, 6, 16, 15
_OFFSETS, _POINTS = slice(2, 6), slice(6, 16)


def hardest_rows(loss_b: Array, own_b: Array, share: float) -> Array:
  """The rows with the largest losses among some of a batch.

  Args:
    loss_b: [B] losses.
    own_b: [B] bool, the rows to choose from.
    share: how many of them are kept, in 0..1; their number is rounded up.
  Returns:
    [B] bool. Of equal losses the first are kept.
  """
  order_b = jnp.argsort(jnp.where(own_b, -loss_b, jnp.inf), stable=True)
  rank_b = jnp.zeros(len(loss_b), jnp.int32).at[order_b].set(jnp.arange(len(loss_b), dtype=jnp.int32))
  # A little less, so that 0.7 of 10 rows, 7.0000002 in float32, are 7.
  return own_b & (rank_b < jnp.ceil(share * own_b.sum() - 1e-4))


def _inputs(inputs: dict[str, Array], name: str, outputs: tuple[int, ...] = (OUTPUTS,)) -> tuple[Array, Array, Array, Array]:
  """Outputs and targets with zeros in rows of weight 0, kinds, and weights."""
  if "target_bt" not in inputs:
    raise ValueError(f"{name}: the batch has no targets; it needs a source with `target_nt`")
  output_bd, target_bt, weight_b = inputs["embedding_bd"], inputs["target_bt"], inputs["weight_b"]
  if output_bd.shape[-1] not in outputs or target_bt.shape[-1] != TARGETS:
    needed = " or ".join(map(str, outputs))
    raise ValueError(f"{name}: outputs of {output_bd.shape[-1]} and targets of {target_bt.shape[-1]} numbers: needs {needed} and {TARGETS}")
  live_b1 = (weight_b > 0)[:, None]
  output_bd, target_bt = jnp.where(live_b1, at_least_float32(output_bd), 0.0), jnp.where(live_b1, target_bt, 0.0)
  return output_bd, target_bt, target_bt[:, 0].astype(jnp.int32), weight_b


def _mean_over(loss_b: Array, own_b: Array, weight_b: Array) -> Array:
  """[B] losses whose sum, divided by the sum of the weights, is the mean over `own_b`; 0 where there is none."""
  own_weight_b = jnp.where(own_b, weight_b, 0.0)
  total = own_weight_b.sum()
  return jnp.where(own_b, loss_b, 0.0) * own_weight_b * jnp.where(total > 0, weight_b.sum() / jnp.where(total > 0, total, 1.0), 0.0)


@dataclass(frozen=True)
class FaceScore:
  """Cross-entropy of face or not, over the hardest of the negative and positive crops of a batch.

  Attributes:
    hardest: share of those crops that count, by falling loss; the others are easy and have no gradient.
    weight: factor of the term in the objective.
  """

  scope: ClassVar[str] = "batch"
  hardest: float = 0.7
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "hardest", 0.0, 1.0, open_low=True, what="share of the crops that count")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """Neither parameters nor state."""
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean]]:
    """Loss of each row; see `Term`.

    Args:
      inputs: embedding_bd [B, 16], or the scores and offsets [B, 6], or the two scores alone [B, 2]; target_bt [B, 15], see above. Rows of weight 0 are ignored, even if they
        hold NaN.
    Returns:
      loss_b [B]; the state; metrics: accuracy at a probability of one half, over all negative and positive crops.
    Raises:
      ValueError: the batch has no targets, or numbers of another length.
    """
    output_bd, _, kind_b, weight_b = _inputs(inputs, "FaceScore", (SCORES, BOXES, OUTPUTS))
    own_b = (kind_b <= POSITIVE) & (weight_b > 0)
    face_b = kind_b == POSITIVE
    # softplus of the score of the wrong answer minus that of the right one
    margin_b = (output_bd[:, 1] - output_bd[:, 0]) * jnp.where(face_b, -1.0, 1.0)
    entropy_b = jax.nn.softplus(margin_b)
    kept_b = hardest_rows(jax.lax.stop_gradient(entropy_b), own_b, self.hardest)
    right_b = (margin_b < 0).astype(jnp.float32)
    return _mean_over(entropy_b, kept_b, weight_b), state, {"accuracy": mean_of(right_b, jnp.where(own_b, weight_b, 0.0))}


@dataclass(frozen=True)
class BoxOffsets:
  """Squared distance of the four offsets, over the positive and part crops of a batch.

  Attributes:
    weight: factor of the term in the objective.
  """

  scope: ClassVar[str] = "batch"
  weight: float = 0.5

  def __post_init__(self) -> None:
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """Neither parameters nor state."""
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean]]:
    """Loss of each row; arguments and errors as for `FaceScore`, without [B, 2]. Metric: distance, the mean over the four offsets."""
    output_bd, target_bt, kind_b, weight_b = _inputs(inputs, "BoxOffsets", (BOXES, OUTPUTS))
    own_b = ((kind_b == POSITIVE) | (kind_b == PART)) & (weight_b > 0)
    error_b4 = output_bd[:, _OFFSETS] - target_bt[:, 1:5]
    distance = mean_of(jnp.abs(error_b4).mean(-1), jnp.where(own_b, weight_b, 0.0))
    return _mean_over(jnp.square(error_b4).sum(-1), own_b, weight_b), state, {"distance": distance}


@dataclass(frozen=True)
class FacePoints:
  """Squared distance of the ten coordinates of the points, over the crops of a batch with labelled points.

  Attributes:
    weight: factor of the term in the objective: 0.5 for P-Net and R-Net, 1 for O-Net.
  """

  scope: ClassVar[str] = "batch"
  weight: float = 0.5

  def __post_init__(self) -> None:
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """Neither parameters nor state."""
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean]]:
    """Loss of each row; arguments and errors as for `FaceScore`. Metric: distance, the mean of a point from its target, in sides of a crop."""
    output_bd, target_bt, kind_b, weight_b = _inputs(inputs, "FacePoints")
    own_b = (kind_b == POINTS) & (weight_b > 0)
    error_bt = output_bd[:, _POINTS] - target_bt[:, 5:]
    length_b = jnp.linalg.norm(jax.lax.stop_gradient(error_bt).reshape(-1, 5, 2), axis=-1).mean(-1)
    distance = mean_of(length_b, jnp.where(own_b, weight_b, 0.0))
    return _mean_over(jnp.square(error_bt).sum(-1), own_b, weight_b), state, {"distance": distance}


@dataclass(frozen=True)
class PartScores:
  """Cross-entropy of separate networks for the parts of a face, each of which says whether a crop shows its part.

  The kind of a crop is 0 for none of the parts, and 1 + p for the part p; the rest of the target is not read.

  Attributes:
    parts: number of networks.
    weight: factor of the term in the objective.
  Source: Yang et al., "From Facial Parts Responses to Face Detection: A Deep Learning Approach", 2015: a network for each part.
  """

  scope: ClassVar[str] = "row"
  parts: int = 5
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "parts", 1)
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """Neither parameters nor state."""
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean]]:
    """Sum of the losses of the networks for each row; errors as for `FaceScore`.

    Args:
      inputs: embedding_bd [B, parts] logits; target_bt [B, 15].
    Returns:
      loss_b [B]; the state; metrics: accuracy, over all rows and parts, at a probability of one half.
    """
    logit_bp, _, kind_b, weight_b = _inputs(inputs, "PartScores", (self.parts,))
    shown_bp = kind_b[:, None] == 1 + jnp.arange(self.parts)
    margin_bp = jnp.where(shown_bp, -logit_bp, logit_bp)
    right_b = (margin_bp < 0).astype(jnp.float32).mean(-1)
    return jax.nn.softplus(margin_bp).sum(-1) * weight_b, state, {"accuracy": mean_of(right_b, weight_b)}


__all__ = [
  "BOXES", "NEGATIVE", "OUTPUTS", "PART", "POINTS", "POSITIVE", "SCORES", "TARGETS", "BoxOffsets", "FacePoints", "FaceScore", "PartScores",
  "hardest_rows",
]
