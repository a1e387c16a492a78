"""Every formulation of convolution against `lax.conv_general_dilated`, values and gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxface.layers import chunks, native
from jaxface.layers.convolution import Conv, conv
from jaxface.layers.formulation import current_formulation, formulation
from jaxface.layers.pooling import max_pool

# Winograd's F(4, 3) multiplies by up to 8 and subtracts: it loses two digits of float32's seven.
TOLERANCE = 1e-4


def reference(x, kernel, strides, padding, groups):
  return lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
  )


def arrays(seed, *shapes, dtype=np.float32):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def assert_close(actual, expected, tolerance=TOLERANCE):
  """Equal within `tolerance` of the largest entry."""
  chex.assert_equal_shape([actual, expected])
  scale = max(1e-6, float(jnp.abs(expected).max()))
  np.testing.assert_allclose(np.asarray(actual) / scale, np.asarray(expected) / scale, rtol=0, atol=tolerance)


def check_against_reference(x, kernel, strides=(1, 1), padding="SAME", groups=1, tolerance=TOLERANCE):
  def both(function):
    y, pull = jax.vjp(function, x, kernel)
    (dy,) = arrays(9, y.shape, dtype=y.dtype)
    return y, *pull(dy)

  with formulation("pure"):
    actual = jax.jit(lambda: both(lambda x, k: conv(x, k, strides=strides, padding=padding, groups=groups)))()
  expected = jax.jit(lambda: both(lambda x, k: reference(x, k, strides, padding, groups)))()
  for one, other in zip(actual, expected):
    assert one.dtype == other.dtype
    assert_close(one, other, tolerance)


PADS = st.one_of(
  st.sampled_from(["SAME", "VALID"]), st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)
)


@settings(max_examples=15)
@given(
  batch=st.sampled_from([1, 3]),
  size=st.tuples(st.integers(5, 11), st.integers(5, 11)),
  channels=st.sampled_from([(3, 8), (32, 33), (6, 6), (40, 32)]),
  kernel=st.sampled_from([(1, 1), (3, 3), (3, 3), (5, 5), (2, 3)]),
  strides=st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1), (3, 3)]),
  padding=PADS,
)
def test_values_and_gradients(batch, size, channels, kernel, strides, padding):
  c, o = channels
  x, k = arrays(0, (batch, *size, c), (*kernel, c, o))
  check_against_reference(x, k, strides, padding)


@pytest.mark.parametrize("kernel", [(4, 4), (2, 3), (9, 9), (6, 6)])
def test_patches(kernel):
  x, k = arrays(14, (3, 11, 13, 3), (*kernel, 3, 8))
  check_against_reference(x, k, kernel, "VALID")


@settings(max_examples=8)
@given(
  groups=st.sampled_from([2, 3, 6]),
  multiplier=st.integers(1, 2),
  strides=st.sampled_from([(1, 1), (2, 2)]),
  padding=PADS,
)
def test_groups_and_depthwise(groups, multiplier, strides, padding):
  x, k = arrays(1, (2, 7, 9, 6), (3, 3, 6 // groups, 6 * multiplier))
  check_against_reference(x, k, strides, padding, groups)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("padding", ["SAME", ((0, 2), (2, 1)), ((1, 1), (-1, 1))])
def test_small_and_cropped_images(size, padding):
  x, k = arrays(2, (2, size + 2, size + 2, 32), (3, 3, 32, 32))
  check_against_reference(x, k, padding=padding)


@pytest.mark.parametrize("batch", [1, 16, 33, 48])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_batches_of_one_many_or_no_whole_chunk(monkeypatch, batch, strides):
  monkeypatch.setattr(jax, "device_count", lambda platform: 1)
  x, k = arrays(3, (batch, 6, 6, 32), (3, 3, 32, 32))
  assert chunks.images_per_chunk(x) == {1: 1, 16: 16, 33: 1, 48: 16}[batch]
  np.testing.assert_array_equal(chunks.join(chunks.split(x, 3 if batch == 33 else 1)), x)
  check_against_reference(x, k, strides)


def test_float64_keeps_its_digits():
  with jax.enable_x64(True):
    x, k = arrays(4, (2, 6, 7, 32), (3, 3, 32, 32), dtype=np.float64)
    check_against_reference(x, k, tolerance=1e-12)
    check_against_reference(x, k, (2, 2), tolerance=1e-12)


def test_bfloat16_in_and_out():
  x, k = (a.astype(jnp.bfloat16) for a in arrays(5, (2, 6, 6, 32), (3, 3, 32, 32)))
  with formulation("pure"):
    y = jax.jit(conv)(x, k)
    dx, dk = jax.grad(lambda x, k: conv(x, k).astype(jnp.float32).sum(), (0, 1))(x, k)
  assert y.dtype == dx.dtype == dk.dtype == jnp.bfloat16
  assert_close(y.astype(jnp.float32), reference(*(a.astype(jnp.float32) for a in (x, k)), (1, 1), "SAME", 1), 1e-2)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_second_derivative_and_clear_refusal_of_forward_mode(strides):
  x, k = arrays(6, (2, 6, 6, 32), (3, 3, 32, 32))

  def penalty(function):
    slope = jax.grad(lambda x, k: (function(x, k) ** 3).sum())
    return jax.jit(jax.grad(lambda x, k: (slope(x, k) ** 2).sum(), (0, 1)))(x, k)

  with formulation("pure"):
    actual = penalty(lambda x, k: conv(x, k, strides=strides))
    with pytest.raises(TypeError, match="forward-mode"):
      jax.jvp(lambda x: conv(x, k, strides=strides), (x,), (x,))
  for one, other in zip(actual, penalty(lambda x, k: reference(x, k, strides, "SAME", 1))):
    assert_close(one, other)


def test_vmap_over_images_and_kernels_and_remat():
  x, k = arrays(7, (2, 3, 6, 6, 32), (2, 3, 3, 32, 32))
  with formulation("pure"):
    run = jax.checkpoint(lambda x, k: (conv(x, k) ** 2).sum())
    actual = jax.jit(jax.vmap(jax.grad(run, (0, 1))))(x, k)
  plain = jax.vmap(jax.grad(lambda x, k: (reference(x, k, (1, 1), "SAME", 1) ** 2).sum(), (0, 1)))(x, k)
  for one, other in zip(actual, plain):
    assert_close(one, other)


@pytest.mark.parametrize("kernel,groups,strides", [(3, 1, 1), (3, 1, 2), (1, 1, 1), (3, 32, 1)])
def test_sharded_batch_sums_kernel_gradients_and_gathers_nothing(kernel, groups, strides):
  x, k = arrays(8, (256, 6, 6, 32), (kernel, kernel, 32 // groups, 32))
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  batch, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

  def gradients(x, k):
    return jax.grad(lambda x, k: (conv(x, k, strides=(strides, strides), groups=groups) ** 2).sum(), (0, 1))(x, k)

  with formulation("pure"):
    compiled = jax.jit(gradients, out_shardings=(batch, whole)).lower(
      jax.device_put(x, batch), jax.device_put(k, whole)
    ).compile()
    alone = jax.jit(gradients)(x, k)
  assert "all-gather" not in compiled.as_text() and "all-to-all" not in compiled.as_text()
  assert "all-reduce" in compiled.as_text()
  for one, other in zip(compiled(jax.device_put(x, batch), jax.device_put(k, whole)), alone):
    assert_close(one, other)


def test_formulation_is_chosen_by_context_then_environment(monkeypatch):
  x, k = arrays(10, (1, 4, 4, 32), (3, 3, 32, 32))

  def convolutions(platform="cpu"):
    traced = jax.jit(lambda x, k: conv(x, k)).trace(x, k)
    return traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.convolution")

  monkeypatch.delenv("JAXFACE_CPU_CONV", raising=False)
  assert current_formulation() == ("onednn" if native.available() else "pure") and convolutions() == 0
  monkeypatch.setenv("JAXFACE_CPU_CONV", "pure")
  assert current_formulation() == "pure" and convolutions() == 0
  monkeypatch.setenv("JAXFACE_CPU_CONV", "xla")
  assert convolutions() == 1
  with formulation("pure"):
    assert convolutions() == 0
    with formulation("xla"):
      assert convolutions() == 1
    assert current_formulation() == "pure"
  monkeypatch.setenv("JAXFACE_CPU_CONV", "fast")
  with pytest.raises(ValueError, match=r"JAXFACE_CPU_CONV.*'onednn', 'pure', 'xla'"):
    convolutions()
  monkeypatch.delenv("JAXFACE_CPU_CONV")
  # The platform that the program is for decides, not the one that the process would use.
  assert convolutions("tpu") == convolutions("cuda") == 1
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  assert convolutions() == 0 and convolutions("tpu") == 1


def test_outside_of_jit_a_second_call_compiles_nothing():
  x, k = arrays(12, (2, 6, 6, 4), (3, 3, 4, 4))
  compiled = []
  with formulation("pure"):
    conv(x, k)
    max_pool(x, (2, 2), (2, 2))
    jax.monitoring.register_event_duration_secs_listener(
      lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    conv(x, k)
    max_pool(x, (2, 2), (2, 2))
  assert not compiled


def test_wrong_channels_and_formulation_are_named():
  x, k = arrays(11, (1, 5, 5, 4), (3, 3, 8, 8))
  with pytest.raises((TypeError, ValueError), match="feature"):
    conv(x, k)
  with pytest.raises(ValueError, match="'mkl'"), formulation("mkl"):
    pass


def test_module_names_its_parameters():
  (x,) = arrays(12, (2, 5, 5, 4))
  variables = Conv(6, use_bias=True).init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (3, 3, 4, 6), "bias": (6,)}


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_inside_shard_map_each_device_works_on_its_own_images(strides):
  x, k = arrays(13, (16, 6, 6, 32), (3, 3, 32, 32))
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

  def local(x, k):
    assert chunks.images_per_chunk(x) == x.shape[0] == 2
    return lax.psum(jax.grad(lambda k: (conv(x, k, strides=strides) ** 2).sum())(k), "data")

  specs = (PartitionSpec("data"), PartitionSpec())
  summed = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False))
  assert_close(summed(x, k), jax.grad(lambda k: (reference(x, k, strides, "SAME", 1) ** 2).sum())(k))
