"""Batch normalisation against a NumPy oracle."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxface.layers.norm import BatchNorm, batch_normalise


def _apply(module, variables, x, train):
  return jax.jit(lambda v, x: module.apply(v, x, train, mutable=["batch_stats"]))(variables, x)


def test_training_and_running_statistics_equal_numpy():
  rng = np.random.default_rng(0)
  x_bhwc = rng.normal(3, 2, (4, 5, 6, 7)).astype(np.float32)
  scale_c, bias_c = rng.normal(size=7).astype(np.float32), rng.normal(size=7).astype(np.float32)
  module = BatchNorm()
  variables = {**module.init(jax.random.key(0), x_bhwc, False), "params": {"scale": scale_c, "bias": bias_c}}

  y_bhwc, state = _apply(module, variables, x_bhwc, True)
  mean_c, var_c = x_bhwc.mean((0, 1, 2)), x_bhwc.var((0, 1, 2))
  np.testing.assert_allclose(y_bhwc, (x_bhwc - mean_c) / np.sqrt(var_c + 1e-5) * scale_c + bias_c, atol=1e-4)
  np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * mean_c, rtol=1e-4)
  np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * var_c, rtol=1e-4)

  variables["batch_stats"] = {"mean": mean_c, "var": var_c}
  still_bhwc, state = _apply(module, variables, x_bhwc, False)
  np.testing.assert_allclose(still_bhwc, y_bhwc, atol=1e-4)
  chex.assert_trees_all_equal(state["batch_stats"], variables["batch_stats"])


def test_a_folded_norm_only_adds_its_bias():
  module = BatchNorm()
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
  bias_c = jnp.arange(4.0)
  variables = {
    "params": {"scale": jnp.ones(4), "bias": bias_c},
    "batch_stats": {"mean": jnp.zeros(4), "var": jnp.full(4, 1 - module.epsilon)},
  }
  chex.assert_trees_all_close(module.apply(variables, x, False), x + bias_c, rtol=1e-7)


def test_bfloat16_input_keeps_statistics_in_float32():
  # 8 bits of mantissa cannot hold 1000 ± 1: a sum in bfloat16 would be far off.
  x = jnp.asarray(np.random.default_rng(0).normal(100, 1, (4096, 1)), jnp.bfloat16)
  module = BatchNorm(dtype=jnp.bfloat16)
  y, state = _apply(module, module.init(jax.random.key(0), x, False), x, True)
  assert y.dtype == jnp.bfloat16
  assert state["batch_stats"]["mean"].dtype == jnp.float32
  np.testing.assert_allclose(state["batch_stats"]["mean"] * 10, np.asarray(x, np.float64).mean(0), rtol=1e-5)
  np.testing.assert_allclose(np.asarray(y, np.float64).std(), 1, atol=0.02)


def test_gradients_and_the_frozen_scale():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
  weight = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32))
  params = {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.zeros(3)}

  def loss(frozen):
    module = BatchNorm(frozen_scale=frozen)
    stats = module.init(jax.random.key(0), x, False)["batch_stats"]

    def value(params, x):
      y, _ = module.apply({"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"])
      return (y * weight).sum()

    return value

  check_grads(jax.jit(loss(False)), (params, x), order=1, modes=("rev",), rtol=2e-2)
  gradient = jax.jit(jax.grad(loss(True)))(params, x)
  assert not np.asarray(gradient["scale"]).any()
  assert np.asarray(gradient["bias"]).all()


def test_the_gathered_gradient_is_that_of_the_definition():
  rng = np.random.default_rng(0)
  x, dy = (jnp.asarray(rng.normal(2, 3, (6, 4, 5, 3)), jnp.float32) for _ in range(2))
  scale_c, bias_c = jnp.asarray([0.5, 1.0, 2.0]), jnp.asarray([1.0, 0.0, -1.0])

  def plain(x, scale_c, bias_c):
    mean_c, var_c = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean_c) / jnp.sqrt(var_c + 1e-5) * scale_c + bias_c

  expected = jax.jit(lambda *a: jax.vjp(plain, *a)[1](dy))(x, scale_c, bias_c)
  found = jax.jit(lambda *a: jax.vjp(lambda *b: batch_normalise(*b, 1e-5)[0], *a)[1](dy))(x, scale_c, bias_c)
  chex.assert_trees_all_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_statistics_are_of_the_global_batch():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3)), jnp.float32)
  mesh = Mesh(np.asarray(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))
  ones, zeros = jnp.ones(3), jnp.zeros(3)
  value = jax.jit(lambda x: jax.value_and_grad(lambda x: (batch_normalise(x, ones, zeros, 1e-5)[0] ** 3).sum())(x))
  alone, spread = value(x), value(jax.device_put(x, NamedSharding(mesh, P("data"))))
  chex.assert_trees_all_close(spread, alone, rtol=1e-4, atol=1e-4)
