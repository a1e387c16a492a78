"""What margins share: none of anything, and the cosine of the own class turned and lowered by margins."""

import abc
import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.angle import GUARDS, guarded_cosine
from jaxface.losses.joint import Geometry, Prep, Reduce
from jaxface.losses.ranges import check_choice, check_range

GRADIENTS = ("exact", "detached")
TURN = "radians added to the angle"
LOWER = "taken off the cosine"


def ramp(step: Array | int, warmup_steps: int) -> Array | float:
  """Share of the margin in force at a step: min(1, step / warmup_steps), and 1 without a warm-up."""
  if warmup_steps == 0:
    return 1.0
  return jnp.minimum(jnp.asarray(step, jnp.float32) / warmup_steps, 1.0)


def check_scale(config: Any) -> None:
  """Refuses a `scale` that is not above 0."""
  check_range(config, "scale", 0.0, open_low=True, high=math.inf, open_high=True, what="factor of the cosine")


class Plain:
  """A margin without state, context or penalty."""

  def init_state(self) -> dict:
    return {}

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    return Prep(ctx=(), state=state, penalty_b=jnp.zeros_like(target_b))


@dataclass(frozen=True)
class CosineMargin(abc.ABC):
  """scale·(cos(m1·θ + m2) − m3) for the own class, scale·cos θ for the others; `prepare` says the margins.

  Attributes:
    scale: factor of the cosine.
    gradient: "exact" differentiates the formula; "detached" takes d logit / d cos θ = scale whatever the margin,
      as the widely used PyTorch code trains. The values are the same.
    guard: what happens where the turned angle leaves [0, π], see `guarded_cosine`; m3 needs no guard and always
      holds.
    warmup_steps: the margin grows linearly from none at step 0 to its full size at this step
      (m1 from 1, m2 and m3 from 0).
    subcenters: centres per class, of which the nearest counts.
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
    """As `Margin.prepare`; the context is (m1, m2, m3), scalars or [B]."""

  def share(self, target_b: Array, step: Array | int) -> Array:
    """Share of the margin in force, in the type of the scores."""
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


__all__ = ["GRADIENTS", "LOWER", "TURN", "CosineMargin", "FixedMargin", "Plain", "check_scale", "ramp"]
