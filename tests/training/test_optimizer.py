"""Updates against NumPy, what decays on a real network, clipping, and the running average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxface.heads.classification import Classification
from jaxface.losses.margins import Softmax
from jaxface.models.registry import create
from jaxface.training.optimizer import OptimizerConfig, clip_each, decay_mask, make_optimizer, update_ema

RATES = [0.1, 0.05, 0.2, 0.1]


def schedule(count):
  return jnp.asarray(RATES)[count]


def draw(seed):
  rng = np.random.default_rng(seed)
  return {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}


def train(config):
  """Parameters after each of four steps, gradients being the same draws for everyone."""
  optimizer = make_optimizer(config, schedule)
  params = jax.tree.map(jnp.asarray, draw(0))
  state = optimizer.init(params)

  @jax.jit
  def step(params, state, grads):
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  out = []
  for number in range(len(RATES)):
    params, state = step(params, state, draw(number + 1))
    out.append(params)
  return out


def clipped(grads, limit):
  norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
  return {name: g * min(1.0, limit / norm) if limit else g for name, g in grads.items()}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_sgd_is_clip_then_classic_l2_then_momentum(momentum, nesterov, clip_norm):
  if nesterov and not momentum:
    with pytest.raises(ValueError, match="nesterov = True needs momentum"):
      OptimizerConfig(momentum=momentum, nesterov=nesterov)
    return
  config = OptimizerConfig(
    name="sgd", momentum=momentum, nesterov=nesterov, weight_decay=0.01, clip_norm=clip_norm
  )
  with jax.enable_x64(True):
    found = train(config)
  params, velocity = draw(0), {"kernel": 0.0, "bias": 0.0}
  for number, rate in enumerate(RATES):
    for name, gradient in clipped(draw(number + 1), clip_norm).items():
      gradient = gradient + (0.01 * params[name] if name == "kernel" else 0.0)
      velocity[name] = momentum * velocity[name] + gradient
      params[name] = params[name] - rate * (gradient + momentum * velocity[name] if nesterov else velocity[name])
      np.testing.assert_allclose(found[number][name], params[name], rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_adamw_decays_past_its_moments(clip_norm):
  config = OptimizerConfig(name="adamw", b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.01, clip_norm=clip_norm)
  with jax.enable_x64(True):
    found = train(config)
  params = draw(0)
  first, second = ({"kernel": 0.0, "bias": 0.0} for _ in range(2))
  for number, rate in enumerate(RATES):
    for name, gradient in clipped(draw(number + 1), clip_norm).items():
      first[name] = 0.8 * first[name] + 0.2 * gradient
      second[name] = 0.95 * second[name] + 0.05 * gradient**2
      mean, square = first[name] / (1 - 0.8 ** (number + 1)), second[name] / (1 - 0.95 ** (number + 1))
      decay = 0.01 * params[name] if name == "kernel" else 0.0
      params[name] = params[name] - rate * (mean / (np.sqrt(square) + 1e-6) + decay)
      np.testing.assert_allclose(found[number][name], params[name], rtol=1e-6)


@pytest.mark.parametrize("network", ["mobilefacenet", "iresnet18"])
def test_kernels_and_centers_decay_and_nothing_else(network):
  model = create(network, embedding_size=32)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 112, 112, 3)), train=False))
  terms = jax.eval_shape(lambda: Classification(Softmax()).init(jax.random.key(0), 32, 10)[0])
  mask = decay_mask({"model": shapes["params"], "terms": (terms,)})
  by_name = {}
  for path, decays in jax.tree_util.tree_leaves_with_path(mask):
    by_name.setdefault(jax.tree_util.keystr(path[-1:], simple=True), set()).add(decays)
  assert by_name == {
    "kernel": {True}, "center_cd": {True}, "bias_c": {False}, "bias": {False}, "scale": {False}, "alpha": {False},
  }


def test_biases_of_a_stack_of_networks_do_not_decay():
  stack = {"kernel": jnp.zeros((2, 3, 4)), "bias": jnp.zeros((2, 4)), "norm": {"scale": jnp.zeros((2, 4))}}
  assert decay_mask(stack) == {"kernel": True, "bias": False, "norm": {"scale": False}}


def test_learning_rate_follows_the_state_and_rolls_back_with_it():
  optimizer = make_optimizer(OptimizerConfig(momentum=0.0, weight_decay=0.0), schedule)
  params = {"kernel": jnp.ones((1, 1))}
  state = optimizer.init(params)
  for rate in RATES:
    for _ in range(2):  # a step that is skipped leaves the state as it was
      updates, new = optimizer.update(params, state, params)
      np.testing.assert_allclose(updates["kernel"], -rate, rtol=1e-6)
    state = new


def test_average_against_numpy_and_types_kept():
  decay, values = 0.9, [1.0, 5.0, -2.0, 3.0] * 30
  update = jax.jit(lambda a, p, s: update_ema(a, p, s, decay))
  average = {"w": jnp.zeros(3), "half": jnp.zeros(2, jnp.bfloat16)}
  expected = 0.0
  for step, value in enumerate(values):
    average = update(average, {"w": jnp.full(3, value), "half": jnp.full(2, value, jnp.bfloat16)}, step)
    keep = min(decay, (1 + step) / (10 + step))
    expected = keep * expected + (1 - keep) * value
    np.testing.assert_allclose(average["w"], expected, rtol=1e-5, atol=1e-6)
  assert average["half"].dtype == jnp.bfloat16


def test_average_of_a_constant_is_the_constant():
  constant = {"w": jnp.linspace(-3, 3, 7)}
  for step in (0, 1, 1000):
    np.testing.assert_array_equal(update_ema(constant, constant, step, 0.999)["w"], constant["w"])


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"name": "lamb"}, ["name = 'lamb'", "sgd, adamw"]),
    ({"learning_rate": -0.1}, ["learning_rate = -0.1", "[0, inf)"]),
    ({"learning_rate": float("inf")}, ["learning_rate = inf", "[0, inf)"]),
    ({"momentum": 1.0}, ["momentum = 1.0", "[0, 1)"]),
    ({"b2": -0.1}, ["b2 = -0.1", "[0, 1)"]),
    ({"weight_decay": -1e-4}, ["weight_decay", "[0, inf)"]),
    ({"clip_norm": float("nan")}, ["clip_norm = nan", "[0, inf)"]),
    ({"eps": 0.0}, ["eps", "(0, inf)"]),
  ],
)
def test_refusals_name_the_field(fields, words):
  with pytest.raises(ValueError) as error:
    OptimizerConfig(**fields)
  for word in ["OptimizerConfig", *words]:
    assert word in str(error.value)


def test_each_member_of_an_ensemble_is_clipped_with_its_centres_and_the_rest_together():
  rng = np.random.default_rng(0)
  grads = {
    "model": {
      "wide_members_0_2": {"kernel": rng.normal(size=(2, 3, 4)), "bias": 9 * rng.normal(size=(2, 4))},
      "members_2_3": {"kernel": 0.01 * rng.normal(size=(1, 5))},
      "stem": rng.normal(size=(3, 3)),
    },
    "terms": ({"members_0_3": {"center_cd": rng.normal(size=(3, 6, 2)) * np.array([1, 3, 0.01])[:, None, None]}},),
  }
  optimizer = clip_each(2.0)
  found, _ = jax.jit(optimizer.update)(grads, optimizer.init(grads))

  def own(tree, member):
    parts = [tree["terms"][0]["members_0_3"]["center_cd"][member]]
    if member < 2:
      parts += [leaf[member] for _, leaf in sorted(tree["model"]["wide_members_0_2"].items())]
    else:
      parts += [tree["model"]["members_2_3"]["kernel"][0]]
    return dict(enumerate(parts))

  for member in range(3):
    for name, expected in clipped(own(grads, member), 2.0).items():
      np.testing.assert_allclose(own(found, member)[name], expected, rtol=1e-6)
  np.testing.assert_allclose(found["model"]["stem"], clipped({"stem": grads["model"]["stem"]}, 2.0)["stem"], rtol=1e-6)


def test_without_an_ensemble_it_is_clipping_by_the_global_norm():
  grads = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.full(4, -2.0)}
  for limit in (0.5, 100.0):
    expected, _ = optax.clip_by_global_norm(limit).update(grads, optax.EmptyState())
    found, _ = clip_each(limit).update(grads, optax.EmptyState())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
