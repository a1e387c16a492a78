"""Every margin, at settings that tests of heads can tell apart, and one that uses all of the joint."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxface.losses.joint import Geometry, Prep
from jaxface.losses.margins import (
  ArcFace,
  CombinedMargin,
  CosFace,
  ModifiedSoftmax,
  NormSoftmax,
  Softmax,
  SphereFaceR,
  SubcenterArcFace,
)
from jaxface.losses.margins_adaptive import AdaFace, CurricularFace, ElasticFace, MagFace
from jaxface.losses.margins_asoftmax import ASoftmax
from jaxface.losses.margins_filter import Filtered


@dataclass(frozen=True)
class Probe:
  """Uses all of the joint: norms, a context per row that moves with the own score, dropped classes, a penalty, a state, a key."""

  def init_state(self):
    return {"mean_norm": jnp.zeros(())}

  @property
  def geometry(self):
    return Geometry(unit_x=True, unit_w=False, bias=True, subcenters=2)

  def prepare(self, target_b, norm_b, weight_b, *, state, step, key, reduce):
    mean = reduce((norm_b * weight_b).sum()) / reduce(weight_b.sum())
    noise_b = jax.random.uniform(key, norm_b.shape, norm_b.dtype)
    return Prep({"scale_b": 2.0 + norm_b + 0.1 * target_b, "shift": 0.1 * step, "noise_b": noise_b}, {"mean_norm": mean}, 0.3 * norm_b**2)

  def target(self, target_b, ctx):
    return ctx["scale_b"] * jnp.sin(target_b - ctx["shift"]) + ctx["noise_b"]

  def others(self, score_bk, ctx):
    return jnp.where(score_bk < -0.4, -jnp.inf, ctx["scale_b"][:, None] * score_bk**2)


# For embeddings whose lengths are between 1 and 4.
ADAFACE = AdaFace(scale=4.0, rate=0.9)
CURRICULAR = CurricularFace(scale=4.0, rate=0.9)
MARGINS = {
  "softmax": Softmax(),
  "softmax_without_bias": Softmax(bias=False),
  "modified": ModifiedSoftmax(),
  "norm": NormSoftmax(scale=4.0),
  "arcface": ArcFace(scale=4.0),
  "arcface_easy": ArcFace(scale=4.0, guard="easy"),
  "arcface_warming_up": ArcFace(scale=4.0, warmup_steps=7),
  "arcface_subcenters": SubcenterArcFace(scale=4.0),
  "cosface": CosFace(scale=4.0),
  "combined": CombinedMargin(m1=1.3, m2=0.2, m3=0.1, scale=4.0, guard="none"),
  "sphereface_r": SphereFaceR(scale=4.0, gradient="exact"),
  "a_softmax": ASoftmax(start=3.0, least=0.5),
  "adaface": ADAFACE,
  "magface": MagFace(scale=4.0, low_norm=1.0, high_norm=4.0, pull=2.0),
  "elasticface": ElasticFace(scale=4.0, deviation=0.1),
  "curricularface": CURRICULAR,
  "filtered": Filtered(CurricularFace(scale=4.0), threshold=0.3),
  "filtered_raw": Filtered(ASoftmax(), threshold=0.3),
  "probe": Probe(),
}

