"""Base classes of margins: the call with class centres, margins without state, and margins on the cosine."""

import abc
import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.angle import GUARDS, guarded_cosine
from jaxface.losses.dense import margin_softmax
from jaxface.losses.joint import Geometry, Prep, Reduce
from jaxface.losses.ranges import check_choice, check_range

GRADIENTS = ("exact", "detached")
TURN = "radians added to the angle"
LOWER = "subtracted from the cosine"


def ramp(step: Array | int, warmup_steps: int) -> Array | float:
  """Share of the margin at a step: min(1, step / warmup_steps), or 1 without a warm-up."""
  if warmup_steps == 0:
    return 1.0
  return jnp.minimum(jnp.asarray(step, jnp.float32) / warmup_steps, 1.0)


def check_scale(config: Any) -> None:
  """Rejects a `scale` that is not positive."""
  check_range(config, "scale", 0.0, open_low=True, high=math.inf, open_high=True, what="factor of the cosine")


class CallableMargin:
  """A margin that can be called with class centres, for use outside of an experiment."""

  def __call__(
    self, embedding_bd: Array, label_b: Array | None = None, center_cd: Array | None = None, *, bias_c: Array | None = None,
    label_smoothing: float = 0.0, step: Array | int = 0, key: Array | None = None,
  ) -> Array:
    """Loss of each row over given class centres, see `jaxface.losses.dense.margin_softmax`.

    Args:
      embedding_bd: [B, D] float; scaled to length one if the margin's geometry requires it.
      label_b: [B] int in [0, C).
      center_cd: [C·K, D] float, the K sub-centres of a class in consecutive rows.
      bias_c: [C], for a margin whose geometry has a bias; zero by default.
      label_smoothing: ε in [0, 1).
      step: number of the optimizer step, for margins that warm up.
      key: random key, for margins that sample.
    Returns:
      [B], at least float32.
    Raises:
      TypeError: arrays are missing, or labels are not integers.
      ValueError: shapes that do not match.
    """
    name = type(self).__name__
    takes = "takes embedding_bd [B, D], integer label_b [B] and center_cd [C·subcenters, D]"
    if label_b is None or center_cd is None:
      given = ["embedding_bd", *["label_b"] * (label_b is not None)]
      raise TypeError(
        f"{name}(...)(...) {takes}, got only {' and '.join(given)}: a margin owns no class centres. Pass them, or use"
        f" jaxface.heads.Classification(margin={name}()), which does"
      )
    shapes = [tuple(jnp.shape(array)) for array in (embedding_bd, label_b, center_cd)]
    subcenters = self.geometry.subcenters  # type: ignore[attr-defined]
    right = list(map(len, shapes)) == [2, 1, 2] and shapes[0][0] == shapes[1][0] and shapes[0][1] == shapes[2][1]
    if not right or shapes[2][0] % subcenters:
      raise ValueError(f"{name}(...)(...) {takes} with subcenters {subcenters}, got shapes {', '.join(map(str, shapes))}")
    return margin_softmax(
      embedding_bd, label_b, center_cd, margin=self,  # type: ignore[arg-type]
      bias_c=bias_c, label_smoothing=label_smoothing, step=step, key=key,
    )


class Plain(CallableMargin):
  """A margin without state; without context or penalty too, unless it prepares them."""

  def init_state(self) -> dict:
    return {}

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    return Prep(ctx=(), state=state, penalty_b=jnp.zeros_like(target_b))


@dataclass(frozen=True)
class CosineMargin(CallableMargin, abc.ABC):
  """scale·(cos(m1·θ + m2) − m3) for the own class, scale·cos θ for the others; `prepare` returns the margins.

  Attributes:
    scale: factor of the cosine.
    gradient: "exact" differentiates the formula; "detached" uses d logit / d cos θ = scale for any margin,
      as the widely used PyTorch code does. The values are the same.
    guard: behaviour where the angle with margin leaves [0, π], see `guarded_cosine`; m3 needs no guard and always
      applies.
    warmup_steps: the margin grows linearly from none at step 0 to its full size at this step
      (m1 from 1, m2 and m3 from 0).
    subcenters: centres per class, of which the nearest is used.
  """

  _: KW_ONLY
  scale: float = 64.0
  gradient: Literal["exact", "detached"] = "exact"
  guard: Literal["hard", "hold", "easy", "none"] = "hard"
  warmup_steps: int = 0
  subcenters: int = 1

  def __post_init__(self) -> None:
    check_scale(self)
    check_choice(self, "gradient", GRADIENTS)
    check_choice(self, "guard", GUARDS)
    check_range(self, "warmup_steps", 0, what="optimizer steps")
    check_range(self, "subcenters", 1, what="centres per class")

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=True, unit_w=True, subcenters=self.subcenters)

  def init_state(self) -> dict:
    return {}

  @abc.abstractmethod
  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    """See `Margin.prepare`; the context is (m1, m2, m3), scalars or [B]."""

  def share(self, target_b: Array, step: Array | int) -> Array:
    """Share of the margin at this step, in the dtype of the scores."""
    return jnp.asarray(ramp(step, self.warmup_steps), target_b.dtype)

  def target(self, target_b: Array, ctx: Any) -> Array:
    m1, m2, m3 = ctx
    turned_b = guarded_cosine(target_b, m1, m2, guard=self.guard) - m3
    if self.gradient == "detached":
      turned_b = target_b + lax.stop_gradient(turned_b - target_b)
    return self.scale * turned_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return self.scale * score_bk


@dataclass(frozen=True)
class FixedMargin(CosineMargin):
  """Margins that are the same for every row."""

  @property
  @abc.abstractmethod
  def margins(self) -> tuple[float, float, float]:
    """(m1, m2, m3) at full size."""

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    m1, m2, m3 = self.margins
    share = self.share(target_b, step)
    return Prep((1.0 + share * (m1 - 1.0), share * m2, share * m3), state, jnp.zeros_like(target_b))


__all__ = ["GRADIENTS", "LOWER", "TURN", "CallableMargin", "CosineMargin", "FixedMargin", "Plain", "check_scale", "ramp"]
