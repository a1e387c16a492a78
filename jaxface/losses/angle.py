"""cos(m1·θ + m2) as a function of cos θ, finite and with finite gradients everywhere."""

import math

import jax
import jax.numpy as jnp
from jax import Array

GUARDS = ("hard", "hold", "easy", "none")


def _angle(cosine: Array) -> tuple[Array, Array]:
  sine = jnp.sqrt(jnp.maximum((1.0 - cosine) * (1.0 + cosine), 0.0))
  return jnp.arctan2(sine, cosine), sine


@jax.custom_jvp
def turned_cosine(cosine: Array, m1: Array, m2: Array) -> Array:
  """cos(m1·θ + m2), given cos θ.

  Written as cos(θ + δ) with δ = (m1 − 1)·θ + m2, so that without a margin the result is bitwise `cosine`. The true
  slope m1·sin(m1·θ + m2)/sin θ is infinite at θ = 0 and π when m2 > 0; there it is taken at the nearest angle
  that the dtype can distinguish from them (√(2·eps), 0.03° in float32).

  Args:
    cosine: any shape, float32 or float64; rounding errors beyond ±1 are harmless.
    m1: factor of the angle, scalar or broadcastable.
    m2: radians added to the angle, scalar or broadcastable.
  Returns:
    An array with the shape and dtype of `cosine`.
  """
  theta, sine = _angle(cosine)
  turn = (m1 - 1.0) * theta + m2
  return cosine * jnp.cos(turn) - sine * jnp.sin(turn)


@turned_cosine.defjvp
def _turned_cosine_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]):
  cosine, m1, m2 = primals
  cosine_dot, m1_dot, m2_dot = tangents
  bound = 1.0 - jnp.finfo(cosine.dtype).eps
  inner = jnp.clip(cosine, -bound, bound)
  theta, sine = _angle(inner)
  turn = (m1 - 1.0) * theta + m2
  # sin(m1·θ + m2) / sin θ, which is exactly 1 without a margin.
  ratio = jnp.cos(turn) + inner * jnp.sin(turn) / sine
  slope = m1 * ratio * cosine_dot - ratio * sine * (theta * m1_dot + m2_dot)
  return turned_cosine(cosine, m1, m2), slope


def guarded_cosine(cosine: Array, m1: Array, m2: Array, *, guard: str) -> Array:
  """cos(m1·θ + m2), with a guard against increasing with θ where m1·θ + m2 leaves [0, π].

  `hard` continues parallel to cos θ beyond the bound θ* = (π − m2)/m1: cos θ − cos θ* − cos m2 − m2·sin m2. For m1 = 1 this is
  ArcFace's cos θ − m2·sin m2; for m2 = 0 it is continuous. A negative m2 also has a bound θ° = −m2/m1 at the other end, below
  which the value is 1 + cos θ − cos θ°. The slope is zero only at θ = 0 and π.
  `hold` is −1 beyond θ* and 1 below θ°, with slope zero.
  `easy` applies the margin only where cos θ > 0. `none` has no guard.
  `hard` and `hold` never increase with θ for m1 ≥ 1 and |m2| ≤ π/2.

  Args:
    cosine: [B] cos θ.
    m1: factor of the angle, a scalar or [B].
    m2: radians added to the angle, a scalar or [B].
    guard: one of `GUARDS`.
  Returns:
    [B].
  Source: `hard`: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, and its released
    code. `hold`: Liu et al., "SphereFace Revived: Unifying Hyperspherical Face Recognition", 2022.
  """
  turned = turned_cosine(cosine, m1, m2)
  if guard == "none":
    return turned
  if guard == "easy":
    return jnp.where(cosine > 0.0, turned, cosine)
  far = jnp.cos(jnp.minimum((math.pi - m2) / m1, math.pi))
  near = jnp.cos(jnp.maximum(-m2 / m1, 0.0))
  if guard == "hold":
    return jnp.where(cosine > near, 1.0, jnp.where(cosine < far, -1.0, turned))
  beyond = cosine - far - jnp.cos(m2) - m2 * jnp.sin(m2)
  return jnp.where(cosine > near, 1.0 + cosine - near, jnp.where(cosine > far, turned, beyond))


__all__ = ["GUARDS", "guarded_cosine", "turned_cosine"]
