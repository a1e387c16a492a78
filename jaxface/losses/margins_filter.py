"""Inter-class filtering: drops classes so similar to a row that they are probably the same identity under another label."""

import math
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxface.losses.joint import Geometry, Margin, Prep, Reduce
from jaxface.losses.margins import ArcFace
from jaxface.losses.margins_base import CallableMargin
from jaxface.losses.ranges import check_range


@dataclass(frozen=True)
class Filtered(CallableMargin):
  """Any margin, ignoring other classes whose score exceeds a threshold.

  They are dropped from the loss and get no gradient. (The released PyTorch code sets their logit to 0 instead, which is
  negligible at its scale of 64.)

  Attributes:
    margin: margin for the remaining classes.
    threshold: a cosine, in (0, 1). If the margin normalises only centres, scores are divided by the embedding's length first;
      if it normalises neither (`Softmax`), this is a bound on the score itself.

  Source: An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by
    Partial FC", 2022, and its released code (`interclass_filtering_threshold`).
  """

  margin: Margin = field(default_factory=ArcFace)
  threshold: float = 0.4

  def __post_init__(self) -> None:
    high = 1.0 if self.margin.geometry.unit_w else math.inf
    check_range(self, "threshold", 0.0, high, open_low=True, open_high=True, what="largest score of another class")

  @property
  def geometry(self) -> Geometry:
    return self.margin.geometry

  def init_state(self) -> Any:
    return self.margin.init_state()

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    prep = self.margin.prepare(target_b, norm_b, weight_b, state=state, step=step, key=key, reduce=reduce)
    per_length = self.geometry.unit_w and not self.geometry.unit_x
    bound_b = self.threshold * (norm_b if per_length else jnp.ones_like(norm_b))
    return prep._replace(ctx=(prep.ctx, bound_b))

  def target(self, target_b: Array, ctx: Any) -> Array:
    return self.margin.target(target_b, ctx[0])

  def others(self, score_bk: Array, ctx: Any) -> Array:
    inner, bound_b = ctx
    return jnp.where(score_bk > bound_b[:, None], -jnp.inf, self.margin.others(score_bk, inner))


__all__ = ["Filtered"]
