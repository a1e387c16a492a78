"""Networks by name: exact counts, options, precision, gradients."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models.preprocess import get_preprocess
from jaxface.models.registry import create, list_models, model_options
from jaxface.models.saved import count_parameters, variable_shapes

TINY_IRESNET = {"units": (1, 1, 0, 0), "width": 0.0625, "embedding_size": 8}
TINY_MOBILE = {"units": (1, 0, 1, 0, 0), "width": 0.125, "embedding_size": 8}


@pytest.mark.parametrize(
  ("name", "options", "count"),
  [
    ("iresnet18", {}, 24_025_600),
    ("iresnet34", {}, 34_139_328),
    ("iresnet50", {}, 43_590_848),
    ("iresnet100", {}, 65_156_160),
    ("iresnet200", {}, 118_833_920),
    ("mobilefacenet", {"variant": "separable", "activation": "relu6"}, 999_936),
    ("mobilefacenet", {}, 1_003_136),
  ],
)
def test_parameter_count_is_exact(name, options, count):
  assert count_parameters(variable_shapes(name, options, get_preprocess("unit"))["params"]) == count


def test_paper_and_separable_mobilefacenet_differ_by_the_stem_and_one_bias():
  shapes = [
    count_parameters(
      variable_shapes("mobilefacenet", {"variant": v, "activation": "relu"}, get_preprocess("unit"))["params"]
    )
    for v in ("paper", "separable")
  ]
  assert shapes[1] - shapes[0] == 64 * 64 + 2 * 64 + 128


def test_every_model_takes_the_common_options():
  for name in list_models():
    assert {"embedding_size", "dtype", "remat", "dropout"} <= set(model_options(name)), name
  assert list_models("iresnet1*") == ["iresnet100", "iresnet18"]


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda: create("iresnet_50"), ["iresnet_50", "Did you mean", "iresnet50", "mobilefacenet"]),
    (lambda: create("iresnet18", embeding_size=3), ["embeding_size", "'embedding_size'", "dropout"]),
    (lambda: create("iresnet18", dtype="float16"), ["float16", "bfloat16"]),
    (lambda: create("iresnet", units=(1, 2)), ["(1, 2)", "four"]),
    (lambda: create("iresnet50", units=(1, 1, 1, 1)), ["no option of iresnet50 'units'", "width"]),
    (lambda: create("mobilefacenet", activation="prely"), ["prely", "prelu, relu, relu6"]),
    (lambda: create("mobilefacenet", variant="seperable"), ["'separable'", "paper"]),
  ],
)
def test_a_wrong_name_lists_the_valid_ones(call, words):
  with pytest.raises(ValueError) as error:
    call()
  for word in words:
    assert word in str(error.value)


def test_a_variant_is_its_base_with_options_given_and_other_defaults():
  assert model_options("vit_l")["masked"] == 0.05 != model_options("vit_b")["masked"] == model_options("vit")["masked"]
  assert set(model_options("vit")) - set(model_options("vit_l")) == {"channels", "depth", "heads", "patch"}
  settled = {"channels": 768, "depth": 24, "heads": 8, "patch": 9, "masked": 0.05, "stochastic_depth": 0.05}
  assert create("vit_l", width=0.5) == create("vit", **settled, width=0.5)


@pytest.fixture(scope="module", params=["iresnet", "mobilefacenet"])
def tiny(request, random_model):
  """A small net with its variables and four 16×16 images."""
  options = TINY_IRESNET if request.param == "iresnet" else TINY_MOBILE
  image_bhwc = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))
  return request.param, options, random_model(request.param, **options).variables, image_bhwc


def test_permuting_the_batch_permutes_the_embeddings(tiny):
  name, options, variables, image_bhwc = tiny
  apply = jax.jit(lambda v, x: create(name, **options).apply(v, x, train=False))
  embedding_bd = apply(variables, image_bhwc)
  chex.assert_shape(embedding_bd, (4, 8))
  assert embedding_bd.dtype == jnp.float32
  assert float(jnp.abs(embedding_bd).max()) > 0.01
  order = np.array([2, 0, 3, 1])
  chex.assert_trees_all_close(apply(variables, image_bhwc[order]), embedding_bd[order], atol=1e-5)


def test_bfloat16_stays_close_and_keeps_parameters_and_embedding_in_float32(tiny):
  name, options, variables, image_bhwc = tiny
  low = create(name, **options, dtype="bfloat16")
  shapes = variable_shapes(name, {**options, "dtype": "bfloat16"}, get_preprocess("unit", size=16))
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(shapes)} == {"float32"}
  full_bd = jax.jit(lambda v, x: create(name, **options).apply(v, x, train=False))(variables, image_bhwc)
  low_bd = jax.jit(lambda v, x: low.apply(v, x, train=False))(variables, image_bhwc)
  assert low_bd.dtype == jnp.float32
  cosine_b = (full_bd * low_bd).sum(-1) / (
    jnp.linalg.norm(full_bd, axis=-1) * jnp.linalg.norm(low_bd, axis=-1)
  )
  assert float(cosine_b.min()) > 0.999
  assert float(jnp.abs(full_bd - low_bd).max()) > 0  # it did compute in another precision


def test_gradient_is_finite_reaches_every_leaf_but_the_frozen_scale_and_remat_does_not_change_it(tiny):
  name, options, variables, image_bhwc = tiny
  target_bd = jax.random.normal(jax.random.key(2), (4, 8))

  def value_and_gradient(remat):
    module = create(name, **options, remat=remat)

    def loss(params):
      out_bd, state = module.apply(
        {**variables, "params": params}, image_bhwc, train=True, mutable=["batch_stats"]
      )
      return (out_bd * target_bd).mean(), state["batch_stats"]

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

  (plain, stats), gradient = value_and_gradient(False)
  (again, _), gradient_remat = value_and_gradient(True)
  chex.assert_tree_all_finite(gradient)
  chex.assert_trees_all_close((plain, gradient), (again, gradient_remat), rtol=1e-3, atol=1e-5)
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), stats, variables["batch_stats"])
  assert all(jax.tree.leaves(moved))
  silent = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
    if not np.asarray(leaf).any()
  ]
  assert silent == (["embedding_norm/scale"] if name == "iresnet" else [])


@pytest.mark.parametrize("name", ["iresnet", "mobilefacenet"])
def test_dropout_acts_in_training_only(name, random_model):
  options = {"units": (0, 0, 0, 0)} if name == "iresnet" else {"units": (0, 0, 0, 0, 0)}
  saved = random_model(name, width=0.0625, embedding_size=8, dropout=0.5, **options)
  image_bhwc = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))

  @jax.jit
  def train(key):
    return saved.module.apply(
      saved.variables, image_bhwc, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )[0]

  assert float(jnp.abs(train(jax.random.key(1)) - train(jax.random.key(2))).max()) > 1e-3
  plain = create(name, width=0.0625, embedding_size=8, **options)
  chex.assert_trees_all_close(
    jax.jit(partial(saved.module.apply, train=False))(saved.variables, image_bhwc),
    jax.jit(partial(plain.apply, train=False))(saved.variables, image_bhwc),
    atol=1e-6,
  )


@pytest.mark.parametrize(
  ("image_bhwc", "words"),
  [
    (np.zeros((1, 16, 16, 3), np.uint8), ["uint8", "Preprocess.apply"]),
    (np.zeros((1, 16, 16, 1), np.float32), ["(1, 16, 16, 1)"]),
    (np.zeros((16, 16, 3), np.float32), ["(16, 16, 3)"]),
    (np.full((1, 16, 16, 3), 200, np.float32), ["200"]),
    (np.zeros((1, 32, 32, 3), np.float32), ["32x32", "another image size"]),
  ],
)
def test_images_of_another_convention_are_refused_and_the_convention_is_named(image_bhwc, words, random_model):
  saved = random_model("iresnet", **TINY_IRESNET)
  with pytest.raises(ValueError, match=r"IResNet .*'unit': 112x112 pixels, rgb") as error:
    saved.module.apply(saved.variables, image_bhwc, train=False)
  for word in words:
    assert word in str(error.value)


def test_a_config_that_names_no_network_means_the_default_one():
  from jaxface.models.config import DEFAULT_NETWORK, ModelConfig, make_model

  module, options, _ = make_model(ModelConfig(dtype="bfloat16"), "none")
  assert type(module) is type(create(DEFAULT_NETWORK)) and options == {"dtype": "bfloat16"}
