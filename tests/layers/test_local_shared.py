"""Convolutions that share weights inside regions, against loops in NumPy and against repeated weights."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.layers.convolution import conv
from jaxface.layers.local import locally_connected, output_size
from jaxface.layers.local_shared import LocallySharedConv, locally_shared_conv


def arrays(seed, *shapes, dtype=np.float32):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def slow(x, kernel, block, strides, pads):
  """The definition: a sum for each image, position and channel, with the kernel of the position's region."""
  x, kernel = np.pad(np.asarray(x, np.float64), ((0, 0), *pads, (0, 0))), np.asarray(kernel, np.float64)
  kh, kw = kernel.shape[2:4]
  height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], (kh, kw), strides))
  y = np.zeros((len(x), height, width, kernel.shape[-1]))
  for b in range(len(x)):
    for i in range(height):
      for j in range(width):
        seen = x[b, i * strides[0] : i * strides[0] + kh, j * strides[1] : j * strides[1] + kw]
        for o in range(y.shape[-1]):
          y[b, i, j, o] = (seen * kernel[i // block, j // block, ..., o]).sum()
  return y


def regions(out, block):
  return tuple(-(-n // block) for n in out)


@settings(max_examples=8)
@given(
  size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
  kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
  strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
  padding=st.one_of(
    st.sampled_from(["SAME", "VALID"]), st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
  ),
  block=st.integers(1, 4),
)
def test_it_is_its_definition(size, kernel_size, strides, padding, block):
  try:
    out, pads = output_size(size, kernel_size, strides, padding)
  except ValueError:
    assume(False)
  x, kernel = arrays(0, (2, *size, 2), (*regions(out, block), *kernel_size, 2, 3))
  layer = partial(locally_shared_conv, block=block, strides=strides, padding=padding)
  np.testing.assert_allclose(jax.jit(layer)(x, kernel), slow(x, kernel, block, strides, pads), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "block", "padding"), [((6, 7), 2, "VALID"), ((5, 5), 3, "SAME"), ((6, 6), 2, ((-1, 2), (0, 0)))])
def test_gradients_by_finite_differences(size, block, padding):
  out, _ = output_size(size, (3, 2), (1, 1), padding)
  with jax.enable_x64(True):
    x, kernel = arrays(1, (2, *size, 2), (*regions(out, block), 3, 2, 2, 3), dtype=np.float64)
    layer = jax.jit(partial(locally_shared_conv, block=block, padding=padding))
    check_grads(layer, (x, kernel), order=1, modes=["rev"], rtol=1e-6)


# Inputs of conv3 of DeepID's patches, 39×31 and 31×31 pixels, and of DeepID2.
@pytest.mark.parametrize("size", [(8, 6), (6, 6), (12, 10), (7, 6)])
def test_it_is_locally_connected_with_repeated_kernels(size):
  out = size[0] - 2, size[1] - 2
  x, kernel = arrays(2, (3, *size, 4), (*regions(out, 2), 3, 3, 4, 6))
  repeated = jnp.repeat(jnp.repeat(kernel, 2, 0), 2, 1)[: out[0], : out[1]]
  y = jax.jit(partial(locally_shared_conv, block=2))(x, kernel)
  chex.assert_trees_all_close(y, locally_connected(x, repeated), rtol=1e-5, atol=1e-5)


def test_one_region_is_a_convolution_and_regions_of_one_position_share_nothing():
  x, shared, own = arrays(3, (2, 6, 7, 3), (1, 1, 3, 3, 3, 4), (4, 5, 3, 3, 3, 4))
  chex.assert_trees_all_close(locally_shared_conv(x, shared, 5), conv(x, shared[0, 0], padding="VALID"), rtol=1e-4, atol=1e-4)
  chex.assert_trees_all_close(locally_shared_conv(x, own, 1), locally_connected(x, own), rtol=1e-5)


def test_ensembles_are_their_members_one_by_one():
  x, kernel = arrays(4, (3, 2, 6, 6, 2), (3, 2, 2, 3, 3, 2, 4))

  def slopes(x, kernel):
    return jax.grad(lambda x, k: (locally_shared_conv(x, k, 2) ** 2).sum(), (0, 1))(x, kernel)

  alone = [slopes(x[e], kernel[e]) for e in range(3)]
  chex.assert_trees_all_close(
    jax.jit(jax.vmap(slopes))(x, kernel), jax.tree.map(lambda *leaf: jnp.stack(leaf), *alone), rtol=1e-4, atol=1e-4
  )


def test_module_has_a_kernel_and_a_bias_per_region_in_both_types():
  (x,) = arrays(5, (2, 7, 6, 2))
  layer = LocallySharedConv(4)
  params = dict(jax.jit(layer.init)(jax.random.key(0), x)["params"])
  assert params["kernel"].shape == (3, 2, 3, 3, 2, 4)
  (params["bias"],) = arrays(6, params["bias"].shape)
  y = layer.apply({"params": params}, x)
  bias = np.asarray(params["bias"])
  loop = slow(x, params["kernel"], 2, (1, 1), ((0, 0), (0, 0)))
  for i in range(5):
    for j in range(4):
      loop[:, i, j] += bias[i // 2, j // 2]
  np.testing.assert_allclose(y, loop, rtol=1e-4, atol=1e-4)
  low = LocallySharedConv(4, dtype=jnp.bfloat16).apply({"params": params}, x)
  assert low.dtype == jnp.bfloat16
  np.testing.assert_allclose(low.astype(jnp.float32), loop, atol=0.05)


def test_begins_with_the_fan_of_one_region():
  kernel = LocallySharedConv(20).init(jax.random.key(0), jnp.zeros((1, 12, 10, 16)))["params"]["kernel"]
  assert float(kernel.std()) == pytest.approx((2 / 144) ** 0.5, rel=0.03)


def test_wrong_kernels_are_named_with_the_right_ones():
  with pytest.raises(ValueError) as error:
    locally_shared_conv(jnp.zeros((1, 7, 6, 2)), jnp.zeros((2, 2, 3, 3, 2, 4)), 2)
  assert "5x4 positions in regions of 2x2" in str(error.value) and "[3, 2, 3, 3, 2, O]" in str(error.value)
