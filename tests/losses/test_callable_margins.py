"""Margins called with class centres: what the dense head computes, and errors that say what is taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface import losses
from jaxface.losses.dense import dense_head

MARGINS = [
  losses.Softmax(), losses.ModifiedSoftmax(), losses.NormSoftmax(), losses.ASoftmax(), losses.SphereFaceR(), losses.CosFace(),
  losses.ArcFace(), losses.SubcenterArcFace(), losses.CombinedMargin(), losses.AdaFace(), losses.MagFace(),
  losses.CurricularFace(), losses.ElasticFace(), losses.Filtered(),
]


def given(subcenters=1):
  rng = np.random.default_rng(0)
  return (
    jnp.asarray(rng.normal(size=(6, 8)), jnp.float32), jnp.asarray([0, 4, 2, 2, 1, 3]),
    jnp.asarray(rng.normal(size=(5 * subcenters, 8)), jnp.float32),
  )


@pytest.mark.parametrize("margin", MARGINS, ids=lambda margin: type(margin).__name__)
def test_a_called_margin_is_the_dense_head(margin):
  x, label, centers = given(margin.geometry.subcenters)
  key, bias = jax.random.key(3), jnp.arange(5.0)
  params = {"center_cd": centers, **({"bias_c": bias} if margin.geometry.bias else {})}
  expected = dense_head(
    params, x, label, jnp.ones(6), margin=margin, state=margin.init_state(), step=7, key=key, label_smoothing=0.1
  ).loss_b
  more = {"bias_c": bias} if margin.geometry.bias else {}
  loss_b = jax.jit(lambda *arrays: margin(*arrays, step=7, key=key, label_smoothing=0.1, **more))(x, label, centers)
  assert loss_b.shape == (6,)
  np.testing.assert_allclose(loss_b, expected, rtol=1e-6, atol=1e-6)


def test_a_called_margin_by_hand():
  # One row at 60° to its own centre and 90° to the other: log(1 + exp(0 − 64·cos(π/3 + 0.5))).
  x, centers = jnp.array([[3.0, 0.0]]), jnp.array([[1.0, np.sqrt(3)], [0.0, 2.0]])
  own = 64 * np.cos(np.pi / 3 + 0.5)
  np.testing.assert_allclose(losses.ArcFace()(x, jnp.array([0]), centers), [np.log1p(np.exp(-own))], rtol=1e-4)


@pytest.mark.parametrize(
  ("arrays", "error", "message"),
  [
    (lambda x, y, w: (x, y), TypeError, r"center_cd \[C·subcenters, D\], got only embedding_bd and label_b.*Classification"),
    (lambda x, y, w: (x,), TypeError, "got only embedding_bd"),
    (lambda x, y, w: (x, w, y), ValueError, r"integer label_b \[B\].*got shapes \(6, 8\), \(5, 8\), \(6,\)"),
    (lambda x, y, w: (x, y[:3], w), ValueError, r"got shapes \(6, 8\), \(3,\), \(5, 8\)"),
    (lambda x, y, w: (x, y, w[:, :4]), ValueError, r"\(5, 4\)"),
    (lambda x, y, w: (x, y.astype(float), w), TypeError, "identities must be integers"),
  ],
)
def test_wrong_arguments_are_told_what_is_taken(arrays, error, message):
  with pytest.raises(error, match=message):
    losses.ArcFace()(*arrays(*given()))
  with pytest.raises(ValueError, match="with subcenters 3"):
    losses.SubcenterArcFace()(*given())


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("blend", [0.0, 5.0])
def test_the_published_gradient_of_a_softmax(m, blend):
  """The released layer's coefficients, for the embedding: of the centre and of the embedding itself, scaled to length one."""
  rng = np.random.default_rng(m)
  x, w = rng.normal(size=(40, 3)), rng.normal(size=3)
  w /= np.linalg.norm(w)
  length = np.linalg.norm(x, axis=1)
  c = x @ w / length
  k = np.floor(m * np.arccos(c) / np.pi)
  sign = (-1.0) ** k
  if m == 2:
    a, b = 4 * sign * c, -(2 * sign * c**2 + 1) / length
  elif m == 3:
    a, b = sign * (12 * c**2 - 3), -(8 * sign * c**3 + 2 * k) / length
  else:
    a, b = sign * (32 * c**3 - 16 * c), -(sign * (24 * c**4 - 8 * c**2 - 1) + 2 * k) / length
  size = np.hypot(a, b)
  expected = ((a / size)[:, None] * w + (b / size)[:, None] * x) / (1 + blend) + blend / (1 + blend) * w

  with jax.enable_x64(True):
    exact, published = (
      losses.ASoftmax(m=m, start=blend, decay=0.0, least=blend, gradient=gradient) for gradient in ("exact", "published")
    )

    def logit(x, margin):
      target_b, norm_b = x @ jnp.asarray(w), jnp.linalg.norm(x, axis=1)
      prep = margin.prepare(target_b, norm_b, jnp.ones(40), state={}, step=0, key=None, reduce=lambda total: total)
      return margin.target(target_b, prep.ctx)

    np.testing.assert_array_equal(logit(jnp.asarray(x), published), logit(jnp.asarray(x), exact))
    slope = jax.jit(jax.grad(lambda x: logit(x, published).sum()))(jnp.asarray(x))
  np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-9)


def test_the_published_gradient_is_finite_without_a_length():
  x = jnp.zeros((1, 3))
  slope = jax.grad(lambda x: losses.ASoftmax(gradient="published")(x, jnp.array([0]), jnp.eye(3)).sum())(x)
  assert np.isfinite(slope).all()
