"""Margins that vary by row: with the length of the embedding, at random, or with training progress."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.losses.angle import turned_cosine
from jaxface.losses.joint import Prep, Reduce
from jaxface.losses.margins_base import TURN, CosineMargin
from jaxface.losses.ranges import check_range

# Bounds to which AdaFace clips lengths.
SHORTEST, LONGEST = 1e-3, 100.0
_RATE = "share of the new batch in the running average"


def _moved(old: Array, new: Array, rate: float, known: Array) -> Array:
  """The running average after a step; unchanged by a batch without data."""
  return jnp.where(known, (1.0 - rate) * old + rate * new, old).astype(old.dtype)


@dataclass(frozen=True)
class AdaFace(CosineMargin):
  """scale·(cos(θ − m·ẑ) − m·(1 + ẑ)): an angular margin for short embeddings (poor images), a cosine margin for long ones.

  ẑ is h times the length of the embedding, centred and scaled by running averages of mean and deviation, clipped to
  ±1; no gradient flows through it. The averages are updated with the lengths of the batch, clipped to 0.001…100,
  before they are used. Padding does not affect them, and a batch of one row does not affect the deviation. Unlike the released code, scores
  are not clipped to ±0.999.

  Attributes:
    m: the margin.
    h: the margin reaches its extremes at 1/h deviations of the length.
    rate: share of the new batch in the running averages.

  Source: Kim et al., "AdaFace: Quality Adaptive Margin for Face Recognition", 2022, and its released code.
  """

  m: float = 0.4
  h: float = 0.333
  rate: float = 0.01
  guard: Literal["hard", "hold", "easy", "none"] = "hold"

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, 1.0, what="the margin, in radians and in cosine")
    check_range(self, "h", 0.0, open_high=True, what="change of the margin per deviation of length")
    check_range(self, "rate", 0.0, 1.0, what=_RATE)

  def init_state(self) -> dict[str, Array]:
    return {"mean": jnp.float32(20.0), "deviation": jnp.float32(100.0)}

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    norm_b = jnp.clip(lax.stop_gradient(norm_b), SHORTEST, LONGEST)
    count = reduce(weight_b.sum())
    mean = reduce((weight_b * norm_b).sum()) / jnp.where(count > 0, count, 1.0)
    # The sample deviation: divided by the count less one.
    spare = jnp.where(count > 1, count - 1.0, 1.0)
    deviation = jnp.sqrt(reduce((weight_b * (norm_b - mean) ** 2).sum()) / spare)
    state = {
      "mean": _moved(state["mean"], mean, self.rate, count > 0),
      "deviation": _moved(state["deviation"], deviation, self.rate, count > 1),
    }
    swing_b = jnp.clip(self.h * (norm_b - state["mean"]) / (state["deviation"] + SHORTEST), -1.0, 1.0)
    margin = self.m * self.share(target_b, step)
    return Prep((1.0, -margin * swing_b, margin * (1.0 + swing_b)), state, jnp.zeros_like(target_b))


@dataclass(frozen=True)
class MagFace(CosineMargin):
  """scale·cos(θ + m(a)) with a margin that grows with the length a of the embedding, and a penalty on short ones.

  m(a) runs linearly from `low_m` at `low_norm` to `high_m` at `high_norm`; the penalty is
  pull·(a/high_norm² + 1/a). Lengths outside are clipped, with zero gradient. As in the released settings the margin is
  applied only where cos θ > 0 (`guard` "easy").

  Attributes:
    low_norm: lower bound of the length.
    high_norm: upper bound of the length.
    low_m: margin at low_norm, in radians.
    high_m: margin at high_norm, in radians.
    pull: weight of the penalty.

  Source: Meng et al., "MagFace: A Universal Representation for Face Recognition and Quality Assessment", 2021, eq. 3,
    and its released settings.
  """

  low_norm: float = 10.0
  high_norm: float = 110.0
  low_m: float = 0.45
  high_m: float = 0.8
  pull: float = 35.0
  guard: Literal["hard", "hold", "easy", "none"] = "easy"

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "low_norm", 0.0, open_low=True, open_high=True, what="lower bound of the length")
    check_range(self, "high_norm", self.low_norm, open_low=True, open_high=True, what="upper bound of the length, above low_norm")
    check_range(self, "low_m", 0.0, math.pi / 2, what=TURN)
    check_range(self, "high_m", self.low_m, math.pi / 2, what=f"{TURN}, not below low_m")
    check_range(self, "pull", 0.0, open_high=True, what="weight of the penalty")

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    norm_b = jnp.clip(norm_b, self.low_norm, self.high_norm)
    rise = (self.high_m - self.low_m) / (self.high_norm - self.low_norm)
    turn_b = self.share(target_b, step) * (self.low_m + rise * (norm_b - self.low_norm))
    return Prep((1.0, turn_b, 0.0), state, self.pull * (norm_b / self.high_norm**2 + 1.0 / norm_b))


@dataclass(frozen=True)
class ElasticFace(CosineMargin):
  """scale·cos(θ + m) with m sampled for every row and step from a normal distribution.

  Samples are clipped to 0…π/2, which never happens at the default. A sample depends on the position of the row in the global
  batch, not on the devices. The released code has no guard (`guard` "none"); the default is ArcFace's.

  Attributes:
    m: mean of the margin, in radians.
    deviation: standard deviation of the margin, in radians.

  Source: Boutros et al., "ElasticFace: Elastic Margin Loss for Deep Face Recognition", 2022, eq. 6.
  """

  m: float = 0.5
  deviation: float = 0.0125

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, math.pi / 2, what=TURN)
    check_range(self, "deviation", 0.0, math.pi / 2, what="standard deviation of the margin, in radians")

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    if key is None:
      raise ValueError("ElasticFace samples its margins and got no random key: pass key=jax.random.key(...)")
    turn_b = self.m + self.deviation * jax.random.normal(key, target_b.shape, target_b.dtype)
    turn_b = self.share(target_b, step) * jnp.clip(turn_b, 0.0, math.pi / 2)
    return Prep((1.0, turn_b, 0.0), state, jnp.zeros_like(target_b))


@dataclass(frozen=True)
class CurricularFace(CosineMargin):
  """scale·cos(θ + m) for the own class; hard other classes gain weight as training progresses.

  Another class is hard if its cosine c exceeds cos(θ + m) of the own class; its logit is then scale·c·(t + c). t is the running
  average of the own class's cosine, starting at 0; padding does not affect it. No gradient flows through t or the selection.

  Attributes:
    m: radians added to the angle.
    rate: share of the new batch in t.

  Source: Huang et al., "CurricularFace: Adaptive Curriculum Learning Loss for Deep Face Recognition", 2020.
  """

  m: float = 0.5
  rate: float = 0.01

  def __post_init__(self) -> None:
    super().__post_init__()
    check_range(self, "m", 0.0, math.pi / 2, what=TURN)
    check_range(self, "rate", 0.0, 1.0, what=_RATE)

  def init_state(self) -> dict[str, Array]:
    return {"t": jnp.float32(0.0)}

  def prepare(
    self, target_b: Array, norm_b: Array, weight_b: Array, *, state: Any, step: Array | int,
    key: Array | None, reduce: Reduce,
  ) -> Prep:
    cosine_b = lax.stop_gradient(target_b)
    count = reduce(weight_b.sum())
    mean = reduce((weight_b * cosine_b).sum()) / jnp.where(count > 0, count, 1.0)
    state = {"t": _moved(state["t"], mean, self.rate, count > 0)}
    turn = self.m * self.share(target_b, step)
    # Not guarded, as in the released code.
    bar_b = turned_cosine(cosine_b, jnp.ones_like(turn), turn)
    return Prep({"turn": turn, "bar_b": bar_b, "t": state["t"].astype(target_b.dtype)}, state, jnp.zeros_like(target_b))

  def target(self, target_b: Array, ctx: Any) -> Array:
    return super().target(target_b, (1.0, ctx["turn"], 0.0))

  def others(self, score_bk: Array, ctx: Any) -> Array:
    hard_bk = score_bk > ctx["bar_b"][:, None]
    return self.scale * jnp.where(hard_bk, score_bk * (ctx["t"] + score_bk), score_bk)


__all__ = ["AdaFace", "CurricularFace", "ElasticFace", "MagFace"]
