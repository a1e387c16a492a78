"""What tests of native layers share: arrays, meshes, and how far from the same function in float64 rounding may lead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType

from jaxface.layers import native
from jaxface.layers.native_call import IMAGES, SHARED, native_call

BUILT = pytest.mark.skipif(not native.available(), reason=f"NOTHING NATIVE WAS TESTED: {native.why_not()}")
# For the `pytestmark` of a file whose tests all run in native code.
NATIVE = [BUILT, pytest.mark.usefixtures("in_native_code")]

# Half a unit in the last place: of a float32, and of a bfloat16.
U32, U16 = 2.0**-24, 2.0**-8


def arrays(seed, *shapes, dtype=jnp.float32):
  """Normal numbers that `dtype` holds exactly."""
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def data_mesh(*shape):
  names = ("data", "model")[: len(shape)]
  return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape))


def forms(function, x, kernel, dy):
  """The values and both gradients."""
  y, pull = jax.vjp(function, x, kernel)
  return y, *pull(dy)


def refused(target, a, b, result, message, **settings):
  """A native call on arguments that do not fit raises `message`; each of the three is a shape and a type."""
  shape = jax.ShapeDtypeStruct(*result)
  call = native_call(target, lambda *_: shape, (IMAGES, SHARED), IMAGES, lambda *_: jnp.zeros(*result), **settings)
  with pytest.raises(jax.errors.JaxRuntimeError, match=message):
    jax.block_until_ready(jax.jit(call)(jnp.ones(*a), jnp.ones(*b)))


def in_float64(function, *given):
  """function(*given) in float64, and the bounds of what rounding does to it.

  An element is a sum of products. Computed in float32 in any order its error is at most (number of products) · 2⁻²⁴ · (sum
  of their sizes): the same function of ones counts the products, of absolute values it sums their sizes.
  """
  with jax.enable_x64(True):
    run = jax.jit(function)
    wide = [np.asarray(a, np.float64) for a in given]
    return [
      jax.tree.map(np.asarray, run(*(change(a) for a in wide))) for change in (np.asarray, np.ones_like, np.abs)
    ]


def assert_rounded(actual, oracle, bf16_math=False):
  """Within what rounding explains; factors rounded to bfloat16 are off by 2⁻⁸ each, and so is a bfloat16 result."""
  for one, right, count, size in zip(actual, *oracle, strict=True):
    assert one.shape == right.shape
    factors = 2 * U16 * (1 + U16) if bf16_math else 0
    bound = (count * U32 + factors) * size + (U16 * (1 + U16) if one.dtype == jnp.bfloat16 else U32) * abs(right)
    error = abs(np.asarray(one, np.float64) - right)
    assert (error <= bound + 1e-37).all(), f"off by {np.max(error / (bound + 1e-37)):.1f} times the bound"


def assert_close(actual, expected, tolerance=1e-5):
  """Equal within `tolerance` of the largest entry: for sums of sums."""
  for one, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert one.shape == right.shape
    np.testing.assert_allclose(np.asarray(one, np.float64), right, rtol=0, atol=tolerance * max(1e-6, np.abs(right).max()))


def reference(x, kernel, strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1):
  """XLA's convolution."""
  return lax.conv_general_dilated(
    x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )
