"""DeepID and DeepID2: the papers' shapes and counts by hand, PyTorch's arithmetic, precision, gradients, ensembles."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models import deepid, deepid2
from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes

# Network, options, pixels, then the sides of conv1, pool1, conv2, pool2, conv3, pool3 and conv4.
STACKS = [
  ("deepid", {"input": "39x31x3"}, (39, 31, 3), ((36, 28), (18, 14), (16, 12), (8, 6), (6, 4), (3, 2), (2, 1))),
  ("deepid", {"input": "39x31x1"}, (39, 31, 1), ((36, 28), (18, 14), (16, 12), (8, 6), (6, 4), (3, 2), (2, 1))),
  ("deepid", {"input": "31x31x3"}, (31, 31, 3), ((28, 28), (14, 14), (12, 12), (6, 6), (4, 4), (2, 2), (1, 1))),
  ("deepid", {"input": "31x31x1"}, (31, 31, 1), ((28, 28), (14, 14), (12, 12), (6, 6), (4, 4), (2, 2), (1, 1))),
  ("deepid2", {}, (55, 47, 3), ((52, 44), (26, 22), (24, 20), (12, 10), (10, 8), (5, 4), (4, 3))),
]
LAST_INPUTS = [520, 520, 320, 320, 2160]
COUNTS = [260_100, 259_460, 165_500, 164_860, 1_018_540]


@pytest.mark.parametrize(("stack", "inputs", "count"), zip(STACKS, LAST_INPUTS, COUNTS))
def test_shapes_and_counts_are_the_papers(stack, inputs, count):
  name, options, pixels, (conv1, pool1, conv2, pool2, conv3, pool3, conv4) = stack
  for before, after, shrinks in ((pixels, conv1, 3), (pool1, conv2, 2), (pool2, conv3, 2), (pool3, conv4, 1)):
    assert (before[0] - shrinks, before[1] - shrinks) == after
  for before, after in ((conv1, pool1), (conv2, pool2), (conv3, pool3)):
    assert (before[0] / 2, before[1] / 2) == after
  regions = conv3[0] // 2 * conv3[1] // 2
  assert 60 * pool3[0] * pool3[1] + 80 * conv4[0] * conv4[1] == inputs
  by_hand = {
    "conv1": 4 * 4 * pixels[2] * 20 + 20,
    "conv2": 3 * 3 * 20 * 40 + 40,
    "conv3": regions * (3 * 3 * 40 * 60 + 60),
    "conv4": conv4[0] * conv4[1] * (2 * 2 * 60 * 80 + 80),
    "deepid": inputs * 160 + 160,
  }
  shapes = variable_shapes(name, options)["params"]
  assert {layer: count_parameters(leaves) for layer, leaves in shapes.items()} == by_hand
  assert sum(by_hand.values()) == count
  convention = create(name, **options).convention
  assert (*convention.size, convention.channels) == pixels and convention.fit == "resize"
  assert name in deepid.PUBLISHED | deepid2.PUBLISHED


def variables_of(net, pixels, seed=0):
  """Initial values, with biases that are not zero."""
  params = jax.jit(partial(net.init, train=False))(jax.random.key(seed), jnp.zeros((1, *pixels)))["params"]
  draw = np.random.default_rng(seed)
  return {"params": jax.tree.map(lambda x: x if x.any() else jnp.asarray(draw.normal(0, 0.1, x.shape), jnp.float32), params)}


def test_pytorch_computes_the_same():
  torch = pytest.importorskip("torch")
  functional = torch.nn.functional
  image = np.random.default_rng(1).uniform(-1, 1, (2, 31, 31, 3)).astype(np.float32)
  net = create("deepid", input="31x31x3", width=0.2)
  variables = variables_of(net, (31, 31, 3))
  layer = jax.tree.map(lambda x: torch.from_numpy(np.asarray(x).copy()), variables["params"])
  x = torch.from_numpy(image).permute(0, 3, 1, 2)
  for name in ("conv1", "conv2"):
    x = functional.conv2d(x, layer[name]["kernel"].permute(3, 2, 0, 1), layer[name]["bias"])
    x = functional.max_pool2d(functional.relu(x), 2)
  conv3 = torch.zeros(2, 12, 4, 4)
  for i in range(2):
    for j in range(2):
      # A region of 2×2 positions sees 4×4 pixels.
      kernel, bias = layer["conv3"]["kernel"][i, j].permute(3, 2, 0, 1), layer["conv3"]["bias"][i, j]
      seen = x[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
      conv3[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = functional.conv2d(seen, kernel, bias)
  pool3 = functional.max_pool2d(functional.relu(conv3), 2)
  conv4 = functional.relu(
    functional.conv2d(pool3, layer["conv4"]["kernel"][0, 0].permute(3, 2, 0, 1), layer["conv4"]["bias"][0, 0])
  )
  w1, w2 = layer["deepid"]["kernel"][:48], layer["deepid"]["kernel"][48:]
  pool3, conv4 = (array.permute(0, 2, 3, 1).reshape(2, -1) for array in (pool3, conv4))
  expected = functional.relu(pool3 @ w1 + conv4 @ w2 + layer["deepid"]["bias"])
  np.testing.assert_allclose(jax.jit(net.apply)(variables, image), expected, atol=1e-5)


def test_gradient_is_finite_reaches_every_leaf_and_remat_does_not_change_it():
  image = jax.random.uniform(jax.random.key(1), (4, 31, 31, 1), minval=-1)
  target = jax.random.normal(jax.random.key(2), (4, 16))
  plain = create("deepid", input="31x31x1", width=0.2, embedding_size=16)
  variables = variables_of(plain, (31, 31, 1))

  def value_and_slopes(remat):
    net = create("deepid", input="31x31x1", width=0.2, embedding_size=16, remat=remat)
    return jax.jit(jax.value_and_grad(lambda v: (net.apply(v, image, train=True) * target).sum()))(variables)

  value, slopes = value_and_slopes(False)
  chex.assert_tree_all_finite(slopes)
  assert all(leaf.any() for leaf in jax.tree.leaves(slopes))
  chex.assert_trees_all_close((value, slopes), value_and_slopes(True), rtol=1e-5, atol=1e-5)


def test_bfloat16_is_close_and_embeddings_are_float32_and_not_negative():
  image = jax.random.uniform(jax.random.key(1), (4, 31, 31, 3), minval=-1)
  full = create("deepid", input="31x31x3")
  variables = variables_of(full, (31, 31, 3))
  wide, narrow = (
    jax.jit(net.apply)(variables, image) for net in (full, create("deepid", input="31x31x3", dtype="bfloat16"))
  )
  assert narrow.dtype == jnp.float32 and float(narrow.min()) >= 0 and narrow.shape == (4, 160)
  np.testing.assert_allclose(narrow, wide, atol=0.03 * float(wide.max()))
  assert float(jnp.abs(narrow - wide).max()) > 0


def test_an_ensemble_by_vmap_is_its_members():
  net = create("deepid", input="31x31x1", width=0.1, embedding_size=8)
  image = jax.random.uniform(jax.random.key(1), (3, 2, 31, 31, 1), minval=-1)
  members = [variables_of(net, (31, 31, 1), seed) for seed in range(3)]
  together = jax.jit(jax.vmap(net.apply))(jax.tree.map(lambda *leaf: jnp.stack(leaf), *members), image)
  chex.assert_trees_all_close(together, jnp.stack([net.apply(v, x) for v, x in zip(members, image)]), atol=1e-5)


def test_what_is_wrong_is_named():
  with pytest.raises(ValueError, match="39x31x3, 39x31x1, 31x31x3, 31x31x1"):
    create("deepid", input="32x32x3")
  net = create("deepid", input="31x31x1", width=0.1, embedding_size=8)
  with pytest.raises(ValueError, match=r"\[B, H, W, 1\].*31x31 pixels, grey"):
    net.apply({}, jnp.zeros((1, 31, 31, 3)))
  variables = variables_of(net, (31, 31, 1))
  with pytest.raises(ValueError, match=r"another image size.*39x31 pixels.*31x31 pixels, grey"):
    net.apply(variables, jnp.zeros((1, 39, 31, 1)))
  with pytest.raises(ValueError, match="2x2 window does not fit into 1x1 pixels"):
    jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
