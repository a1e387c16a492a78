"""Softmax, normalised softmax, and the margins that turn or lower the cosine of the own class."""

import abc
import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.angle import GUARDS, guarded_cosine
from jaxface.losses.joint import Geometry, Margin, Prep, Reduce
from jaxface.losses.ranges import check_choice, check_range

GRADIENTS = ("exact", "detached")


class _Plain:
  """What margins without state, context or penalty share."""

  def init_state(self) -> dict:
    return {}

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    return Prep(ctx=(), state=state, penalty_b=jnp.zeros_like(target_b))


@dataclass(frozen=True)
class Softmax(_Plain):
  """Softmax over x·w + b, nothing normalised."""

  bias: bool = True

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=False, unit_w=False, bias=self.bias)

  def target(self, target_b: Array, ctx: Any) -> Array:
    return target_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return score_bk


@dataclass(frozen=True)
class NormSoftmax(_Plain):
  """Softmax over scale·cos θ.

  Source: Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", 2017.
  """

  scale: float = 64.0

  def __post_init__(self) -> None:
    check_range(self, "scale", 0.0, open_low=True, high=math.inf, open_high=True, what="factor of the cosine")

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=True, unit_w=True)

  def target(self, target_b: Array, ctx: Any) -> Array:
    return self.scale * target_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return self.scale * score_bk


def ramp(step: Array | int, warmup_steps: int) -> Array | float:
  """Share of the margin in force at a step: min(1, step / warmup_steps), and 1 without a warm-up."""
  if warmup_steps == 0:
    return 1.0
  return jnp.minimum(jnp.asarray(step, jnp.float32) / warmup_steps, 1.0)


@dataclass(frozen=True)
class _CosineMargin(abc.ABC):
  """scale·(cos(m1·θ + m2) − m3) for the own class, scale·cos θ for the others.

  Attributes:
    gradient: "exact" differentiates the formula; "detached" takes d logit / d cos θ = scale whatever the margin,
      as the widely used PyTorch code trains. The values are the same.
    guard: what happens where m1·θ + m2 > π, see `guarded_cosine`; m3 needs no guard and always holds.
    warmup_steps: the margin grows linearly from none at step 0 to its full size at this step
      (m1 from 1, m2 and m3 from 0).
    subcenters: centres per class, of which the nearest counts.
  """

  _: KW_ONLY
  scale: float = 64.0
  gradient: Literal["exact", "detached"] = "exact"
  guard: Literal["hard", "easy", "none"] = "hard"
  warmup_steps: int = 0
  subcenters: int = 1

  def __post_init__(self) -> None:
    check_range(self, "scale", 0.0, open_low=True, high=math.inf, open_high=True, what="factor of the cosine")
    check_choice(self, "gradient", GRADIENTS)
    check_choice(self, "guard", GUARDS)
    check_range(self, "warmup_steps", 0, what="optimizer steps")
    check_range(self, "subcenters", 1, what="centres per class")

  @property
  @abc.abstractmethod
  def margins(self) -> tuple[float, float, float]:
    """(m1, m2, m3) at full size."""

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=True, unit_w=True, subcenters=self.subcenters)

  def init_state(self) -> dict:
    return {}

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    m1, m2, m3 = self.margins
    share = jnp.asarray(ramp(step, self.warmup_steps), target_b.dtype)
    return Prep(ctx=(1.0 + share * (m1 - 1.0), share * m2, share * m3), state=state, penalty_b=jnp.zeros_like(target_b))

  def target(self, target_b: Array, ctx: Any) -> Array:
    m1, m2, m3 = ctx
    turned_b = guarded_cosine(target_b, m1, m2, guard=self.guard) - m3
    if self.gradient == "detached":
      turned_b = target_b + lax.stop_gradient(turned_b - target_b)
    return self.scale * turned_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return self.scale * score_bk


_TURN = "radians added to the angle"
_LOWER = "taken off the cosine"


@dataclass(frozen=True)
class CombinedMargin(_CosineMargin):
  """scale·(cos(m1·θ + m2) − m3): the three margins at once.

  Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, eq. 4.
  """

  m1: float = 1.0
  m2: float = 0.3
  m3: float = 0.2

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m1", 1.0, 8.0, what="factor of the angle")
    check_range(self, "m2", 0.0, math.pi / 2, what=_TURN)
    check_range(self, "m3", 0.0, 1.0, what=_LOWER)

  @property
  def margins(self) -> tuple[float, float, float]:
    return self.m1, self.m2, self.m3


@dataclass(frozen=True)
class ArcFace(_CosineMargin):
  """scale·cos(θ + m).

  Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, eq. 3.
  """

  m: float = 0.5

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, math.pi / 2, what=_TURN)

  @property
  def margins(self) -> tuple[float, float, float]:
    return 1.0, self.m, 0.0


@dataclass(frozen=True)
class CosFace(_CosineMargin):
  """scale·(cos θ − m); both gradient modes are the same here, and the guard is idle.

  Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018, eq. 4.
  """

  m: float = 0.35

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, 1.0, what=_LOWER)

  @property
  def margins(self) -> tuple[float, float, float]:
    return 1.0, 0.0, self.m


__all__ = [
  "GRADIENTS", "ArcFace", "CombinedMargin", "CosFace", "Geometry", "Margin", "NormSoftmax", "Prep", "Softmax", "ramp",
]
