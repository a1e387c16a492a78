"""Distance matrices: against SciPy and loops, their invariances, slopes, digits far from the origin, memory, devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from scipy.spatial.distance import cdist

from jaxface.losses import distances
from jaxface.losses.distances import chi2, cosine, l1, l2, root, squared_l2

ALL = [squared_l2, l2, cosine, l1, chi2]
jitted = {function: jax.jit(function) for function in ALL}
vectors = arrays(np.float32, (7, 4), elements=st.floats(-8, 8, width=16))


def chi2_loop(x_nd, y_md):
  table = np.zeros((len(x_nd), len(y_md)))
  for n, x_d in enumerate(x_nd):
    for m, y_d in enumerate(y_md):
      table[n, m] = sum((a - b) ** 2 / (abs(a) + abs(b)) for a, b in zip(x_d, y_d) if a or b)
  return table


def oracle(function, x_nd, y_md):
  x_nd, y_md = np.asarray(x_nd, np.float64), np.asarray(y_md, np.float64)
  if function is chi2:
    return chi2_loop(x_nd, y_md)
  if function is cosine:
    x_nd, y_md = (a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-30) for a in (x_nd, y_md))
    return x_nd @ y_md.T
  return cdist(x_nd, y_md, {squared_l2: "sqeuclidean", l2: "euclidean", l1: "cityblock"}[function])


@pytest.mark.parametrize("function", ALL)
@given(x_nd=vectors, y_md=vectors)
def test_every_entry_is_the_definition(function, x_nd, y_md):
  # The square root of a rounding error of ‖x‖² is what L2 can be wrong by near 0.
  atol = 2e-2 if function is l2 else 2e-4
  np.testing.assert_allclose(jitted[function](x_nd, y_md[:5]), oracle(function, x_nd, y_md[:5]), rtol=1e-4, atol=atol)
  itself = jitted[function](x_nd)
  np.testing.assert_allclose(itself, oracle(function, x_nd, x_nd), rtol=1e-4, atol=atol)
  assert itself.dtype == jnp.float32
  if function is not cosine:
    assert (itself >= 0).all()
    np.testing.assert_array_equal(np.diagonal(itself), 0.0)


@pytest.mark.parametrize("function", ALL)
@given(x_nd=vectors, order=st.permutations(range(7)))
def test_permuted_rows_permute_the_matrix(function, x_nd, order):
  order = np.asarray(order)
  found, expected = jitted[function](x_nd[order]), jitted[function](x_nd)[order][:, order]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-2 if function is l2 else 2e-4)


@given(x_nd=vectors, scale=st.floats(0.1, 100.0), seed=st.integers(0, 99))
def test_invariances(x_nd, scale, seed):
  x_nd = np.where(np.abs(x_nd).sum(1, keepdims=True) < 0.1, 1.0, x_nd)
  turn_dd = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
  np.testing.assert_allclose(jitted[squared_l2](x_nd @ turn_dd), jitted[squared_l2](x_nd), rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(jitted[cosine](x_nd @ turn_dd), jitted[cosine](x_nd), atol=1e-5)
  np.testing.assert_allclose(jitted[cosine](x_nd * scale), jitted[cosine](x_nd), atol=1e-5)
  for function, power in ((squared_l2, 2), (l1, 1), (chi2, 1)):
    np.testing.assert_allclose(
      jitted[function](x_nd * scale), jitted[function](x_nd) * scale**power, rtol=1e-4, atol=1e-4 * scale**power
    )


def test_a_common_offset_costs_no_digits():
  # Plain ‖x‖² + ‖y‖² − 2x·y has an error of 1e6·1e-7 = 0.1 here, as large as the distances themselves.
  near_nd = 0.05 * np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
  far_nd = near_nd + np.float32(1000.0)
  np.testing.assert_allclose(
    jitted[squared_l2](far_nd), cdist(far_nd.astype(np.float64), far_nd.astype(np.float64)) ** 2, rtol=1e-3, atol=1e-5
  )


@pytest.mark.parametrize("function", ALL)
def test_slopes_against_finite_differences(function):
  rng = np.random.default_rng(1)
  with jax.enable_x64(True):
    x_nd, y_md = jnp.asarray(rng.uniform(0.1, 2.0, (4, 3))), jnp.asarray(rng.uniform(0.1, 2.0, (5, 3)))
    assert function(x_nd, y_md).dtype == jnp.float64
    check_grads(jax.jit(function), (x_nd, y_md), order=1, modes=("fwd", "rev"), rtol=1e-5, atol=1e-6)
    # With one set on both sides every row gets the slopes of its row and of its column.
    cotangent_nn = jnp.asarray(rng.normal(size=(4, 4)))
    check_grads(lambda x: (jax.jit(function)(x) * cotangent_nn).sum(), (x_nd,), order=1, modes=("rev",), rtol=1e-5)


@pytest.mark.parametrize("function", [l1, chi2])
def test_weighted_features(function):
  rng = np.random.default_rng(2)
  with jax.enable_x64(True):
    x_nd, y_md, weight_d = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), np.array([2.0, -1.0, 0.5])
    parts = [w * oracle(function, x_nd[:, [d]], y_md[:, [d]]) for d, w in enumerate(weight_d)]
    weighted = jax.jit(lambda x, y, w: function(x, y, weight_d=w))
    np.testing.assert_allclose(weighted(x_nd, y_md, weight_d), sum(parts), rtol=1e-12)
    check_grads(weighted, (x_nd, y_md, weight_d), order=1, modes=("fwd", "rev"), rtol=1e-4, atol=1e-5)
  with pytest.raises(AssertionError):
    function(x_nd, y_md, weight_d=np.ones(4))


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("function", ALL)
def test_slopes_are_finite_where_rows_are_equal_opposite_or_zero(function, scale):
  x_nd = scale * jnp.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
  value, pull = jax.vjp(jitted[function], x_nd)
  chex.assert_tree_all_finite((value, pull(jnp.ones_like(value)), pull(jnp.arange(25.0).reshape(5, 5))))
  if function is not cosine:
    equal = jax.jit(jax.grad(lambda x: function(x[:1], x[1:])[0, 0]))(x_nd[:2])
    np.testing.assert_array_equal(equal, 0.0)


def test_root_is_flat_at_zero():
  np.testing.assert_array_equal(root(jnp.array([0.0, 4.0])), [0.0, 2.0])
  np.testing.assert_array_equal(jax.vmap(jax.grad(root))(jnp.array([0.0, 4.0])), [0.0, 0.25])


@pytest.mark.parametrize("function", ALL)
def test_half_precision_input_is_widened_before_anything_is_computed(function):
  x_nd = jnp.asarray(np.random.default_rng(3).normal(size=(6, 5)), jnp.bfloat16)
  found = jitted[function](x_nd)
  assert found.dtype == jnp.float32
  np.testing.assert_array_equal(found, jitted[function](x_nd.astype(jnp.float32)))
  assert jax.grad(lambda x: function(x).sum())(x_nd).dtype == jnp.bfloat16


@pytest.mark.parametrize("function", ALL)
def test_memory_does_not_grow_with_the_embedding_size_times_pairs(function):
  pairs = 4 * 128 * 128
  rows = jax.ShapeDtypeStruct((128, 256), jnp.float32)
  gradient = jax.jit(jax.grad(lambda x, y: jnp.sin(function(x, y)).sum(), (0, 1)))
  # 256 such matrices would be the forbidden cube.
  assert gradient.lower(rows, rows).compile().memory_analysis().temp_size_in_bytes < 32 * pairs


@pytest.mark.parametrize("function", ALL)
def test_one_device_is_eight_devices(function):
  mesh = Mesh(np.asarray(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))
  x_nd = np.random.default_rng(4).normal(size=(16, 6)).astype(np.float32)
  weight_nn = np.random.default_rng(5).normal(size=(16, 16)).astype(np.float32)

  def both(x_nd):
    return jax.value_and_grad(lambda x: (function(x) * weight_nn).sum())(x_nd)

  found = jax.jit(both, in_shardings=NamedSharding(mesh, P("data")))(x_nd)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, jax.jit(both)(x_nd))


@pytest.mark.parametrize("function", ALL)
def test_sets_that_do_not_fit_are_refused(function):
  with pytest.raises(AssertionError):
    function(jnp.ones((4, 3)), jnp.ones((4, 2)))
  with pytest.raises(AssertionError):
    function(jnp.ones(4))


def test_public_names():
  assert set(distances.__all__) == {"chi2", "cosine", "l1", "l2", "root", "squared_l2"}
