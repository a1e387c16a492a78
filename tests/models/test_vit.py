"""The face transformer: counts, PyTorch's arithmetic, what masking and stochastic depth do."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes
from jaxface.models.vit import PUBLISHED, Block
from jaxface.models.watch import watch

TINY = {"channels": 16, "depth": 2, "heads": 4, "patch": 5, "embedding_size": 8}


def by_hand(d: int, depth: int, *, tokens: int = 144, embedding: int = 512) -> int:
  """InsightFace's module list: what its `vit_*` hold."""
  patches, position, mask_token = 9 * 9 * 3 * d + d, tokens * d, d
  attention = d * 3 * d + (d * d + d)
  mlp = (d * 4 * d + 4 * d) + (4 * d * d + d)
  block = 2 * d + attention + 2 * d + mlp
  feature = tokens * d * d + 2 * d + d * embedding + 2 * embedding
  return patches + position + mask_token + depth * block + 2 * d + feature


@pytest.mark.parametrize(
  ("name", "d", "depth", "count"),
  [
    ("vit_t", 256, 12, 19_137_792),
    ("vit_s", 512, 12, 76_023_296),
    ("vit_b", 512, 24, 113_833_472),
    ("vit_l", 768, 24, 255_684_352),
  ],
)
def test_counts_are_those_of_insightface(name, d, depth, count):
  assert by_hand(d, depth) == count
  assert count_parameters(variable_shapes(name, {})["params"]) == count
  assert name in PUBLISHED


def test_a_mean_of_tokens_needs_no_stand_in_and_a_narrow_head():
  sizes = [count_parameters(variable_shapes("vit", {"depth": 1, "head": head})["params"]) for head in ("all", "mean")]
  assert sizes[1] == sizes[0] - 256 - 143 * 256 * 256


def test_multiply_adds_are_the_published_ones():
  def products(name: str) -> int:
    total = 0
    for eqn, _, times in watch(create(name), (1, 112, 112, 3)).equations():
      if eqn.primitive.name == "dot_general":
        (left, _), _ = eqn.params["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        total += times * eqn.outvars[0].aval.size * int(np.prod([shape[i] for i in left]))
    return total + 12 * 12 * 9 * 9 * 3 * create(name).channels

  assert products("vit_t") == pytest.approx(PUBLISHED["vit_t"].multiply_adds, rel=0.02)


@pytest.fixture(scope="module", params=["all", "mean"])
def tiny(request, random_model):
  saved = random_model("vit", **TINY, head=request.param)
  return saved, np.asarray(jax.random.normal(jax.random.key(1), (3, 16, 16, 3)))


def in_torch(torch, params, statistics, x_bhwc, head):
  """The network in PyTorch's functions, after InsightFace's description."""
  F = torch.nn.functional
  p = jax.tree.map(lambda a: torch.tensor(np.asarray(a)), params)
  s = jax.tree.map(lambda a: torch.tensor(np.asarray(a)), statistics)

  def norm(x, name):
    return F.batch_norm(x, s[name]["mean"], s[name]["var"], p[name]["scale"], p[name]["bias"], eps=2e-5)

  kernel = p["patches"]["kernel"].permute(3, 2, 0, 1)
  x = F.conv2d(torch.tensor(x_bhwc).permute(0, 3, 1, 2), kernel, p["patches"]["bias"], stride=TINY["patch"])
  x = x.flatten(2).transpose(1, 2) + p["position"]
  for index in range(TINY["depth"]):
    q = p[f"block{index + 1}"]
    y = F.layer_norm(x, x.shape[-1:], q["norm1"]["scale"], q["norm1"]["bias"])
    qkv = (y @ q["attention"]["qkv"]["kernel"]).unflatten(-1, (3, TINY["heads"], -1)).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2)
    x = x + y @ q["attention"]["project"]["kernel"] + q["attention"]["project"]["bias"]
    y = F.layer_norm(x, x.shape[-1:], q["norm2"]["scale"], q["norm2"]["bias"])
    y = F.relu6(y @ q["dense1"]["kernel"] + q["dense1"]["bias"])
    x = x + y @ q["dense2"]["kernel"] + q["dense2"]["bias"]
  x = F.layer_norm(x, x.shape[-1:], p["norm"]["scale"], p["norm"]["bias"])
  x = x.flatten(1) if head == "all" else x.mean(1)
  return norm(norm(x @ p["head_dense"]["kernel"], "head_norm") @ p["embedding"]["kernel"], "embedding_norm").numpy()


def test_embeddings_equal_pytorchs(tiny):
  torch = pytest.importorskip("torch")
  saved, x_bhwc = tiny
  found = jax.jit(partial(saved.module.apply, train=False))(saved.variables, x_bhwc)
  assert found.dtype == jnp.float32
  expected = in_torch(torch, saved.variables["params"], saved.variables["batch_stats"], x_bhwc, saved.options["head"])
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_pixels_outside_of_the_patches_do_not_count(tiny):
  saved, x_bhwc = tiny
  other = x_bhwc.copy()
  other[:, 15:], other[:, :, 15:] = 1, -1
  apply = jax.jit(partial(saved.module.apply, train=False))
  np.testing.assert_array_equal(apply(saved.variables, x_bhwc), apply(saved.variables, other))


def loss_of(saved, x_bhwc, **options):
  module = create("vit", **{**saved.options, **options})
  target_bd = jax.random.normal(jax.random.key(2), (len(x_bhwc), 8))

  def loss(params, key):
    out_bd, _ = module.apply(
      {**saved.variables, "params": params}, x_bhwc, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )
    return (out_bd * target_bd).mean()

  return loss


def test_gradients_are_finite_reach_every_leaf_and_remat_keeps_them(tiny):
  saved, x_bhwc = tiny
  key = jax.random.key(3)
  options = {"masked": 0.5, "stochastic_depth": 0.0}
  value, gradient = jax.jit(jax.value_and_grad(loss_of(saved, x_bhwc, **options)))(saved.variables["params"], key)
  again = jax.jit(jax.value_and_grad(loss_of(saved, x_bhwc, remat=True, **options)))(saved.variables["params"], key)
  chex.assert_trees_all_close((value, gradient), again, rtol=1e-3, atol=1e-5)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.isfinite(leaf).all() and np.asarray(leaf).any(), jax.tree_util.keystr(path)


def test_gradients_of_a_block_are_those_of_finite_differences():
  with jax.enable_x64(True):
    block = Block(heads=2, skipped=0.0, dtype=jnp.float64)
    x_btd = jax.random.normal(jax.random.key(0), (1, 3, 4), jnp.float64)
    variables = block.init(jax.random.key(1), x_btd, False)
    # Away from the corners of ReLU6, and with weights that make attention uneven.
    variables = jax.tree.map(lambda a: 20 * a.astype(jnp.float64) + 0.1, variables)
    check_grads(jax.jit(lambda v, x: block.apply(v, x, False)), (variables, x_btd), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.sweep
def test_masking_hides_a_tenth_and_stochastic_depth_skips_whole_images(random_model):
  saved = random_model("vit", **{**TINY, "depth": 1}, size=50, masked=0.1)
  x_bhwc = np.zeros((4, 50, 50, 3), np.float32)
  _, state = saved.module.apply(
    saved.variables, x_bhwc, train=True, mutable=["batch_stats", "intermediates"], rngs={"dropout": jax.random.key(0)},
    capture_intermediates=lambda module, _: module.name in ("block1", "norm"),
  )
  seen = state["intermediates"]
  assert seen["block1"]["__call__"][0].shape == (4, 90, 16) and seen["norm"]["__call__"][0].shape == (4, 90, 16)

  net = create("vit", **{**TINY, "depth": 2}, stochastic_depth=0.5, masked=0.0)
  variables = random_model("vit", **TINY, masked=0.0).variables
  x_bhwc = np.ones((64, 16, 16, 3), np.float32)
  _, state = net.apply(
    variables, x_bhwc, train=True, mutable=["batch_stats", "intermediates"], rngs={"dropout": jax.random.key(0)},
    capture_intermediates=lambda module, _: module.name in ("block1", "block2"),
  )
  first, second = (state["intermediates"][name]["__call__"][0] for name in ("block1", "block2"))
  assert np.ptp(np.asarray(first), axis=0).max() < 1e-5  # the first block is never skipped
  untouched = np.isclose(first, second, atol=1e-6).all((1, 2)).mean()
  assert 0.05 < untouched < 0.55  # both of its halves skipped: a quarter of the images


def test_bfloat16_stays_close_and_parameters_stay_float32(tiny):
  saved, x_bhwc = tiny
  low = create("vit", **saved.options, dtype="bfloat16")
  found = jax.jit(partial(low.apply, train=False))(saved.variables, x_bhwc)
  full = jax.jit(partial(saved.module.apply, train=False))(saved.variables, x_bhwc)
  assert found.dtype == jnp.float32
  cosine = (found * full).sum(-1) / jnp.linalg.norm(found, axis=-1) / jnp.linalg.norm(full, axis=-1)
  assert float(cosine.min()) > 0.995 and float(jnp.abs(found - full).max()) > 0
  assert {leaf.dtype for leaf in jax.tree.leaves(variable_shapes("vit", {**saved.options, "dtype": "bfloat16"}))} == {
    jnp.dtype("float32")
  }


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda s, x: create("vit_t", head="men"), ["'men'", "'mean'", "all"]),
    (lambda s, x: create("vit_t", masked=1.0), ["masked", "1.0", "[0, 1)"]),
    (lambda s, x: create("vit", channels=250), ["250", "8 heads"]),
    (lambda s, x: s.module.apply(s.variables, x[:, :, :, :1], train=False), ["VisionTransformer", "'unit'", "(3, 16, 16, 1)"]),
    (lambda s, x: s.module.apply(s.variables, x.repeat(2, 1), train=False), ["32x16", "another image size", "position"]),
  ],
)
def test_wrong_options_and_images_are_refused(call, words, tiny):
  with pytest.raises(ValueError) as error:
    call(*tiny)
  for word in words:
    assert word in str(error.value)
