"""Losses of a regression of points: wing and smooth L1, and a term on the targets of a batch."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import chex
import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.metrics import Mean, mean_of
from jaxface.losses.ranges import check_choice, check_range
from jaxface.losses.unit import at_least_float32


def wing(error: Array, *, width: float = 10.0, curvature: float = 2.0) -> Array:
  """w·ln(1 + |x|/ε) below w, |x| − C from there on; C makes it continuous.

  Small errors keep a large gradient, unlike squares; large ones count as in L1.

  Args:
    error: any shape, in pixels of the network's input.
    width: w, in the unit of the error.
    curvature: ε; a smaller one makes the gradient at small errors larger. The gradient at 0 is 0.
  Returns:
    An array of the shape of `error`, ≥ 0, at least float32.
  Source: Feng et al., "Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", 2018, eq. 5.
  """
  size = _size(error)
  constant = width - width * math.log1p(width / curvature)
  # The unused branch sees no large numbers, so that its gradient is finite.
  return jnp.where(size < width, width * jnp.log1p(jnp.minimum(size, width) / curvature), size - constant)


def smooth_l1(error: Array, *, width: float = 1.0) -> Array:
  """x²/2w below w, |x| − w/2 from there on.

  Args:
    error: any shape.
    width: w, in the unit of the error.
  Returns:
    An array of the shape of `error`, ≥ 0, at least float32.
  Source: Girshick, "Fast R-CNN", 2015, eq. 3, with w = 1.
  """
  size = _size(error)
  return jnp.where(size < width, jnp.minimum(size, width) ** 2 / (2 * width), size - width / 2)


def _size(error: Array) -> Array:
  """|x| with gradient 0 at 0, where JAX's `abs` has 1."""
  error = at_least_float32(error)
  return jnp.where(error == 0, 0.0, jnp.abs(error))


@dataclass(frozen=True)
class LandmarkLoss:
  """Mean of a loss over the coordinates of the points: the network's output against the batch's targets.

  The batch needs targets, see `jaxface.data.Source`: in the unit and order of the output, x and y of each point in turn.

  Attributes:
    form: "wing" or "smooth_l1".
    width: where the loss becomes linear, in pixels of the network's input.
    curvature: of "wing".
    weight: factor of the term in the objective.
  """

  scope: ClassVar[str] = "row"
  form: Literal["wing", "smooth_l1"] = "wing"
  width: float = 10.0
  curvature: float = 2.0
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_choice(self, "form", ("wing", "smooth_l1"))
    check_range(self, "width", 0.0, open_low=True, what="where the loss becomes linear")
    check_range(self, "curvature", 0.0, open_low=True)
    check_range(self, "weight", 0.0, what="factor of this term in the objective")

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict, dict]:
    """Neither parameters nor state."""
    return {}, {}

  def __call__(
    self, params: Any, inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Mean]]:
    """Weighted loss of each row; see `Term`.

    Args:
      inputs: also target_bt [B, T], T the size of the output. Rows of weight 0 are ignored, even if they hold NaN.
    Returns:
      loss_b [B]; the state; metrics: pixels, the mean distance of a point from its target.
    Raises:
      ValueError: the batch has no targets.
    """
    if "target_bt" not in inputs:
      raise ValueError("LandmarkLoss: the batch has no targets; it needs a source with `target_nt`")
    output_bt, target_bt, weight_b = inputs["embedding_bd"], inputs["target_bt"], inputs["weight_b"]
    chex.assert_equal_shape([output_bt, target_bt])
    error_bt = jnp.where((weight_b > 0)[:, None], at_least_float32(output_bt) - target_bt, 0.0)
    each = wing(error_bt, width=self.width, curvature=self.curvature) if self.form == "wing" else smooth_l1(error_bt, width=self.width)
    distance_b = jnp.linalg.norm(lax.stop_gradient(error_bt).reshape(len(error_bt), -1, 2), axis=-1).mean(-1)
    return each.mean(-1) * weight_b, state, {"pixels": mean_of(distance_b, weight_b)}


__all__ = ["LandmarkLoss", "smooth_l1", "wing"]
