"""oneDNN's convolutions against `lax.conv_general_dilated` in float64: values, gradients, transformations, meshes."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from native_oracle import NATIVE, arrays, assert_close, assert_rounded, forms, in_float64, reference, refused

from jaxface.layers.convolution import conv

pytestmark = NATIVE

@st.composite
def problems(draw):
  """Shapes and keywords of a convolution whose result has pixels."""
  kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
  dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]))
  side = st.tuples(st.integers(0, 3), st.integers(0, 3))
  padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(side, side)))
  reach = [(taps - 1) * step + 1 for taps, step in zip(kernel, dilation)]
  inside = reach if padding == "VALID" else (1, 1) if padding == "SAME" else (
    max(1, far - sum(pad)) for far, pad in zip(reach, padding)
  )
  size = [least + draw(st.integers(0, 6)) for least in inside]
  groups, c, o = draw(st.sampled_from([
    (1, 1, 1), (1, 3, 64), (1, 16, 17), (1, 33, 16), (1, 64, 128), (2, 6, 4), (3, 48, 48), (4, 4, 4), (16, 16, 16),
    (7, 7, 14), (32, 32, 32), (16, 16, 48),
  ]))
  keywords = {
    "strides": draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 1), (1, 2)])),
    "padding": padding, "dilation": dilation, "groups": groups,
  }
  return (draw(st.sampled_from([1, 2, 3, 5])), *size, c), (*kernel, c // groups, o), keywords


# Shrinking would compile for minutes.
@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))
@given(problem=problems(), mode=st.sampled_from(["float32", "bf16_math", "bfloat16"]))
def test_values_and_both_gradients(problem, mode):
  x_shape, kernel_shape, keywords = problem
  dtype = jnp.bfloat16 if mode == "bfloat16" else jnp.float32
  precision = "bfloat16" if mode == "bf16_math" else None
  x, kernel = arrays(0, x_shape, kernel_shape, dtype=dtype)
  y_shape = jax.eval_shape(lambda x, k: reference(x, k, **keywords), x, kernel).shape
  (dy,) = arrays(1, y_shape, dtype=dtype)
  actual = jax.jit(lambda *a: forms(lambda x, k: conv(x, k, precision=precision, **keywords), *a))(x, kernel, dy)
  assert all(a.dtype == dtype for a in actual)
  oracle = in_float64(lambda *a: forms(lambda x, k: reference(x, k, **keywords), *a), x, kernel, dy)
  assert_rounded(actual, oracle, mode == "bf16_math")


def test_the_result_of_pads_that_a_small_image_never_fills():
  x, kernel = arrays(2, (2, 1, 1, 4), (3, 3, 4, 5))
  padding = ((3, 3), (4, 0))
  actual = jax.jit(lambda x, k: conv(x, k, padding=padding, strides=(2, 2)))(x, kernel)
  assert_rounded([actual], [[o] for o in in_float64(lambda x, k: reference(x, k, (2, 2), padding), x, kernel)])


@pytest.mark.parametrize("channels,outputs,groups", [(3, 64, 1), (3, 5, 1), (20, 20, 20), (6, 18, 3)])
def test_numbers_that_an_earlier_call_left_in_scratch_memory_are_not_seen(channels, outputs, groups):
  x, kernel, dy = arrays(3, (3, 6, 6, channels), (3, 3, channels // groups, outputs), (3, 6, 6, outputs))
  poison = [jnp.full(shape, jnp.nan) for shape in ((4, 8, 8, 96), (5, 5, 96, 96), (4, 8, 8, 96))]
  jax.block_until_ready(jax.jit(lambda *a: forms(conv, *a))(*poison))
  actual = jax.jit(lambda *a: forms(lambda x, k: conv(x, k, groups=groups), *a))(x, kernel, dy)
  assert_rounded(actual, in_float64(lambda *a: forms(lambda x, k: reference(x, k, groups=groups), *a), x, kernel, dy))


@pytest.mark.parametrize("keywords", [{}, {"strides": (2, 1), "groups": 4}, {"dilation": (2, 2), "padding": "VALID"}])
def test_gradient_of_a_gradient(keywords):
  x, kernel = arrays(4, (2, 7, 6, 4), (3, 3, 4 // keywords.get("groups", 1), 8))

  def penalty(function):
    slope = jax.grad(lambda x, k: (function(x, k, **keywords) ** 3).sum(), (0, 1))
    return jax.grad(lambda x, k: sum((part**2).sum() for part in slope(x, k)), (0, 1))

  expected = in_float64(penalty(reference), x, kernel)[0]
  assert_close(jax.jit(penalty(conv))(x, kernel), expected)


# Axes of the images' and of the kernels' arrays over which is mapped, from the outermost.
MAPS = {
  "images": [(0, None)], "kernels": [(None, 0)], "both": [(0, 0)], "last axes": [(4, 4)],
  "images, then kernels": [(0, None), (None, 0)], "kernels, then images": [(None, 0), (1, None)],
  "both twice": [(0, 0), (0, 0)], "both, then images": [(0, 0), (0, None)],
}


@pytest.mark.parametrize("axes", MAPS.values(), ids=MAPS)
def test_vmap(axes):
  x_shape, kernel_shape = [2, 5, 4, 3], [3, 3, 3, 4]
  for number, (x_axis, kernel_axis) in enumerate(reversed(axes)):
    for shape, axis in ((x_shape, x_axis), (kernel_shape, kernel_axis)):
      if axis is not None:
        shape.insert(axis, 2 + number)

  def mapped(function):
    def run(x, kernel):
      return forms(function, x, kernel, function(x, kernel) ** 2)

    for each in reversed(axes):
      run = jax.vmap(run, each)
    return run

  x, kernel = arrays(5, x_shape, kernel_shape)
  assert_close(jax.jit(mapped(conv))(x, kernel), in_float64(mapped(reference), x, kernel)[0])


def test_images_mapped_under_one_kernel_share_it():
  x, kernel = arrays(6, (3, 2, 5, 5, 4), (3, 3, 4, 4))
  lowered = jax.jit(jax.vmap(conv, (0, None))).lower(x, kernel).as_text()
  assert lowered.count("stablehlo.custom_call @jaxface_JaxfaceConv") == 1
  assert "(tensor<3x2x5x5x4xf32>, tensor<1x3x3x4x4xf32>) -> tensor<3x2x5x5x4xf32>" in lowered


def test_remat_and_scan():
  x, kernel = arrays(7, (2, 5, 5, 4), (3, 3, 4, 4))

  def loss(layer):
    return jax.grad(lambda x, k: (lax.scan(lambda h, _: (layer(h, k), None), x, length=3)[0] ** 2).sum(), (0, 1))

  expected = in_float64(loss(reference), x, kernel)[0]
  assert_close(jax.jit(loss(jax.checkpoint(conv)))(x, kernel), expected)


def test_a_donated_array_may_be_written_over_only_when_read():
  x, kernel = arrays(8, (3, 9, 9, 8), (3, 3, 8, 8))
  expected = in_float64(lambda x, k: reference(reference(x, k), k), x, kernel)[0]
  run = jax.jit(lambda x, k: conv(conv(x, k), k), donate_argnums=0)
  actual = run(x, kernel)
  assert x.is_deleted()
  assert_close(actual, expected)


def test_a_second_call_compiles_nothing():
  compiled = []
  x, kernel = arrays(9, (2, 5, 5, 4), (3, 3, 4, 4))
  jax.block_until_ready(forms(conv, x, kernel, x))
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
  )
  jax.block_until_ready(forms(conv, x, kernel, x))
  assert not compiled
  jax.block_until_ready(forms(conv, x[:1], kernel, x[:1]))
  assert compiled


def test_forward_mode_is_refused():
  x, kernel = arrays(10, (1, 4, 4, 3), (3, 3, 3, 3))
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(lambda x: conv(x, kernel), (x,), (x,))


@pytest.mark.parametrize("x_shape,kernel_shape", [((0, 5, 5, 4), (3, 3, 4, 6)), ((2, 5, 5, 0), (3, 3, 0, 6))])
def test_without_images_or_channels(x_shape, kernel_shape):
  x, kernel = jnp.zeros(x_shape), jnp.ones(kernel_shape)
  y, dx, dkernel = jax.jit(lambda x, k: forms(conv, x, k, jnp.ones(reference(x, k).shape)))(x, kernel)
  assert y.shape == (*x_shape[:3], 6) and dx.shape == x_shape and dkernel.shape == kernel_shape
  assert not y.any() and not dkernel.any()
  mapped = jax.vmap(conv, (0, None))(jnp.zeros((3, *x_shape)), kernel)
  assert mapped.shape == (3, *x_shape[:3], 6) and not mapped.any()
  assert jax.vmap(conv)(jnp.zeros((3, *x_shape)), jnp.ones((3, *kernel_shape))).shape == mapped.shape


def test_types_that_onednn_lacks_go_elsewhere():
  def native_calls(x, kernel):
    return str(jax.make_jaxpr(conv)(x, kernel)).count("custom_vmap_call")

  x, kernel = arrays(11, (2, 4, 4, 3), (3, 3, 3, 2))
  assert native_calls(x, kernel) == 1
  assert native_calls(x.astype(jnp.float16), kernel.astype(jnp.float16)) == 0
  whole, taps = (10 * x).astype(jnp.int32), (10 * kernel).astype(jnp.int32)
  assert native_calls(whole, taps) == 0
  np.testing.assert_array_equal(conv(whole, taps), reference(whole, taps))
  with jax.enable_x64(True):
    x, kernel = arrays(11, (2, 4, 4, 3), (3, 3, 3, 2), dtype=np.float64)
    assert native_calls(x, kernel) == 0 and conv(x, kernel).dtype == np.float64


def test_products_in_bfloat16_are_asked_for_by_argument_or_by_context():
  x, kernel = arrays(12, (2, 8, 8, 32), (3, 3, 32, 32))
  exact, quick = conv(x, kernel, precision="highest"), conv(x, kernel, precision="bfloat16")
  with jax.default_matmul_precision("bfloat16"):
    np.testing.assert_array_equal(conv(x, kernel), quick)
    np.testing.assert_array_equal(conv(x, kernel, precision=lax.Precision.HIGHEST), exact)
  np.testing.assert_array_equal(conv(x, kernel), exact)


WINDOW = {"window": (1, 1, 1, 1, 1, 1, 1, 1), "groups": 1, "bf16_math": False, "kind": 0}
X, K, Y = (1, 2, 6, 5, 4), (1, 3, 3, 4, 8), (1, 2, 6, 5, 8)
WRONG = {
  "images without a batch": ((X[1:], K, Y), {}, r"images is \[2, 6, 5, 4\]: takes 5 axes"),
  "kernel of one axis": ((X, (8,), Y), {}, r"kernel is \[8\]: takes 5 axes"),
  "result without axes": ((X, K, ()), {}, r"result is \[\]: takes 5 axes"),
  "channels": ((X, (1, 3, 3, 7, 8), Y), {}, r"kernel is \[1, 3, 3, 7, 8\]: takes \[3, 3, 4, 8\]"),
  "features": ((X, (1, 3, 3, 4, 9), Y), {}, r"kernel is \[1, 3, 3, 4, 9\]: takes \[3, 3, 4, 8\]"),
  "number of kernels": ((X, (2, 3, 3, 4, 8), Y), {}, r"kernel is \[2, 3, 3, 4, 8\]"),
  "batch of the result": ((X, K, (1, 3, 6, 5, 8)), {}, r"result is \[1, 3, 6, 5, 8\]: takes \[1, 2, 6, 5, 8\]"),
  "pixels of the result": ((X, K, (1, 2, 7, 5, 8)), {}, r"values of float32 images \[2, 6, 5, 4\].*result \[2, 7, 5, 8\]"),
  "no groups": ((X, K, Y), {"groups": 0}, r"0 groups do not divide images \[1, 2, 6, 5, 4\]"),
  "groups": ((X, K, Y), {"groups": 3}, r"3 groups do not divide images \[1, 2, 6, 5, 4\]"),
  "short window": ((X, K, Y), {"window": (1, 1)}, r"window is \[1, 1\]: takes strides, pads and dilation"),
  "no strides": ((X, K, Y), {"window": (0, 1, 1, 1, 1, 1, 1, 1)}, r"window is \[0, 1, 1, 1, 1, 1, 1, 1\]: takes strides"),
  "cropping": ((X, K, Y), {"window": (1, 1, -1, 1, 1, 1, 1, 1)}, r"window is \[1, 1, -1, 1, 1, 1, 1, 1\]: takes strides"),
  "kind": ((X, K, Y), {"kind": 3}, "there is no kind 3"),
  "number of gradients": ((X, Y, (2, 3, 3, 4, 8)), {"kind": 2}, r"kernel is \[2, 3, 3, 4, 8\]"),
}


@pytest.mark.parametrize("shapes,changes,message", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_an_error_with_shapes(shapes, changes, message):
  refused("JaxfaceConv", *((shape, "float32") for shape in shapes), message, **WINDOW | changes)


@pytest.mark.parametrize("types,message", [
  (("int32", "int32", "int32"), "images is neither float32 nor bfloat16"),
  (("float32", "bfloat16", "float32"), "kernel is of another type than float32"),
  (("bfloat16", "bfloat16", "float32"), "result is of another type than bfloat16"),
])
def test_types_that_do_not_fit_are_an_error(types, message):
  refused("JaxfaceConv", *zip((X, K, Y), types), message, **WINDOW)
