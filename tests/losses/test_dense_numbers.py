"""Losses of the dense head: an oracle by loops for every margin, and numbers from PyTorch and pytorch-metric-learning."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.losses.dense import dense_head
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

B, D, C = 12, 3, 7
STEP = 3
WEIGHT = np.array([1.0, 1.0, 0.0] * 4)
KEY = jax.random.key(2)


@dataclass(frozen=True)
class Rows:
  """What a formula may look at: the scores and lengths of all rows."""

  own_b: np.ndarray
  norm_b: np.ndarray

  def live(self, values):
    return values[WEIGHT > 0]


def acos(cosine):
  return math.acos(min(1.0, max(-1.0, cosine)))


def turned(cosine, m1=1.0, m2=0.0):
  return math.cos(m1 * acos(cosine) + m2)


def arcface(cosine, m, scale=4.0):
  return scale * (math.cos(acos(cosine) + m) if acos(cosine) + m <= math.pi else cosine - m * math.sin(m))


def psi(cosine, m):
  k = min(math.floor(m * acos(cosine) / math.pi), m - 1)
  return (-1) ** k * math.cos(m * acos(cosine)) - 2 * k


def adaface(i, rows):
  """From AdaFace's section 3.3 after one step of the averages from 20 and 100 at a rate of 0.9."""
  live = rows.live(rows.norm_b)
  mean, deviation = 0.1 * 20 + 0.9 * live.mean(), 0.1 * 100 + 0.9 * live.std(ddof=1)
  z = min(1.0, max(-1.0, 0.333 * (rows.norm_b[i] - mean) / (deviation + 1e-3)))
  angle = min(math.pi, max(0.0, acos(rows.own_b[i]) - 0.4 * z))
  return 4.0 * (math.cos(angle) - (0.4 * z + 0.4))


def magface(i, rows):
  length = min(4.0, max(1.0, rows.norm_b[i]))
  # As released, the angle is turned only where its cosine is positive.
  return 4.0 * (turned(rows.own_b[i], 1, 0.45 + (0.8 - 0.45) / (4 - 1) * (length - 1)) if rows.own_b[i] > 0 else rows.own_b[i])


def magface_penalty(i, rows):
  length = min(4.0, max(1.0, rows.norm_b[i]))
  return 2.0 * (length / 4.0**2 + 1 / length)


def curricular_other(score, i, rows):
  t = 0.9 * rows.live(rows.own_b).mean()
  return 4.0 * (score if score <= turned(rows.own_b[i], 1, 0.5) else score * (t + score))


def draws():
  return np.clip(0.5 + 0.1 * np.asarray(jax.random.normal(KEY, (B,), jnp.float64)), 0, math.pi / 2)


def a_softmax(i, rows):
  blend = max(0.5, 3.0 / (1 + 0.12 * STEP))
  cosine = rows.own_b[i] / rows.norm_b[i]
  return rows.norm_b[i] * (blend * cosine + psi(cosine, 4)) / (1 + blend)


@dataclass(frozen=True)
class Case:
  """A margin and its formulas: logit of the own class, logit of another, penalty."""

  margin: object
  own: Callable
  other: Callable = lambda score, i, rows: 4.0 * score
  penalty: Callable = lambda i, rows: 0.0


def raw(score, i, rows):
  return score


CASES = {
  "softmax": Case(Softmax(), lambda i, rows: rows.own_b[i], raw),
  "softmax_without_bias": Case(Softmax(bias=False), lambda i, rows: rows.own_b[i], raw),
  "modified": Case(ModifiedSoftmax(), lambda i, rows: rows.own_b[i], raw),
  "norm": Case(NormSoftmax(scale=4.0), lambda i, rows: 4.0 * rows.own_b[i]),
  "arcface": Case(ArcFace(scale=4.0), lambda i, rows: arcface(rows.own_b[i], 0.5)),
  "arcface_easy": Case(
    ArcFace(scale=4.0, guard="easy"),
    lambda i, rows: 4.0 * (turned(rows.own_b[i], 1, 0.5) if rows.own_b[i] > 0 else rows.own_b[i]),
  ),
  "arcface_warming_up": Case(ArcFace(scale=4.0, warmup_steps=6), lambda i, rows: arcface(rows.own_b[i], 0.25)),
  "arcface_subcenters": Case(SubcenterArcFace(scale=4.0), lambda i, rows: arcface(rows.own_b[i], 0.5)),
  "cosface": Case(CosFace(scale=4.0), lambda i, rows: 4.0 * (rows.own_b[i] - 0.35)),
  "combined": Case(
    CombinedMargin(m1=1.3, m2=0.2, m3=0.1, scale=4.0, guard="none"),
    lambda i, rows: 4.0 * (turned(rows.own_b[i], 1.3, 0.2) - 0.1),
  ),
  "sphereface_r": Case(
    SphereFaceR(scale=4.0), lambda i, rows: 4.0 * math.cos(min(1.7 * acos(rows.own_b[i]), math.pi))
  ),
  "a_softmax": Case(ASoftmax(start=3.0, least=0.5), a_softmax, raw),
  "adaface": Case(AdaFace(scale=4.0, rate=0.9), adaface),
  "magface": Case(
    MagFace(scale=4.0, low_norm=1.0, high_norm=4.0, pull=2.0), magface, penalty=magface_penalty
  ),
  "elasticface": Case(
    ElasticFace(scale=4.0, deviation=0.1), lambda i, rows: arcface(rows.own_b[i], draws()[i])
  ),
  "curricularface": Case(
    CurricularFace(scale=4.0, rate=0.9), lambda i, rows: arcface(rows.own_b[i], 0.5), curricular_other
  ),
  "filtered": Case(
    Filtered(CosFace(scale=4.0), 0.3), lambda i, rows: 4.0 * (rows.own_b[i] - 0.35),
    lambda score, i, rows: -math.inf if score > 0.3 else 4.0 * score,
  ),
  "filtered_raw": Case(
    Filtered(ModifiedSoftmax(), 0.3), lambda i, rows: rows.own_b[i],
    lambda score, i, rows: -math.inf if score / rows.norm_b[i] > 0.3 else score,
  ),
}
HEADS = {"dense": dense_head}
matrix = pytest.mark.parametrize("head", list(HEADS.values()), ids=list(HEADS))


def scores_by_loops(geometry, params, x):
  """[B, C] scores as `Geometry` describes them."""
  k = geometry.subcenters
  scores = np.zeros((len(x), C))
  for i, row in enumerate(x):
    norm = math.sqrt(sum(v * v for v in row))
    for c in range(C):
      candidates = []
      for w in params["center_cd"][c * k : (c + 1) * k]:
        dot = sum(a * b for a, b in zip(row, w, strict=True))
        dot /= norm if geometry.unit_x else 1.0
        candidates.append(dot / (math.sqrt(sum(v * v for v in w)) if geometry.unit_w else 1.0))
      scores[i, c] = max(candidates) + (params["bias_c"][c] if geometry.bias else 0.0)
  return scores


@matrix
@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
def test_loss_by_loops(head, case, smoothing=0.1):
  geometry = case.margin.geometry
  rng = np.random.default_rng(0)
  # Few features: some angles come near both ends, and some classes near a row that is not theirs.
  params = {"center_cd": rng.normal(size=(C * geometry.subcenters, D))}
  if geometry.bias:
    params["bias_c"] = 0.3 * rng.normal(size=C)
  x, label = rng.normal(size=(B, D)) * rng.uniform(0.3, 4.0, (B, 1)), rng.integers(0, C, B).astype(np.int32)
  x[0] = -2.0 * params["center_cd"][label[0] * geometry.subcenters] + 0.1 * rng.normal(size=D)
  with jax.enable_x64(True):
    state = jax.tree.map(lambda a: a.astype(jnp.float64), case.margin.init_state())
    result = jax.jit(lambda p, x: head(
      p, x, label, jnp.asarray(WEIGHT), margin=case.margin, state=state, step=STEP, key=KEY, label_smoothing=smoothing
    ))(params, x)
    scores = scores_by_loops(geometry, params, x)
    rows = Rows(scores[np.arange(B), label], np.linalg.norm(x, axis=1))
    for i in range(B):
      logits = np.array([
        case.own(i, rows) if c == label[i] else case.other(scores[i, c], i, rows) for c in range(C)
      ])
      finite = logits[np.isfinite(logits)]
      lse = math.log(sum(math.exp(v) for v in finite))
      expected = lse - (1 - smoothing) * logits[label[i]] - smoothing * finite.mean() + case.penalty(i, rows)
      # The ramp of a warm-up is a float32 number: the coarsest thing here.
      np.testing.assert_allclose(result.loss_b[i], expected, rtol=1e-6)
    np.testing.assert_allclose(result.target_b, rows.own_b, rtol=1e-9)
    scores[np.arange(B), label] = -np.inf
    np.testing.assert_allclose(result.best_other_b, scores.max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(result.norm_b, rows.norm_b, rtol=1e-9)
  assert result.loss_b.dtype == jnp.float64


# From PyTorch 2.13 in float64, with x = sin(arange(12)).reshape(3, 4), w = cos(arange(20)).reshape(5, 4), y = [0, 3, 4]:
#   cos = F.linear(F.normalize(x), F.normalize(w)); own = cos.gather(1, y[:, None])
#   phi = torch.cos(m1 * torch.acos(own) + m2) - m3
#   if detached: phi = own + (phi - own).detach()
#   loss_b = F.cross_entropy(16 * cos.scatter(1, y[:, None], phi), y, label_smoothing=smoothing, reduction="none")
#   loss_b.mean().backward(); the numbers are loss_b, x.grad[1], w.grad[3]
GOLDEN = [
  (
    CombinedMargin(m1=1, m2=0.5, m3=0, scale=16, guard="none"), 0.0,
    [19.1980239184, 26.5175815436, 30.8044510741],
    [0.6777940475, -0.6993814403, -1.4335488573, -0.849718066],
    [0.3800217956, -0.6258756053, -1.056345861, -0.5156166037],
  ),
  (
    CombinedMargin(m1=1, m2=0.5, m3=0, scale=16, guard="none", gradient="detached"), 0.0,
    [19.1980239184, 26.5175815436, 30.8044510741],
    [0.0269775431, -0.027836764, -0.0570580787, -0.033820459],
    [-0.1128808869, 0.1859087932, 0.3137747862, 0.1531576878],
  ),
  (
    CosFace(m=0.35, scale=16), 0.1,
    [16.5774903151, 31.0451914863, 35.4228856306],
    [0.0527911412, -0.054472512, -0.1116543889, -0.0661817356],
    [-0.0949490558, 0.1563760249, 0.2639297094, 0.1288276363],
  ),
  (
    CombinedMargin(m1=1.1, m2=0.3, m3=0.2, scale=16, guard="none"), 0.1,
    [20.8554874206, 27.4288170006, 31.6164071171],
    [0.8178435489, -0.8438914465, -1.7297565379, -1.0252914455],
    [0.4844713817, -0.7978984964, -1.3466841766, -0.6573346354],
  ),
]


def check_numbers(head, margin, smoothing, loss, x_grad, w_grad):
  k = margin.geometry.subcenters
  x, w = np.sin(np.arange(12.0)).reshape(3, 4), np.cos(np.arange(20.0 * k)).reshape(5 * k, 4)

  def mean(x, w):
    loss_b = head(
      {"center_cd": w}, x, jnp.array([0, 3, 4]), jnp.ones(3), margin=margin, state={}, label_smoothing=smoothing
    ).loss_b
    return loss_b.mean(), loss_b

  with jax.enable_x64(True):
    (_, loss_b), (x_bar, w_bar) = jax.jit(jax.value_and_grad(mean, (0, 1), has_aux=True))(jnp.asarray(x), jnp.asarray(w))
    np.testing.assert_allclose(loss_b, loss, rtol=1e-8)
    np.testing.assert_allclose(x_bar[1], x_grad, rtol=1e-7)
    np.testing.assert_allclose(w_bar[3 * k], w_grad, rtol=1e-7)


@matrix
@pytest.mark.parametrize(("margin", "smoothing", "loss", "x_grad", "w_grad"), GOLDEN)
def test_numbers_from_pytorch(head, margin, smoothing, loss, x_grad, w_grad):
  check_numbers(head, margin, smoothing, loss, x_grad, w_grad)


# From pytorch-metric-learning 2.9.0 in float64, with the x and y above, W = w.T (with K sub-centres
# w = cos(arange(20·K)).reshape(5·K, 4)), reducer DoNothingReducer, then losses.mean().backward(); the numbers are the
# losses, x.grad[1], W.grad.T[3·K]. Differences of definition: its angular margins are in degrees; its SphereFaceLoss has no
# λ, so that ours starts and ends at 0; its NormalizedSoftmaxLoss divides by a temperature where ours has a scale.
LIBRARY = {
  "ArcFaceLoss(margin=math.degrees(0.5), scale=16)": (
    ArcFace(m=0.5, scale=16),
    [19.1980239184, 31.2401723101, 35.6883315972],
    [0.0269775431, -0.027836764, -0.0570580787, -0.033820459],
    [-0.1128808869, 0.1859087932, 0.3137747862, 0.1531576878],
  ),
  "CosFaceLoss(margin=0.35, scale=16)": (
    CosFace(m=0.35, scale=16),
    [17.1950277536, 33.0047680013, 37.4529272883],
    [0.0269775431, -0.027836764, -0.0570580787, -0.033820459],
    [-0.1128808865, 0.1859087926, 0.3137747851, 0.1531576873],
  ),
  "SphereFaceLoss(margin=4, scale=1)": (
    ASoftmax(m=4, start=0, least=0),
    [5.5055895882, 11.6272434139, 13.0390160348],
    [-1.5787652081, -1.3922847137, 0.0742559256, 1.4725260094],
    [-0.1856180323, 0.3057029878, 0.5159620907, 0.2518480269],
  ),
  "SphereFaceLoss(margin=3, scale=1)": (
    ASoftmax(m=3, start=0, least=0),
    [4.3782457019, 8.8877770226, 9.9850145316],
    [-1.1293366296, -1.0621311255, -0.018407163, 1.0422402604],
    [-0.106606173, 0.1755746745, 0.2963329759, 0.1446441059],
  ),
  "SubCenterArcFaceLoss(margin=math.degrees(0.5), scale=16, sub_centers=3)": (
    SubcenterArcFace(m=0.5, scale=16),
    [11.76474592, 2.0547631677, 9.2069225399],
    [-1.0591826241, 1.0929170475, 2.2401938259, 1.327846732],
    [0.3736998128, 0.2781512286, -0.0731283125, -0.3571740203],
  ),
  "NormalizedSoftmaxLoss(temperature=0.05)": (
    NormSoftmax(scale=20),
    [14.4792595164, 34.0908249016, 39.7652418807],
    [0.1016758206, -0.1049141434, -0.2150465278, -0.1274661263],
    [-0.1523096506, 0.2508458616, 0.4233748454, 0.2066549489],
  ),
}


@matrix
@pytest.mark.parametrize("numbers", list(LIBRARY.values()), ids=list(LIBRARY))
def test_numbers_from_pytorch_metric_learning(head, numbers):
  margin, loss, x_grad, w_grad = numbers
  check_numbers(head, margin, 0.0, loss, x_grad, w_grad)
