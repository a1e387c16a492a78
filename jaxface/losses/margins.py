"""Softmax, its normalised forms, and margins that change the angle or cosine of the own class by a constant."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from jax import Array

from jaxface.losses.joint import Geometry, Margin, Prep
from jaxface.losses.margins_base import GRADIENTS, LOWER, TURN, FixedMargin, Plain, check_scale, ramp
from jaxface.losses.ranges import check_range


@dataclass(frozen=True)
class Softmax(Plain):
  """Softmax over x·w + b, without normalisation.

  Attributes:
    bias: whether each class has a bias b.
  """

  bias: bool = True

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=False, unit_w=False, bias=self.bias)

  def target(self, target_b: Array, ctx: Any) -> Array:
    return target_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return score_bk


@dataclass(frozen=True)
class ModifiedSoftmax(Plain):
  """Softmax over ‖x‖·cos θ: unit centres, no bias, unnormalised embeddings.

  Source: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, eq. 4.
  """

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=False, unit_w=True)

  def target(self, target_b: Array, ctx: Any) -> Array:
    return target_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return score_bk


@dataclass(frozen=True)
class NormSoftmax(Plain):
  """Softmax over scale·cos θ.

  Attributes:
    scale: factor of the cosine; larger ones make the softmax sharper.

  Source: Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", 2017.
  """

  scale: float = 64.0

  def __post_init__(self) -> None:
    check_scale(self)

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=True, unit_w=True)

  def target(self, target_b: Array, ctx: Any) -> Array:
    return self.scale * target_b

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return self.scale * score_bk


@dataclass(frozen=True)
class CombinedMargin(FixedMargin):
  """scale·(cos(m1·θ + m2) − m3): the three margins combined.

  Attributes:
    m1: factor of the angle, 1 to 8.
    m2: added to the angle, in radians.
    m3: subtracted from the cosine.

  Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, eq. 4.
  """

  m1: float = 1.0
  m2: float = 0.3
  m3: float = 0.2

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m1", 1.0, 8.0, what="factor of the angle")
    check_range(self, "m2", 0.0, math.pi / 2, what=TURN)
    check_range(self, "m3", 0.0, 1.0, what=LOWER)

  @property
  def margins(self) -> tuple[float, float, float]:
    return self.m1, self.m2, self.m3


@dataclass(frozen=True)
class ArcFace(FixedMargin):
  """scale·cos(θ + m).

  Attributes:
    m: added to the angle between embedding and centre, in radians.

  Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, eq. 3.
  """

  m: float = 0.5

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, math.pi / 2, what=TURN)

  @property
  def margins(self) -> tuple[float, float, float]:
    return 1.0, self.m, 0.0


@dataclass(frozen=True)
class SubcenterArcFace(ArcFace):
  """ArcFace with three centres per class, of which the nearest is used: noisy samples can use another centre.

  Source: Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web Faces", 2020.
  """

  subcenters: int = 3


@dataclass(frozen=True)
class CosFace(FixedMargin):
  """scale·(cos θ − m); both gradient modes are equal here, and the guard has no effect.

  Attributes:
    m: subtracted from the cosine between embedding and centre.

  Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018, eq. 4.
  """

  m: float = 0.35

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, 1.0, what=LOWER)

  @property
  def margins(self) -> tuple[float, float, float]:
    return 1.0, 0.0, self.m


@dataclass(frozen=True)
class SphereFaceR(FixedMargin):
  """scale·cos(min(m·θ, π)), with the margin excluded from the gradient ("characteristic gradient detachment").

  Attributes:
    m: factor of the angle between embedding and centre, 1 to 8.

  Source: Liu et al., "SphereFace Revived: Unifying Hyperspherical Face Recognition", 2022, SphereFace-R v1.
  """

  m: float = 1.7
  scale: float = 30.0
  gradient: Literal["exact", "detached"] = "detached"
  guard: Literal["hard", "hold", "easy", "none"] = "hold"

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 1.0, 8.0, what="factor of the angle")

  @property
  def margins(self) -> tuple[float, float, float]:
    return self.m, 0.0, 0.0


__all__ = [
  "GRADIENTS", "ArcFace", "CombinedMargin", "CosFace", "Geometry", "Margin", "ModifiedSoftmax", "NormSoftmax", "Prep",
  "Softmax", "SphereFaceR", "SubcenterArcFace", "ramp",
]
