"""A-Softmax, SphereFace's loss: a multiplicative angular margin, introduced by an annealed weight λ."""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.losses.angle import turned_cosine
from jaxface.losses.joint import Geometry, Prep, Reduce
from jaxface.losses.margins_base import Plain
from jaxface.losses.ranges import check_choice, check_range


def multiplied_cosine(cosine: Array, m: int) -> Array:
  """ψ(θ) = (−1)^k·cos(m·θ) − 2k with k = ⌊m·θ/π⌋: cos(m·θ) extended to decrease monotonically to 1 − 2m at θ = π.

  Args:
    cosine: any shape, cos θ; rounding errors beyond ±1 are harmless.
    m: factor of the angle, 1 or more.
  Returns:
    An array with the shape and dtype of `cosine`.
  Source: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, eq. 7.
  """
  # k = m only at θ = π itself, where both branches give 1 − 2m.
  k = sum(((cosine < math.cos(j * math.pi / m)).astype(cosine.dtype) for j in range(1, m)), jnp.zeros_like(cosine))
  sign = 1.0 - 2.0 * (k % 2.0)
  return sign * turned_cosine(cosine, jnp.asarray(m, cosine.dtype), jnp.zeros((), cosine.dtype)) - 2.0 * k


def _own(m: int, target_b: Array, norm_b: Array) -> Array:
  """‖x‖·ψ(θ) for ‖x‖·cos θ and ‖x‖."""
  return norm_b * multiplied_cosine(target_b / jnp.where(norm_b > 0.0, norm_b, 1.0), m)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _published(m: int, target_b: Array, norm_b: Array) -> Array:
  return _own(m, target_b, norm_b)


def _normalised(m: int, saved: tuple[Array, Array], dy_b: Array) -> tuple[Array, Array]:
  target_b, norm_b = saved
  # With respect to ‖x‖·cos θ, whose gradient is ŵ, and to ‖x‖, whose gradient is x/‖x‖.
  a_b, by_norm_b = jax.vjp(lambda target_b, norm_b: _own(m, target_b, norm_b), target_b, norm_b)[1](jnp.ones_like(dy_b))
  safe_b = jnp.where(norm_b > 0.0, norm_b, 1.0)
  size_b = jnp.sqrt(a_b**2 + (by_norm_b / safe_b) ** 2)
  share_b = dy_b / jnp.where(size_b > 0.0, size_b, 1.0)
  return share_b * a_b, share_b * by_norm_b


_published.defvjp(lambda m, target_b, norm_b: (_published(m, target_b, norm_b), (target_b, norm_b)), _normalised)


@dataclass(frozen=True)
class ASoftmax(Plain):
  """‖x‖·(λ·cos θ + ψ(θ))/(1 + λ) for the own class, ‖x‖·cos θ for the others.

  λ = max(least, start/(1 + decay·step)) starts near the modified softmax and lets ψ in. With start and least at 0 there
  is no blend.

  Attributes:
    m: factor of the angle, a whole number.
    start: λ at step 0.
    decay: decay rate of λ.
    least: lower bound of λ.
    gradient: "exact", or "published" for the embedding's gradient as the released layer computes it: that of ‖x‖·ψ(θ) is
      a·ŵ + b·x with a = ψ′(cos θ) and b = (ψ − a·cos θ)/‖x‖, and the layer divides both by √(a² + b²). The values are the
      same. Here the centre's gradient through ψ is divided by the same number; the released layer uses the gradient of
      plain products for the centres instead, independent of the margin.

  Source: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, and its released settings
    (λ from 1000 to 5).
  """

  m: int = 4
  start: float = 1000.0
  decay: float = 0.12
  least: float = 5.0
  gradient: Literal["exact", "published"] = "exact"

  def __post_init__(self) -> None:
    check_range(self, "m", 1, 8, what="factor of the angle")
    if self.m != int(self.m):
      raise ValueError(f"ASoftmax.m = {self.m!r} is not an integer: ψ is defined for 1, 2, 3, …")
    check_range(self, "start", 0.0, open_high=True, what="λ at step 0")
    check_range(self, "decay", 0.0, open_high=True, what="decay rate of λ")
    check_range(self, "least", 0.0, open_high=True, what="lower bound of λ")
    check_choice(self, "gradient", ("exact", "published"))

  @property
  def geometry(self) -> Geometry:
    return Geometry(unit_x=False, unit_w=True)

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    blend = jnp.maximum(self.start / (1.0 + self.decay * jnp.asarray(step, target_b.dtype)), self.least)
    return Prep((norm_b, 1.0 / (1.0 + blend)), state, jnp.zeros_like(target_b))

  def target(self, target_b: Array, ctx: Any) -> Array:
    norm_b, share = ctx
    own = _published if self.gradient == "published" else _own
    return target_b + share * (own(int(self.m), target_b, norm_b) - target_b)

  def others(self, score_bk: Array, ctx: Any) -> Array:
    return score_bk


__all__ = ["ASoftmax", "multiplied_cosine"]
