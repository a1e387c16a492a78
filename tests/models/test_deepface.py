"""DeepFace: the paper's counts and shapes, PyTorch's arithmetic on a narrow one, precision, gradients, initial values."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models.deepface import PUBLISHED, grey_gradient
from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes

CLASSIFIER = 4030 * 4096 + 4030
# The smallest image that every layer has a position for.
TINY = {"width": 0.125, "embedding_size": 8, "init": "he", "dropout": 0.0}
SIDE = 72


@pytest.mark.parametrize(("bias", "count"), [("position", 118_923_774), ("channel", 118_858_366)])
def test_counts_with_the_classifier(bias, count):
  assert count_parameters(variable_shapes("deepface", {"bias": bias})["params"]) + CLASSIFIER == count
  assert PUBLISHED["deepface"].parameters == 120e6


def test_shapes_follow_by_hand():
  c1 = 152 - 11 + 1
  m2 = -(-(c1 - 3) // 2) + 1
  c3 = m2 - 9 + 1
  l4 = c3 - 9 + 1
  l5 = (l4 - 7) // 2 + 1
  l6 = l5 - 5 + 1
  assert (c1, m2, c3, l4, l5, l6) == (142, 71, 63, 55, 25, 21)
  shapes = {name: leaves["kernel"].shape for name, leaves in variable_shapes("deepface", {})["params"].items()}
  assert shapes == {
    "C1": (11, 11, 3, 32), "C3": (9, 9, 32, 16), "L4": (l4, l4, 9, 9, 16, 16), "L5": (l5, l5, 7, 7, 16, 16),
    "L6": (l6, l6, 5, 5, 16, 16), "F7": (l6 * l6 * 16, 4096),
  }
  assert np.prod(shapes["L4"]) == 62_726_400


@pytest.fixture(scope="module")
def tiny():
  net = create("deepface", **TINY)
  params = jax.jit(partial(net.init, train=False))(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
  draw = np.random.default_rng(0)
  params = jax.tree.map(lambda x: x if x.any() else jnp.asarray(draw.normal(0, 0.1, x.shape), jnp.float32), params)
  return {"params": params}, jax.random.uniform(jax.random.key(1), (2, SIDE, SIDE, 3))


def test_pytorch_computes_the_same(tiny):
  torch = pytest.importorskip("torch")
  functional = torch.nn.functional
  variables, image = tiny
  layer = jax.tree.map(lambda x: torch.from_numpy(np.asarray(x).copy()), variables["params"])
  x = torch.from_numpy(np.array(image)).permute(0, 3, 1, 2)
  for name in ("C1", "C3"):
    x = functional.relu(functional.conv2d(x, layer[name]["kernel"].permute(3, 2, 0, 1), layer[name]["bias"]))
    if name == "C1":
      x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
  for name, stride in (("L4", 1), ("L5", 2), ("L6", 1)):
    height, width, side, _, channels, features = kernel = layer[name]["kernel"].shape
    # PyTorch unfolds [channel, row, column].
    kernel = layer[name]["kernel"].permute(0, 1, 4, 2, 3, 5).reshape(height * width, -1, features)
    x = torch.einsum("bkp,pko->bop", functional.unfold(x, side, stride=stride), kernel).reshape(-1, features, height, width)
    x = functional.relu(x + layer[name]["bias"].permute(2, 0, 1))
    assert channels == 2
  expected = functional.relu(x.permute(0, 2, 3, 1).reshape(2, -1) @ layer["F7"]["kernel"] + layer["F7"]["bias"])
  np.testing.assert_allclose(jax.jit(create("deepface", **TINY).apply)(variables, image), expected, atol=1e-5)


def test_gradient_is_finite_reaches_every_leaf_and_neither_remat_nor_memory_changes_it(tiny):
  variables, image = tiny
  target = jax.random.normal(jax.random.key(2), (2, 8))

  def value_and_slopes(**more):
    net = create("deepface", **TINY, **more)
    return jax.jit(jax.value_and_grad(lambda v: (net.apply(v, image, train=True) * target).sum()))(variables)

  value, slopes = value_and_slopes()
  chex.assert_tree_all_finite(slopes)
  assert all(leaf.any() for leaf in jax.tree.leaves(slopes))
  chex.assert_trees_all_close((value, slopes), value_and_slopes(remat=True, low_memory=True), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close_and_embeddings_are_float32_and_not_negative(tiny):
  variables, image = tiny
  wide, narrow = (jax.jit(create("deepface", **TINY, dtype=dtype).apply)(variables, image) for dtype in ("float32", "bfloat16"))
  assert narrow.dtype == jnp.float32 and float(narrow.min()) >= 0 and float(wide.max()) > 0
  np.testing.assert_allclose(narrow, wide, atol=0.03 * float(wide.max()))
  assert float(jnp.abs(narrow - wide).max()) > 0


def test_dropout_acts_on_f7_in_training_only(tiny):
  variables, image = tiny
  net = create("deepface", **(TINY | {"dropout": 0.5}))
  calm = net.apply(variables, image)
  chex.assert_trees_all_close(calm, create("deepface", **TINY).apply(variables, image))
  dropped = net.apply(variables, image, train=True, rngs={"dropout": jax.random.key(3)})
  assert set(np.unique(np.round(np.asarray(dropped / jnp.where(calm > 0, calm, 1)), 4))) == {0.0, 2.0}


@pytest.mark.sweep
def test_weights_start_as_the_paper_says_and_otherwise_if_asked():
  def initial(**options):
    net = create("deepface", width=0.25, embedding_size=64, **options)
    return jax.jit(partial(net.init, train=False))(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))["params"]

  paper, he = initial(), initial(init="he", bias="channel")
  for name, inputs in (("C3", 9 * 9 * 8), ("L4", 9 * 9 * 4), ("F7", 4)):
    assert float(paper[name]["kernel"].std()) == pytest.approx(0.02, rel=0.1)  # 0.01 at full width
    assert float(he[name]["kernel"].std()) == pytest.approx((2 / inputs) ** 0.5, rel=0.1)
    assert (paper[name]["bias"] == 0.5).all() and not he[name]["bias"].any()
  assert he["L4"]["bias"].shape == (4,) and paper["L4"]["bias"].shape == (15, 15, 4)


def test_what_is_wrong_is_named(tiny):
  with pytest.raises(ValueError, match=r"bias of deepface 'pixel'.*position, channel"):
    create("deepface", bias="pixel")
  with pytest.raises(ValueError, match=r"init of deepface 'hee'.*'he'"):
    create("deepface", init="hee")
  net = create("deepface", **TINY)
  with pytest.raises(ValueError, match=r"\[B, H, W, 3\].*152x152 pixels"):
    net.apply({}, jnp.zeros((1, SIDE, SIDE, 1)))
  with pytest.raises(ValueError, match=r"0\.\.1.*got numbers in 0\.\.255"):
    net.apply({}, jnp.zeros((1, SIDE, SIDE, 3)).at[0, 0, 0].set(255))
  with pytest.raises(ValueError, match="another image size"):
    net.apply(tiny[0], jnp.zeros((1, SIDE + 8, SIDE + 8, 3)))
  with pytest.raises(ValueError, match="window does not fit"):
    jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def test_the_gradient_input_is_grey_magnitude_and_orientation(tiny):
  variables, image = tiny
  grey_bhw = np.asarray(image, np.float64) @ [0.299, 0.587, 0.114]
  expected = np.zeros((*grey_bhw.shape, 3))
  height, width = grey_bhw.shape[1:]
  for b, y, x in np.ndindex(grey_bhw.shape):
    up, down, left, right = max(y - 1, 0), min(y + 1, height - 1), max(x - 1, 0), min(x + 1, width - 1)
    dy = (grey_bhw[b, down, x] - grey_bhw[b, up, x]) / (down - up)
    dx = (grey_bhw[b, y, right] - grey_bhw[b, y, left]) / (right - left)
    expected[b, y, x] = grey_bhw[b, y, x], np.sqrt(dx * dx + dy * dy), np.arctan2(dy, dx) / np.pi
  planes = jax.jit(grey_gradient)(image)
  np.testing.assert_allclose(planes[..., :2], expected[..., :2], atol=1e-5)
  # An angle is as exact as the gradient is long.
  np.testing.assert_allclose(planes[..., 2] * expected[..., 1], expected[..., 2] * expected[..., 1], atol=2e-6)
  assert not np.asarray(grey_gradient(jnp.full((1, 3, 3, 3), 0.5)))[..., 1:].any()
  plain, other = create("deepface", **TINY), create("deepface", **TINY, input="gradient")
  np.testing.assert_allclose(jax.jit(other.apply)(variables, image), jax.jit(plain.apply)(variables, planes), rtol=1e-5, atol=1e-6)
  with pytest.raises(ValueError, match=r"input of deepface.*edges"):
    create("deepface", input="edges")
