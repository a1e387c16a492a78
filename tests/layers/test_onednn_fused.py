"""Blocks in inference as one native call, against the same in steps: values, gradients, whole networks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_oracle import BUILT

from jaxface.layers import native
from jaxface.layers.activation import activate
from jaxface.layers.blocks import ConvNorm
from jaxface.layers.convolution import conv, make_window
from jaxface.layers.formulation import formulation
from jaxface.layers.onednn import fused_conv

pytestmark = BUILT


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def block(x, kernel, bias_o, alpha_o, shortcut, kind, groups=1):
  """The definition, in XLA's own operations."""
  with formulation("xla"):
    y = conv(x, kernel, strides=(2, 1), padding=((1, 0), (1, 1)), groups=groups)
  y = activate(kind, y + bias_o, alpha_o)
  return y if shortcut is None else y + shortcut


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("kind", [None, "prelu", "relu", "relu6"])
def test_values_and_gradients_are_those_of_the_steps(kind, added, groups):
  x, kernel, bias_o = normal(0, 5, 9, 8, 4), normal(1, 3, 3, 4 // groups, 6), 3 * normal(2, 6)
  alpha_o = normal(3, 6) if kind == "prelu" else None
  window = make_window(x, kernel, (2, 1), ((1, 0), (1, 1)), groups=groups)
  shortcut = normal(4, 5, *window.result) if added else None
  arrays = (x, kernel, bias_o, alpha_o, shortcut)
  dy = normal(5, 5, *window.result)

  def both(function):
    y, pull = jax.vjp(function, *arrays)
    return y, pull(dy)

  found = jax.jit(lambda: both(lambda *a: fused_conv(window, kind, *a)))()
  wanted = jax.jit(lambda: both(lambda *a: block(*a, kind, groups)))()
  chex.assert_trees_all_close(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.skipif(not (native.available() and native.has_bfloat16()), reason="oneDNN has no bfloat16 convolution on this processor")
def test_bfloat16_rounds_once_at_the_end():
  x, kernel = (normal(i, *shape).astype(jnp.bfloat16) for i, shape in enumerate([(3, 6, 6, 8), (3, 3, 8, 16)]))
  shortcut = normal(2, 3, 6, 6, 16).astype(jnp.bfloat16)
  y = jax.jit(lambda: fused_conv(make_window(x, kernel), "relu", x, kernel, jnp.ones(16), None, shortcut))()
  with formulation("xla"):
    exact = jax.nn.relu(conv(x.astype(jnp.float32), kernel.astype(jnp.float32)) + 1) + shortcut.astype(jnp.float32)
  assert y.dtype == jnp.bfloat16
  # Half a unit in the last of eight bits, and float32's rounding where a sum lies at the edge.
  np.testing.assert_allclose(np.asarray(y, np.float32), exact, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("options", [
  {}, {"kernel": 1, "stride": 2}, {"depthwise": True, "activation": "relu6"}, {"activation": None, "use_bias": True},
])
def test_a_block_in_inference_equals_its_layers(options):
  module = ConvNorm(8, **options)
  x = normal(0, 2, 7, 7, 8)
  variables = module.init(jax.random.key(0), x, False)
  variables = jax.tree.map(lambda a: a + 0.1 * jnp.abs(normal(a.size, *a.shape)), variables)
  shape = jax.eval_shape(lambda: module.apply(variables, x, False)).shape
  more = normal(1, *shape)
  found = jax.jit(lambda v, x: module.apply(v, x, False, shortcut=lambda: more))(variables, x)
  with formulation("pure"):
    wanted = jax.jit(lambda v, x: module.apply(v, x, False, shortcut=lambda: more))(variables, x)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_images_mapped_with_one_kernel():
  x, kernel, bias_o = normal(0, 3, 2, 5, 5, 4), normal(1, 3, 3, 4, 6), normal(2, 6)
  window = make_window(x[0], kernel)
  found = jax.jit(jax.vmap(lambda x: fused_conv(window, "relu", x, kernel, bias_o, None, None)))(x)
  each = jnp.stack([fused_conv(window, "relu", one, kernel, bias_o, None, None) for one in x])
  np.testing.assert_allclose(found, each, rtol=1e-6, atol=1e-6)
