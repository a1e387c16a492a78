"""The joint between a margin and a head: neither knows the other, so every margin works in every head.

The head owns class centres, scores and the log-sum-exp; the margin says what a score becomes. The order of calls:
the head computes scores as `Geometry` asks; `prepare` sees the score of each row's own class, once per step and
over the whole batch; `target` turns that score into the own class's logit; `others` turns every other score, block
by block, into the remaining logits.
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
  """What the head does before the margin sees a score.

  Attributes:
    unit_x: embeddings are scaled to length one.
    unit_w: class centres are scaled to length one; with `unit_x` a score is a cosine.
    bias: a learned constant is added to the scores of each class.
    subcenters: centres per class; the class scores by the nearest of them.
  """

  unit_x: bool
  unit_w: bool
  bias: bool = False
  subcenters: int = 1


class Prep(NamedTuple):
  """What `Margin.prepare` hands on.

  Attributes:
    ctx: whatever `target` and `others` need; every leaf is [B, ...] or a scalar.
    state: the margin's state after this step.
    penalty_b: [B], added to the loss of each row.
  """

  ctx: Any
  state: Any
  penalty_b: Array


class Margin(Protocol):
  """A classification loss, seen from the head."""

  @property
  def geometry(self) -> Geometry:
    """What a score is."""

  def init_state(self) -> Any:
    """A tree of arrays that `prepare` carries from step to step; {} when there is nothing to carry."""

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    """Once per step, before any logit.

    Args:
      target_b: [B] score of each row's own class.
      norm_b: [B] length of each embedding before scaling.
      weight_b: [B], 0 for padding, which must not move a statistic.
      state: of the step before.
      step: number of the optimizer step, from 0.
      key: random key of this step; None where the margin draws nothing.
      reduce: makes sums global.
    """

  def target(self, target_b: Array, ctx: Any) -> Array:
    """[B] logit of the own class."""

  def others(self, score_bk: Array, ctx: Any) -> Array:
    """[B, k] logits of any block of other classes, elementwise; -inf drops a class."""


__all__ = ["Geometry", "Margin", "Prep", "Reduce"]
