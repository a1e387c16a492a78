"""Pooling against loops over windows, PyTorch and finite differences, in every formulation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.layers.formulation import formulation
from jaxface.layers.pooling import l2_pool, max_pool, mean_pool, pool_pads

POOLS = {
  "max": (max_pool, np.max),
  "mean": (mean_pool, np.mean),
  "l2": (l2_pool, lambda pixels, axis: np.sqrt((pixels**2).sum(axis))),
}


def array(seed, *shape, dtype=np.float32):
  return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def starts(size, window, stride, padding):
  """First pixels of the windows along one axis, from the words of the definition."""
  if padding == "VALID":
    return [i for i in range(0, size, stride) if i + window <= size]
  if padding == "SAME":
    count = math.ceil(size / stride)
    low = max(0, (count - 1) * stride + window - size) // 2
    return [i * stride - low for i in range(count)]
  if padding == "CEIL":
    # A window more as long as pixels are unseen, and it begins inside the image.
    found = [0]
    while found[-1] + window < size and found[-1] + stride < size:
      found.append(found[-1] + stride)
    return found
  low, high = padding
  return list(range(-low, size + high - window + 1, stride))


def oracle(reduce, x, window, strides, padding):
  paddings = (padding, padding) if isinstance(padding, str) else padding
  rows, columns = (starts(*axis) for axis in zip(x.shape[1:3], window, strides, paddings))
  y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
  for a, i in enumerate(rows):
    for b, j in enumerate(columns):
      pixels = x[:, max(i, 0) : i + window[0], max(j, 0) : j + window[1]]
      y[:, a, b] = reduce(pixels, axis=(1, 2))
  return y


@settings(max_examples=20)
@given(
  pool=st.sampled_from(sorted(POOLS)),
  way=st.sampled_from(["pure", "pure", "xla"]),
  size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
  window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
  strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
  padding=st.sampled_from(["VALID", "SAME", "CEIL", ((0, 0), (0, 0)), "both", "after"]),
)
def test_every_window_is_the_one_of_the_definition(pool, way, size, window, strides, padding):
  if padding in ("both", "after"):
    padding = tuple((k - 1 if padding == "both" else 0, k - 1) for k in window)
  function, reduce = POOLS[pool]
  x = array(0, 2, *size, 3)
  with formulation(way):
    y = jax.jit(lambda x: function(x, window, strides, padding))(x)
  np.testing.assert_allclose(y, oracle(reduce, x, window, strides, padding), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size,window,stride", [(55, 3, 2), (12, 3, 2), (5, 2, 3), (7, 2, 4), (142, 3, 2), (6, 1, 4)])
def test_ceil_mode_is_pytorchs(size, window, stride):
  torch = pytest.importorskip("torch")
  x = array(1, 1, size, size + 1, 2)
  y = torch.nn.functional.max_pool2d(torch.tensor(x).permute(0, 3, 1, 2), window, stride, ceil_mode=True)
  ours = max_pool(jnp.asarray(x), (window, window), (stride, stride), "CEIL")
  np.testing.assert_array_equal(ours, y.permute(0, 2, 3, 1).numpy())


def test_values_and_gradients_are_pytorchs_also_where_numbers_tie():
  torch = pytest.importorskip("torch")
  x = np.round(2 * array(2, 2, 9, 11, 3))
  dy = array(3, 2, 4, 5, 3)
  functional = torch.nn.functional
  sides = {
    max_pool: lambda t: functional.max_pool2d(t, 3, 2),
    l2_pool: lambda t: functional.lp_pool2d(t, 2.0, 3, 2),
    mean_pool: lambda t: functional.avg_pool2d(t, 3, 2),
  }
  for ours, theirs in sides.items():
    t = torch.tensor(x, requires_grad=True)
    y = theirs(t.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    y.backward(torch.tensor(dy))
    value, pull = jax.vjp(lambda x, ours=ours: ours(x, (3, 3), (2, 2)), x)
    np.testing.assert_allclose(value, y.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pull(dy)[0], t.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window,strides", [((3, 3), (2, 2)), ((3, 3), (1, 1)), ((2, 2), (2, 2)), ((2, 3), (3, 1)), ((1, 2), (4, 1))])
@pytest.mark.parametrize("padding", ["VALID", "SAME", "CEIL"])
def test_gradient_of_the_largest_is_one_in_every_formulation(window, strides, padding):
  x = np.round(array(4, 2, 8, 7, 3))

  def gradient(way):
    with formulation(way):
      return jax.jit(jax.grad(lambda x: (max_pool(x, window, strides, padding) ** 3).sum()))(x)

  np.testing.assert_array_equal(gradient("pure"), gradient("xla"))


@pytest.mark.parametrize("pool", sorted(POOLS))
@pytest.mark.parametrize("padding", ["SAME", "CEIL"])
def test_gradients_against_finite_differences(pool, padding):
  with jax.enable_x64(True):
    # A permutation: no two numbers tie, nor swap places within a step.
    x = jnp.asarray(np.random.default_rng(5).permutation(2 * 6 * 5 * 2).reshape(2, 6, 5, 2) / 40 - 1.01)
    with formulation("pure"):
      check_grads(jax.jit(lambda x: POOLS[pool][0](x, (3, 3), (2, 2), padding) ** 2), (x,), 2, ["rev"])


def test_length_of_nothing_has_a_gradient_of_zero():
  x = jnp.zeros((1, 4, 4, 2)).at[0, 0, 0, 0].set(3.0)
  value, slope = jax.value_and_grad(lambda x: l2_pool(x, (2, 2), (2, 2)).sum())(x)
  assert value == 3.0
  np.testing.assert_array_equal(slope, jnp.zeros_like(x).at[0, 0, 0, 0].set(1.0))


def test_not_a_number_is_passed_on():
  x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(jnp.nan)
  with formulation("pure"):
    np.testing.assert_array_equal(jnp.isnan(max_pool(x, (2, 2), (2, 2)))[0, :, :, 0], [[True, False], [False, False]])


@pytest.mark.parametrize("pool", sorted(POOLS))
def test_bfloat16_is_float32_rounded_once(pool):
  function = POOLS[pool][0]
  x = jnp.asarray(array(6, 2, 8, 8, 4), jnp.bfloat16)

  def both(x):
    y, pull = jax.vjp(lambda x: function(x, (3, 3), (1, 1), "SAME"), x)
    return y, pull(jnp.ones_like(y))[0]

  with formulation("pure"):
    narrow, wide = jax.jit(both)(x), jax.jit(both)(x.astype(jnp.float32))
  for one, other in zip(narrow, wide):
    assert one.dtype == jnp.bfloat16
    np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=2**-7, atol=1e-2)


@pytest.mark.parametrize("pool", sorted(POOLS))
def test_vmap_pools_each_stack_alone(pool):
  x = array(7, 3, 2, 7, 6, 2)
  run = jax.grad(lambda x: (POOLS[pool][0](x, (3, 3), (2, 2), "SAME") ** 2).sum())
  with formulation("pure"):
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(x), np.stack([run(one) for one in x]), rtol=1e-6)


def test_golden_borders():
  # 55 → 28 with SAME needs one pixel more on both sides; an even 56 one at its end; Caffe's 142 → 71 as well.
  assert pool_pads((55, 56), (3, 3), (2, 2), "SAME") == ((1, 1), (0, 1))
  assert pool_pads((142, 5), (3, 3), (2, 2), "CEIL") == ((0, 1), (0, 0))


@pytest.mark.parametrize(
  "padding,message",
  [("FULL", "'VALID', 'SAME', 'CEIL'"), (((2, 0), (0, 0)), "must be 0 to 1"), (((-1, 0), (0, 0)), "0 to 1"), ("VALID", "1x4 pixels")],
)
def test_wrong_borders_are_named(padding, message):
  with pytest.raises(ValueError, match=message):
    max_pool(jnp.zeros((1, 1, 4, 2)), (2, 2), (2, 2), padding)
