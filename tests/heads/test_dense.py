"""Margin × head: an oracle by loops, finite differences, laws, and numbers from PyTorch."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxface.heads.centers import init_centers
from jaxface.heads.dense import dense_head
from jaxface.losses.margins import ArcFace, CombinedMargin, CosFace, Geometry, NormSoftmax, Prep, Softmax

B, D, C = 5, 6, 7
STEP = 3


@dataclass(frozen=True)
class Probe:
  """Uses all of the joint: norms, a context per row, dropped classes, a penalty, a state from global sums, a key."""

  def init_state(self):
    return {"mean_norm": jnp.zeros(())}

  @property
  def geometry(self):
    return Geometry(unit_x=True, unit_w=False, bias=True, subcenters=2)

  def prepare(self, target_b, norm_b, weight_b, *, state, step, key, reduce):
    mean = reduce((norm_b * weight_b).sum()) / reduce(weight_b.sum())
    noise_b = jax.random.uniform(key, norm_b.shape, norm_b.dtype)
    return Prep({"scale_b": 2.0 + norm_b, "shift": 0.1 * step, "noise_b": noise_b}, {"mean_norm": mean}, 0.3 * norm_b**2)

  def target(self, target_b, ctx):
    return ctx["scale_b"] * jnp.sin(target_b - ctx["shift"]) + ctx["noise_b"]

  def others(self, score_bk, ctx):
    return jnp.where(score_bk < -0.4, -jnp.inf, ctx["scale_b"][:, None] * score_bk**2)


HEADS = {"dense": dense_head}
MARGINS = {
  "softmax": Softmax(),
  "softmax_without_bias": Softmax(bias=False),
  "norm": NormSoftmax(scale=4.0),
  "arcface": ArcFace(scale=4.0),
  "arcface_easy": ArcFace(scale=4.0, guard="easy"),
  "arcface_warming_up": ArcFace(scale=4.0, warmup_steps=7),
  "arcface_subcenters": ArcFace(scale=4.0, subcenters=3),
  "cosface": CosFace(scale=4.0),
  "combined": CombinedMargin(m1=1.3, m2=0.2, m3=0.1, scale=4.0, guard="none"),
  "probe": Probe(),
}
matrix = pytest.mark.parametrize("head", list(HEADS.values()), ids=list(HEADS))
margins = pytest.mark.parametrize("margin", list(MARGINS.values()), ids=list(MARGINS))
margins_without_probe = pytest.mark.parametrize("margin", list(MARGINS.values())[:-1], ids=list(MARGINS)[:-1])


def draw(margin, seed=0, dtype=np.float64):
  rng = np.random.default_rng(seed)
  params = {"center_cd": rng.normal(size=(C * margin.geometry.subcenters, D)).astype(dtype)}
  if margin.geometry.bias:
    params["bias_c"] = 0.3 * rng.normal(size=C).astype(dtype)
  return params, rng.normal(size=(B, D)).astype(dtype), rng.integers(0, C, B).astype(np.int32)


def run(head, margin, params, x, label, weight=None, smoothing=0.0):
  weight = jnp.ones(len(x), x.dtype) if weight is None else weight
  state = jax.tree.map(lambda a: a.astype(x.dtype), margin.init_state())
  return jax.jit(
    lambda p, x: head(
      p, x, label, weight, margin=margin, state=state, step=STEP, key=jax.random.key(2), label_smoothing=smoothing
    )
  )(params, x)


def oracle_logits(margin, params, x, label):
  """Scores and logits by loops; only the probe's formulas are written here once more."""
  geometry = margin.geometry
  k = geometry.subcenters
  noise = np.asarray(jax.random.uniform(jax.random.key(2), (len(x),), x.dtype))
  losses_logits = np.zeros((len(x), C))
  penalty = np.zeros(len(x))
  scores = np.zeros((len(x), C))
  for i, row in enumerate(x):
    norm = math.sqrt(sum(v * v for v in row))
    for c in range(C):
      candidates = []
      for w in params["center_cd"][c * k : (c + 1) * k]:
        dot = sum(a * b for a, b in zip(row, w, strict=True))
        dot /= norm if geometry.unit_x else 1.0
        dot /= math.sqrt(sum(v * v for v in w)) if geometry.unit_w else 1.0
        candidates.append(dot)
      score = max(candidates) + (params["bias_c"][c] if geometry.bias else 0.0)
      scores[i, c] = score
      own = c == label[i]
      if isinstance(margin, Probe):
        shifted = (2 + norm) * math.sin(score - 0.1 * STEP) + noise[i]
        other = -math.inf if score < -0.4 else (2 + norm) * score**2
        losses_logits[i, c] = shifted if own else other
        penalty[i] = 0.3 * norm**2
      elif isinstance(margin, Softmax):
        losses_logits[i, c] = score
      elif isinstance(margin, NormSoftmax):
        losses_logits[i, c] = margin.scale * score
      else:
        share = min(1.0, STEP / margin.warmup_steps) if margin.warmup_steps else 1.0
        m1, m2, m3 = margin.margins
        m1, m2, m3 = 1 + share * (m1 - 1), share * m2, share * m3
        theta = math.acos(score)
        turned = math.cos(m1 * theta + m2)
        if margin.guard == "easy" and score <= 0:
          turned = score
        if margin.guard == "hard" and m1 * theta + m2 > math.pi:
          assert m1 == 1
          turned = score - m2 * math.sin(m2)
        losses_logits[i, c] = margin.scale * ((turned - m3) if own else score)
  return scores, losses_logits, penalty


@matrix
@margins
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_by_loops(head, margin, smoothing):
  with jax.enable_x64(True):
    params, x, label = draw(margin)
    scores, logits, penalty = oracle_logits(margin, params, x, label)
    expected = []
    for i, row in enumerate(logits):
      finite = row[np.isfinite(row)]
      lse = math.log(sum(math.exp(v) for v in finite))
      expected.append(lse - (1 - smoothing) * row[label[i]] - smoothing * finite.mean() + penalty[i])
    result = run(head, margin, params, x, label, smoothing=smoothing)
    assert result.loss_b.dtype == jnp.float64
    # The ramp of the warm-up is a float32 number: the coarsest thing here.
    np.testing.assert_allclose(result.loss_b, expected, rtol=1e-6)
    np.testing.assert_allclose(result.target_b, scores[np.arange(B), label], rtol=1e-9)
    scores[np.arange(B), label] = -np.inf
    np.testing.assert_allclose(result.best_other_b, scores.max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(result.norm_b, np.linalg.norm(x, axis=1), rtol=1e-9)


@matrix
@margins
def test_gradients_of_rows_centers_bias_and_norms_against_finite_differences(head, margin):
  with jax.enable_x64(True):
    params, x, label = draw(margin, seed=1)
    weight = np.array([1.0, 0.0, 0.5, 1.0, 2.0])

    @jax.jit
    def total(params, x):
      state = jax.tree.map(lambda a: a.astype(x.dtype), margin.init_state())
      result = head(
        params, x, label, weight, margin=margin, state=state, step=STEP, key=jax.random.key(2), label_smoothing=0.1
      )
      return (result.loss_b * weight).sum() + 0.01 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(result.state))

    check_grads(total, (params, x), order=1, modes=("rev",), eps=1e-5, rtol=1e-5, atol=1e-5)


@matrix
@margins_without_probe
def test_rows_and_classes_may_be_permuted(head, margin):
  k = margin.geometry.subcenters
  params, x, label = draw(margin, dtype=np.float32)
  loss = jax.jit(lambda p, x, label: head(
    p, x, label, jnp.ones(B), margin=margin, state={}, step=STEP, label_smoothing=0.1
  ).loss_b)
  for seed in range(5):
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(B), rng.permutation(C)
    moved = {"center_cd": params["center_cd"].reshape(C, k, D)[classes].reshape(C * k, D)}
    if "bias_c" in params:
      moved["bias_c"] = params["bias_c"][classes]
    new_label = np.argsort(classes)[label[rows]].astype(np.int32)
    np.testing.assert_allclose(loss(moved, x[rows], new_label), loss(params, x, label)[rows], rtol=1e-5, atol=1e-6)


@matrix
@pytest.mark.parametrize("margin", [ArcFace(m=0.0), CosFace(m=0.0), CombinedMargin(m1=1, m2=0, m3=0)])
def test_no_margin_is_normalised_softmax(head, margin):
  params, x, label = draw(margin, dtype=np.float32)
  plain = run(head, NormSoftmax(), params, x, label)
  np.testing.assert_array_equal(run(head, margin, params, x, label).loss_b, plain.loss_b)


@matrix
@pytest.mark.parametrize("margin", [NormSoftmax(), ArcFace(), CosFace(), ArcFace(subcenters=3)])
def test_lengths_do_not_count(head, margin):
  params, x, label = draw(margin)
  with jax.enable_x64(True):
    base = run(head, margin, params, x, label).loss_b
    factor = np.random.default_rng(3).uniform(0.01, 100, len(params["center_cd"]))
    scaled = run(head, margin, {"center_cd": params["center_cd"] * factor[:, None]}, 1e3 * x, label).loss_b
    np.testing.assert_allclose(scaled, base, rtol=1e-9)


@matrix
@margins_without_probe
def test_loss_is_not_negative_without_smoothing(head, margin):
  params, x, label = draw(margin, dtype=np.float32)
  sure = {**params, "center_cd": np.repeat(np.eye(C, D), margin.geometry.subcenters, 0).astype(np.float32)}
  x_sure = 50 * np.eye(C, D, dtype=np.float32)[label]
  for p, rows in ((params, x), (sure, x_sure)):
    assert (run(head, margin, p, rows, label).loss_b >= 0).all()


@matrix
@margins
@pytest.mark.parametrize("gradient", ["exact", "detached"])
def test_everything_is_finite_for_zero_and_parallel_vectors(head, margin, gradient):
  if hasattr(margin, "gradient"):
    margin = type(margin)(**{**vars(margin), "gradient": gradient, "scale": 64.0})
  params, x, label = draw(margin, dtype=np.float32)
  k = margin.geometry.subcenters
  params["center_cd"][label[3] * k] = 0.0
  x[0] = 0.0
  x[1] = 7 * params["center_cd"][label[1] * k]
  x[2] = -7 * params["center_cd"][label[2] * k]

  def loss(params, x):
    return head(
      params, x, label, jnp.ones(B), margin=margin, state=margin.init_state(), step=STEP, key=jax.random.key(0)
    ).loss_b.sum()

  value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)
  assert np.isfinite(value)
  for leaf in jax.tree.leaves(gradients):
    assert np.isfinite(leaf).all()
    assert np.abs(leaf).max() < 1e4


@matrix
def test_bfloat16_rows_are_computed_in_float32(head):
  params, x, label = draw(ArcFace(), dtype=np.float32)
  rounded = jnp.asarray(x, jnp.bfloat16)
  result = run(head, ArcFace(), params, rounded, label, weight=jnp.ones(B))
  assert result.loss_b.dtype == jnp.float32
  np.testing.assert_allclose(result.loss_b, run(head, ArcFace(), params, rounded.astype(jnp.float32), label).loss_b)


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


@matrix
@pytest.mark.parametrize(("margin", "smoothing", "loss", "x_grad", "w_grad"), GOLDEN)
def test_numbers_from_pytorch(head, margin, smoothing, loss, x_grad, w_grad):
  x, w = np.sin(np.arange(12.0)).reshape(3, 4), np.cos(np.arange(20.0)).reshape(5, 4)

  def mean(x, w):
    loss_b = head(
      {"center_cd": w}, x, jnp.array([0, 3, 4]), jnp.ones(3), margin=margin, state={}, label_smoothing=smoothing
    ).loss_b
    return loss_b.mean(), loss_b

  with jax.enable_x64(True):
    (_, loss_b), (x_bar, w_bar) = jax.jit(jax.value_and_grad(mean, (0, 1), has_aux=True))(jnp.asarray(x), jnp.asarray(w))
    np.testing.assert_allclose(loss_b, loss, rtol=1e-8)
    np.testing.assert_allclose(x_bar[1], x_grad, rtol=1e-7)
    np.testing.assert_allclose(w_bar[3], w_grad, rtol=1e-7)


def test_centers_start_as_documented():
  params = init_centers(jax.random.key(0), 2_000, 64, Geometry(unit_x=False, unit_w=False, bias=True, subcenters=2))
  assert params["center_cd"].shape == (4_000, 64) and params["center_cd"].dtype == jnp.float32
  np.testing.assert_allclose(params["center_cd"].std(), 0.01, rtol=0.02)
  np.testing.assert_array_equal(params["bias_c"], np.zeros(2_000))
  with pytest.raises(ValueError, match="num_classes = 0"):
    init_centers(jax.random.key(0), 0, 64, ArcFace().geometry)
