"""The interface between margins and heads. They are independent: every margin works in every head.

The head owns class centres, scores and the log-sum-exp; the margin maps scores to logits. The order of calls: the head computes
scores according to `Geometry`; `prepare` receives the score of each row's own class, once per step and over the whole batch;
`target` maps that score to the own class's logit; `others` maps all other scores, block by block, to the remaining logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from jax import Array

# Turns a sum over this device's rows into the sum over the global batch: the identity under plain `jit`,
# a `psum` inside `shard_map`.
Reduce = Callable[[Array], Array]


@dataclass(frozen=True)
class Geometry:
  """How the head computes scores.

  Attributes:
    unit_x: embeddings are scaled to length one.
    unit_w: class centres are scaled to length one; with `unit_x` a score is a cosine.
    bias: a learned constant is added to the scores of each class.
    subcenters: centres per class; the nearest one determines the score.
  """

  unit_x: bool
  unit_w: bool
  bias: bool = False
  subcenters: int = 1


class Prep(NamedTuple):
  """Result of `Margin.prepare`.

  Attributes:
    ctx: context for `target` and `others`; every leaf is [B, ...] or a scalar.
    state: the margin's state after this step.
    penalty_b: [B] penalty added to the loss of each row.
  """

  ctx: Any
  state: Any
  penalty_b: Array


class Margin(Protocol):
  """A classification loss, as a head uses it."""

  @property
  def geometry(self) -> Geometry:
    """How scores are computed."""

  def init_state(self) -> Any:
    """Initial state, a tree of arrays that `prepare` updates at each step; {} if there is none."""

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    """Called once per step, before any logit is computed.

    Args:
      target_b: [B] score of each row's own class.
      norm_b: [B] length of each embedding before scaling.
      weight_b: [B], 0 for padding, which must not affect statistics.
      state: state after the previous step.
      step: number of the optimizer step, from 0.
      key: random key of this step; None if the margin does not sample.
      reduce: turns a sum over this device's rows into a global sum.
    """

  def target(self, target_b: Array, ctx: Any) -> Array:
    """[B] logit of the own class."""

  def others(self, score_bk: Array, ctx: Any) -> Array:
    """[B, k] logits of any block of other classes, elementwise; -inf drops a class."""


__all__ = ["Geometry", "Margin", "Prep", "Reduce"]
