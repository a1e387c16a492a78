"""Layers with a kernel for each position, group or region, against loops in NumPy, and their gradients."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.layers import local_plain, native
from jaxface.layers.convolution import conv
from jaxface.layers.formulation import formulation
from jaxface.layers.local import GroupedLocallyConnected, LocallyConnected, locally_connected, output_size

WAYS = ["pure", "xla", *["onednn"] * native.available()]
FORMS = [(low_memory, way) for low_memory in (False, True) for way in WAYS]


def arrays(seed, *shapes, dtype=np.float32):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def slow(x, kernel, strides, pads, block=1):
  """The definition: a sum for each image, position and channel."""
  x, kernel = np.pad(np.asarray(x, np.float64), ((0, 0), *pads, (0, 0))), np.asarray(kernel, np.float64)
  kh, kw = kernel.shape[2:4]
  height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], (kh, kw), strides))
  y = np.zeros((len(x), height, width, kernel.shape[-1]))
  for i in range(height):
    for j in range(width):
      seen = x[:, i * strides[0] : i * strides[0] + kh, j * strides[1] : j * strides[1] + kw]
      own = kernel[i // block, j // block]
      for b in range(len(x)):
        for o in range(y.shape[-1]):
          y[b, i, j, o] = (seen[b] * own[..., o]).sum()
  return y


def case(seed, size, kernel_size, strides, padding, channels=(2, 3), batch=2, dtype=np.float32):
  """Input, kernels and padding in pixels; only where a window fits."""
  try:
    out, pads = output_size(size, kernel_size, strides, padding)
  except ValueError:
    assume(False)
  x, kernel = arrays(seed, (batch, *size, channels[0]), (*out, *kernel_size, *channels), dtype=dtype)
  return x, kernel, pads


SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))
KERNELS = st.tuples(st.integers(1, 4), st.integers(1, 4))
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDINGS = st.one_of(
  st.sampled_from(["SAME", "VALID"]), st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
)


@settings(max_examples=8)
@given(size=SIZES, kernel_size=KERNELS, strides=STRIDES, padding=PADDINGS, form=st.sampled_from(FORMS))
def test_locally_connected_is_its_definition(size, kernel_size, strides, padding, form):
  x, kernel, pads = case(0, size, kernel_size, strides, padding)
  low_memory, way = form
  with formulation(way):
    y = jax.jit(partial(locally_connected, strides=strides, padding=padding, low_memory=low_memory))(x, kernel)
  np.testing.assert_allclose(y, slow(x, kernel, strides, pads), rtol=1e-4, atol=1e-4)


# One row at a time, some rows at a time, all at once; steps of one, of two, and longer than the window.
WINDOWS = [
  ((7, 6), (3, 2), (1, 1), "VALID"), ((8, 7), (3, 3), (2, 2), "SAME"), ((7, 7), (1, 2), (2, 3), ((1, 0), (2, 1))),
  ((6, 7), (2, 3), (1, 2), ((-1, 1), (0, -1))),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("way", ["pure", "xla"])  # in float64, which native code has not
@pytest.mark.parametrize("rows", ["one", "some", "all"])
def test_gradients_are_those_of_the_definition(monkeypatch, window, way, rows):
  size, kernel_size, strides, padding = window
  monkeypatch.setattr(local_plain, "AT_A_TIME", 1 if rows == "one" else 700)
  with jax.enable_x64(True), formulation(way):
    if padding[0][0] == -1:
      cropped = (slice(None), slice(1, None), slice(None, -1))
      x, kernel, _ = case(1, (size[0] - 1, size[1] - 1), kernel_size, strides, ((0, 1), (0, 0)), dtype=np.float64)
      whole = jnp.zeros((2, *size, 2)).at[cropped].set(x)
      plain = locally_connected(x, kernel, strides=strides, padding=((0, 1), (0, 0)))
      chex.assert_trees_all_close(locally_connected(whole, kernel, strides=strides, padding=padding), plain, rtol=1e-12)
      x = whole
    else:
      x, kernel, _ = case(1, size, kernel_size, strides, padding, dtype=np.float64)
    layer = jax.jit(partial(locally_connected, strides=strides, padding=padding, low_memory=rows != "all"))
    check_grads(layer, (x, kernel), order=1, modes=["rev"], rtol=1e-6)


def test_second_derivatives_and_refusal_of_forward_mode():
  with jax.enable_x64(True):
    x, kernel, _ = case(2, (4, 4), (2, 2), (1, 1), "VALID", dtype=np.float64)
    for low_memory in (False, True):
      layer = partial(locally_connected, low_memory=low_memory)
      slope = jax.grad(lambda x, k: (layer(x, k) ** 3).sum(), (0, 1))  # noqa: B023
      check_grads(jax.jit(slope), (x, kernel), order=1, modes=["rev"], rtol=1e-5)
      with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: layer(x, kernel), (x,), (x,))  # noqa: B023


@pytest.mark.parametrize(("low_memory", "way"), FORMS)
def test_ensembles_are_their_members_one_by_one(low_memory, way):
  x, kernel = arrays(3, (3, 2, 6, 6, 2), (3, 4, 4, 3, 3, 2, 4))

  def value_and_slopes(x, kernel):
    y, pull = jax.vjp(partial(locally_connected, low_memory=low_memory), x, kernel)
    return y, *pull(jnp.cos(y))

  with formulation(way):
    together = jax.jit(jax.vmap(value_and_slopes))(x, kernel)
    alone = [jax.jit(value_and_slopes)(x[e], kernel[e]) for e in range(3)]
  chex.assert_trees_all_close(together, jax.tree.map(lambda *leaf: jnp.stack(leaf), *alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_equal_kernels_are_a_convolution(way):
  x, shared = arrays(4, (2, 9, 8, 3), (3, 2, 3, 4))
  (height, width), _ = output_size((9, 8), (3, 2), (2, 1), "SAME")
  kernel = jnp.broadcast_to(shared, (height, width, *shared.shape))
  with formulation(way):
    y = jax.jit(partial(locally_connected, strides=(2, 1), padding="SAME"))(x, kernel)
  np.testing.assert_allclose(y, conv(x, shared, strides=(2, 1), padding="SAME"), rtol=1e-4, atol=1e-4)


def test_it_is_the_layer_of_xla():
  # `conv_general_dilated_local` has its kernels as [H', W', C · kh · kw, O].
  x, kernel, _ = case(5, (7, 6), (3, 2), (2, 1), "VALID")
  flat = kernel.transpose(0, 1, 4, 2, 3, 5).reshape(*kernel.shape[:2], -1, kernel.shape[-1])
  theirs = jax.lax.conv_general_dilated_local(
    x, flat, (2, 1), "VALID", (3, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  np.testing.assert_allclose(locally_connected(x, kernel, strides=(2, 1)), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("low_memory", "way"), FORMS)
def test_bfloat16_in_and_out_with_wide_sums(low_memory, way):
  x, kernel, _ = case(6, (12, 12), (5, 5), (1, 1), "SAME", channels=(8, 4))
  low = [array.astype(jnp.bfloat16) for array in (x, kernel)]

  def value_and_slopes(x, kernel):
    y, pull = jax.vjp(partial(locally_connected, padding="SAME", low_memory=low_memory), x, kernel)
    return y, *pull(jnp.ones_like(y))

  with formulation(way):
    results = [jax.jit(value_and_slopes)(*(a.astype(dtype) for a in low)) for dtype in (jnp.bfloat16, jnp.float32)]
  for narrow, wide in zip(*results):
    assert narrow.dtype == jnp.bfloat16
    # One rounding at the end, of numbers that were summed as float32.
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, rtol=2**-8, atol=1e-4)


def jaxpr_has_a_loop(x, kernel, **options):
  with formulation("pure"):
    return "scan" in str(jax.make_jaxpr(partial(locally_connected, **options))(x, kernel))


def test_low_memory_comes_by_size_or_by_option(monkeypatch):
  x, kernel, _ = case(7, (6, 6), (3, 3), (1, 1), "VALID")
  assert not jaxpr_has_a_loop(x, kernel)
  assert jaxpr_has_a_loop(x, kernel, low_memory=True) is False  # all rows fit into one step
  monkeypatch.setattr(local_plain, "AT_A_TIME", 2 * 4 * 9 * 2 * 2)
  assert jaxpr_has_a_loop(x, kernel, low_memory=True)
  monkeypatch.setattr(local_plain, "WHOLE", 4 * 4 * 9 * 2 * 2)
  assert not jaxpr_has_a_loop(x, kernel)
  monkeypatch.setattr(local_plain, "WHOLE", 4 * 4 * 9 * 2 * 2 - 1)
  assert jaxpr_has_a_loop(x, kernel)
  assert not jaxpr_has_a_loop(x, kernel, low_memory=False)


def test_deepface_l4_needs_less_than_50_mb_with_low_memory():
  x, kernel = jax.ShapeDtypeStruct((32, 63, 63, 16), jnp.float32), jax.ShapeDtypeStruct((55, 55, 9, 9, 16, 16), jnp.float32)
  slopes = jax.grad(lambda x, k: (locally_connected(x, k, low_memory=True) ** 2).sum(), (0, 1))
  with formulation("pure"):
    assert jax.jit(slopes).lower(x, kernel).compile().memory_analysis().temp_size_in_bytes < 50e6


@pytest.mark.parametrize(
  ("shape", "words"),
  [((4, 4, 3, 3, 5, 2), ["[4, 4, 3, 3, 2, O]", "(4, 4, 3, 3, 5, 2)"]), ((3, 4, 3, 3, 2, 2), ["[4, 4, 3, 3, 2, O]"])],
)
def test_wrong_kernels_are_named_with_the_right_ones(shape, words):
  with pytest.raises(ValueError) as error:
    locally_connected(jnp.zeros((1, 6, 6, 2)), jnp.zeros(shape))
  assert all(word in str(error.value) for word in words)
  with pytest.raises(ValueError, match="9x9 window does not fit into 6x6 pixels"):
    locally_connected(jnp.zeros((1, 6, 6, 2)), jnp.zeros((1, 1, 9, 9, 2, 2)))


@pytest.mark.parametrize(("bias", "numbers"), [("position", 4 * 5 * 6), ("channel", 6), ("none", 0)])
def test_module_counts_and_begins_with_the_fan_of_one_position(bias, numbers):
  layer = LocallyConnected(6, (3, 3), bias=bias)
  variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 6, 7, 16)))["params"]
  assert variables["kernel"].shape == (4, 5, 3, 3, 16, 6)
  assert sum(leaf.size for name, leaf in variables.items() if name == "bias") == numbers
  # 3 · 3 · 16 inputs of one position; a fan over all positions would be twenty times as large.
  assert float(variables["kernel"].std()) == pytest.approx((2 / 144) ** 0.5, rel=0.03)
  first, other = variables["kernel"][0, 0], variables["kernel"][3, 4]
  assert float(jnp.abs(jnp.corrcoef(first.ravel(), other.ravel())[0, 1])) < 0.2


def test_module_adds_its_bias_where_it_belongs():
  x, kernel = arrays(8, (2, 5, 5, 2), (3, 3, 3, 3, 2, 4))
  for bias, shape in (("position", (3, 3, 4)), ("channel", (4,))):
    (offset,) = arrays(9, shape)
    y = LocallyConnected(4, (3, 3), bias=bias).apply({"params": {"kernel": kernel, "bias": offset}}, x)
    np.testing.assert_allclose(y, slow(x, kernel, (1, 1), ((0, 0), (0, 0))) + offset, rtol=1e-4, atol=1e-4)
  with pytest.raises(ValueError, match="'position', 'channel', 'none'"):
    LocallyConnected(4, (3, 3), bias="pixel").init(jax.random.key(0), x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_grouped_layer_is_a_dense_layer_per_group(dtype):
  layer = GroupedLocallyConnected(8, dtype=dtype)
  (x,) = arrays(10, (5, 6, 16))
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  params = {"kernel": variables["params"]["kernel"], "bias": arrays(11, (6, 8))[0]}
  y = jax.jit(layer.apply)({"params": params}, x)
  assert y.dtype == dtype and params["kernel"].shape == (6, 16, 8)
  for g in range(6):
    loop = np.asarray(x)[:, g] @ np.asarray(params["kernel"])[g] + np.asarray(params["bias"])[g]
    np.testing.assert_allclose(y[:, g].astype(jnp.float32), loop, atol=1e-5 if dtype == jnp.float32 else 0.1)


def test_deepid_verifier_has_sixty_groups_of_640_inputs():
  shapes = jax.eval_shape(GroupedLocallyConnected(80).init, jax.random.key(0), jnp.zeros((1, 60, 640)))["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 60 * (640 * 80 + 80)
