"""What every network keeps: the contract, in small forms of all kinds, on small images.

Deeper nets of a kind repeat the layers of the shallower ones, and compiling them takes minutes: what needs a compiler is tested
on one or two forms of each kind, the rest on all.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxface.checkpoint import WrongCheckpoint
from jaxface.formats.checked_json import read_checked_json
from jaxface.models.registry import create, list_models, model_options
from jaxface.models.saved import SavedModel, load_model, save_model, variable_shapes


class Small(NamedTuple):
  """A small form: side of the image, options, and leaves that get no gradient by design."""

  size: int | tuple[int, int]
  options: Mapping[str, Any]
  silent: tuple[str, ...] = ()


NARROW = {"width": 0.125, "embedding_size": 8}
# Where the embedding ends with a rectifier some of its numbers are always zero.
RECTIFIED = {"width": 0.125, "embedding_size": 32, "dropout": 0.0}
SMALL = {
  "smallresnet": Small(16, {"widths": (8, 16), "units": (1, 1), "embedding_size": 8}),
  "projected": Small(
    16, {"backbone_options": {"widths": (8, 16), "units": (1, 0), "embedding_size": 12}, "embedding_size": 8}, ("frozen/",)
  ),
  "iresnet": Small(16, {"units": (1, 1, 0, 0), **NARROW}, ("embedding_norm/scale",)),
  "mobilefacenet": Small(16, {"units": (1, 0, 1, 0, 0), **NARROW}),
  "deepid": Small((39, 31), {**RECTIFIED, "input": "39x31x1"}),
  # The paper's weights begin so small that the first steps change nothing.
  "deepface": Small(72, {**RECTIFIED, "init": "he", "width": 0.5}),
  "deepid_ensemble": Small(48, {**RECTIFIED, "regions": ["face"], "scales": [1.0]}),
  "vggface_a": Small(32, RECTIFIED),
  "lightcnn9": Small(32, {**NARROW, "dropout": 0.0}),
  "sphereface4": Small(32, NARROW),
  "facenet_nn1": Small(32, NARROW),
  # With fewer numbers than these some rectifiers pass nothing at all.
  "facenet_nn4": Small(48, {**NARROW, "width": 0.25}),
  "vit": Small(27, {**NARROW, "depth": 2, "heads": 2, "width": 0.25, "masked": 0.0, "stochastic_depth": 0.0}),
}


class Net(NamedTuple):
  """A small form with its first variables and four images of its convention."""

  name: str
  options: dict[str, Any]
  module: Any
  variables: Any
  image_bhwc: Any


@functools.cache
def make(name: str) -> Net:
  size, options, _ = SMALL[name]
  module = create(name, **options)
  height, width = (size, size) if isinstance(size, int) else size
  least, most = module.convention.range
  # Two pictures, each of them twice with some noise.
  keys = jax.random.split(jax.random.key(0), 2)
  picture = jax.random.uniform(keys[0], (2, height, width, module.convention.channels))
  noise = jax.random.uniform(keys[1], (4, height, width, module.convention.channels))
  image_bhwc = least + (most - least) * (0.8 * jnp.tile(picture, (2, 1, 1, 1)) + 0.2 * noise)
  # Other random bits than training's: they take a tenth of the time to compile.
  key = jax.random.key(1, impl="rbg")
  variables = jax.jit(functools.partial(module.init, train=False))(key, image_bhwc)
  return Net(name, dict(options), module, variables, image_bhwc)


def embedding_size(net: Net) -> int:
  """Of an ensemble, that of all its members."""
  return net.options["embedding_size"] * getattr(net.module, "members", 1)


@pytest.fixture(params=list(SMALL))
def net(request) -> Net:
  return make(request.param)


def test_every_kind_of_network_has_a_small_form():
  assert {type(create(name)) for name in list_models()} == {type(create(name)) for name in SMALL}


def test_the_embedding_is_float32_and_bfloat16_is_near(net):
  @jax.jit
  def both(variables, image_bhwc):
    low = create(net.name, **net.options, dtype="bfloat16")
    return tuple(module.apply(variables, image_bhwc, train=False) for module in (net.module, low))

  full_bd, low_bd = both(net.variables, net.image_bhwc)
  for embedding_bd in (full_bd, low_bd):
    chex.assert_shape(embedding_bd, (4, embedding_size(net)))
    assert embedding_bd.dtype == jnp.float32
  chex.assert_tree_all_finite((full_bd, low_bd))
  assert float(jnp.linalg.norm(full_bd, axis=1).min()) > 0
  cosine_b = optax.losses.cosine_similarity(full_bd, low_bd)
  assert float(cosine_b.min()) > 0.99


def test_the_loss_falls_and_every_leaf_has_a_finite_gradient(net):
  """Images of one picture are drawn together, others apart."""
  picture_b = jnp.array([0, 1, 0, 1])
  same_bb = (picture_b[:, None] == picture_b).astype(jnp.float32)
  optimizer = optax.adam(5e-4)

  def loss(params, stats):
    embedding_bd, moved = net.module.apply(
      {"params": params, **stats}, net.image_bhwc, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    unit_bd = embedding_bd / (jnp.linalg.norm(embedding_bd, axis=1, keepdims=True) + 1e-12)
    return jnp.square(unit_bd @ unit_bd.T - same_bb).mean(), moved

  @jax.jit
  def step(params, stats, state):
    (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(params, stats)
    updates, state = optimizer.update(grads, state, params)
    return value, grads, optax.apply_updates(params, updates), {**stats, **moved}, state

  params = net.variables["params"]
  stats = {key: value for key, value in net.variables.items() if key != "params"}
  state = optimizer.init(params)
  values = []
  for number in range(60):
    value, grads, params, stats, state = step(params, stats, state)
    values.append(float(value))
    chex.assert_tree_all_finite((value, grads))
    if number == 0:
      named = [(jax.tree_util.keystr(p, simple=True, separator="/"), g) for p, g in jax.tree_util.tree_leaves_with_path(grads)]
      silent = [name for name, gradient in named if not np.asarray(gradient).any()]
      assert [name for name in silent if not name.startswith(SMALL[net.name].silent)] == []
  assert min(values) < 0.95 * values[0], values


@pytest.mark.parametrize(
  ("change", "word"),
  [
    (lambda x: x[..., :2] if x.shape[-1] == 3 else jnp.concatenate([x, x], -1), "2)"),
    (lambda x: x[0], "shape"),
    (lambda x: jnp.zeros(x.shape, jnp.uint8), "uint8"),
    (lambda x: 1000 + x, "numbers in"),
  ],
  ids=["channels", "rank", "dtype", "range"],
)
def test_another_image_is_refused_by_the_name_of_the_convention(net, change, word):
  with pytest.raises(ValueError, match=repr(net.module.convention.name)) as error:
    net.module.apply(net.variables, change(net.image_bhwc), train=False)
  assert word in str(error.value)


def test_another_size_is_refused_where_the_parameters_are_for_one_size(net):
  b, h, w, c = net.image_bhwc.shape
  image = jax.ShapeDtypeStruct((b, 2 * h, 2 * w, c), jnp.float32)
  own = jax.tree.map(jnp.shape, net.variables["params"])
  convention = replace(net.module.convention, size=(2 * h, 2 * w))
  other = jax.tree.map(lambda leaf: leaf.shape, variable_shapes(net.name, net.options, convention)["params"])

  def embed():
    return jax.eval_shape(lambda v, x: net.module.apply(v, x, train=False), net.variables, image)

  if own == other:  # It ends with a mean over the image.
    assert embed().shape == (4, embedding_size(net))
    return
  with pytest.raises(ValueError, match=repr(net.module.convention.name)) as error:
    embed()
  assert f"{2 * h}x{2 * w}" in str(error.value)


@pytest.mark.parametrize("name", list_models())
def test_every_name_creates_a_network_with_the_common_options(name):
  options = model_options(name)
  assert {"embedding_size", "dtype", "remat", "dropout"} <= set(options)
  json.dumps(options)
  module = create(name, dtype="bfloat16", remat=True, dropout=0.25)
  assert module.convention.size and create(name).convention == module.convention
  with pytest.raises(ValueError, match="Did you mean") as error:
    create(f"{name}x")
  assert repr(name) in str(error.value)


@pytest.mark.parametrize(
  ("name", "other", "options", "leaf"),
  [
    ("vggface_a", "vggface_d", {}, "conv1_2"),
    ("lightcnn9", "lightcnn29", {}, "block1_1"),
    ("sphereface4", "sphereface20", {}, "conv1_2"),
    ("facenet_nn1", "facenet_nn4", {}, "2_3x3"),
    ("sphereface4", "sphereface4", {"norm": True}, "batch_stats"),
  ],
)
def test_variables_of_one_variant_are_refused_by_another_by_the_first_leaf_that_differs(name, other, options, leaf, tmp_path):
  net = make(name)
  convention = replace(net.module.convention, size=net.image_bhwc.shape[1:3])
  save_model(tmp_path / "net", SavedModel(name, net.options, convention, net.variables))
  file = tmp_path / "net" / "model.json"
  file.write_text(json.dumps({**read_checked_json(file), "model": other, "options": {**net.options, **options}}))
  with pytest.raises(WrongCheckpoint, match=leaf) as error:
    load_model(tmp_path / "net")
  assert other in str(error.value)
