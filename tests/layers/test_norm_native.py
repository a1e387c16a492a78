"""Batch norm in native passes against a NumPy oracle, the definition in float64, and `batch_normalise`."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from native_oracle import NATIVE, assert_close, data_mesh
from norm_oracle import EPSILON, definition, exact_gradients, gradients, operands, straight, wide

from jaxface.layers.formulation import formulation
from jaxface.layers.native_call import IMAGES, SHARED, native_call
from jaxface.layers.norm import BatchNorm, batch_normalise
from jaxface.layers.norm_native import CODES, affine, train_norm

pytestmark = NATIVE

# Sums move from float32 to float64 every 128 rows.
SUMS = 128 * 2.0**-24
# Of a result, besides: rounding to the 8 bits of bfloat16.
TOLERANCE = {jnp.float32: SUMS, jnp.bfloat16: 2.0**-8}
CASES = [(activation, dtype == jnp.bfloat16, dtype) for activation, dtype in itertools.product(CODES, TOLERANCE)]


@pytest.mark.parametrize("activation,with_shortcut,dtype", CASES)
def test_values_and_gradients(activation, with_shortcut, dtype):
  given = operands(1, (3, 5, 4, 19), activation, with_shortcut, dtype)
  (dy, *_) = operands(2, given[0].shape, None, False, dtype)

  @jax.jit
  def run(given, dy):
    return train_norm(activation, EPSILON, *given), gradients(
      lambda *a: train_norm(activation, EPSILON, *a)[0], given, dy
    )

  (y, mean_c, var_c), slopes = run(given, dy)
  assert y.dtype == dtype and mean_c.dtype == var_c.dtype == jnp.float32
  assert [a.dtype for a in slopes] == [a.dtype for a in given if a is not None]
  right = definition(np, activation, *wide(given))
  assert_close(y, right[0], TOLERANCE[dtype])
  assert_close((mean_c, var_c), right[1:], SUMS)
  exact = exact_gradients(lambda *a: definition(jnp, activation, *a)[0], given, dy)
  assert_close(slopes, exact, 2 * TOLERANCE[dtype])


@pytest.mark.parametrize("activation,with_shortcut,dtype", CASES)
def test_given_statistics(activation, with_shortcut, dtype):
  given = operands(2, (2, 4, 3, 17), activation, with_shortcut, dtype)
  (dy, *_) = operands(3, given[0].shape, None, False, dtype)

  @jax.jit
  def run(given, dy):
    return affine(activation, *given), gradients(lambda *a: affine(activation, *a), given, dy)

  y, slopes = run(given, dy)
  assert y.dtype == dtype
  assert_close(y, straight(np, activation, *wide(given)), TOLERANCE[dtype])
  assert_close(slopes, exact_gradients(lambda *a: straight(jnp, activation, *a), given, dy), TOLERANCE[dtype])


@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(
  shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2, 7, 8, 16, 31, 64])),
  activation=st.sampled_from(list(CODES)),
)
def test_any_shape(shape, activation):
  given = operands(4, shape, activation, True)
  y, *_ = train_norm(activation, EPSILON, *given)
  right, _, var_c = definition(np, activation, *wide(given))
  # slope·x and slope·mean are rounded before their difference is taken; of one row alone slope is 1/√ε.
  x, scale_c, *_ = wide(given)
  bound = SUMS * np.abs(right).max() + 2.0**-22 * np.abs(x * scale_c / np.sqrt(var_c + EPSILON)).max()
  np.testing.assert_allclose(y, right, rtol=0, atol=bound)


def test_agrees_with_the_pure_form_over_many_parts():
  x, scale_c, bias_c, *_ = operands(5, (4, 32, 32, 64), None, False)  # 8 parts of rows
  (dy, *_) = operands(6, x.shape, None, False)

  def both(function):
    y, pull = jax.vjp(lambda *a: function(*a)[0], x, scale_c, bias_c)
    return y, *pull(dy)

  actual = jax.jit(lambda: both(lambda *a: train_norm(None, EPSILON, *a, None, None)))()
  assert_close(actual, jax.jit(lambda: both(lambda *a: batch_normalise(*a, EPSILON)))(), 1e-5)


def test_gradients_are_finite_differences():
  given = operands(7, (2, 3, 2, 3), "prelu", True)
  (dy, *_) = operands(8, given[0].shape, None, False)
  slopes = gradients(lambda *a: train_norm("prelu", EPSILON, *a)[0], given, dy)
  step = 1e-6
  for number, slope in enumerate(slopes):
    array = wide(given[number])
    expected = np.zeros_like(array)
    for place in np.ndindex(array.shape):
      ends = []
      for sign in (1, -1):
        moved = [wide(a) for a in given]
        moved[number][place] += sign * step
        ends.append((definition(np, "prelu", *moved)[0] * wide(dy)).sum())
      expected[place] = (ends[0] - ends[1]) / (2 * step)
    assert_close(slope, expected, 1e-5)


# A run of 128 rows about an outlier rounds 127 partial sums of the outlier's own square, of which the variance has one.
@pytest.mark.parametrize("first,tolerance", [(1000.0, SUMS), (0.0, 64 * SUMS), (1e6, 64 * SUMS)])
def test_numbers_far_from_zero_keep_their_digits(first, tolerance):
  # As E[x²] − E[x]² in float32 nothing would be left of the variance: 1000² has a unit of 0.06.
  x, *rest = operands(10, (4, 16, 16, 5), None, False, mean=1000)
  x = x.at[0, 0, 0].set(first)
  y, mean_c, var_c = train_norm(None, EPSILON, x, *rest)
  right = definition(np, None, *wide([x, *rest]))
  assert_close((mean_c, var_c), right[1:], tolerance)
  # x itself has a unit of 6e-5 here, and its mean is rounded to half of that.
  assert_close(y, right[0], max(2e-5, tolerance))


@pytest.mark.parametrize("activation", CODES)
def test_what_is_not_a_number_stays_none(activation):
  x, *rest = operands(11, (2, 3, 3, 2), activation, False)
  y, mean_c, _ = train_norm(activation, EPSILON, x.at[1, 2, 0, 1].set(jnp.nan), *rest)
  assert np.isnan(y[..., 1]).all() and np.isnan(mean_c[1])
  assert np.isfinite(y[..., 0]).all() and np.isfinite(mean_c[0])
  narrow = affine(activation, jnp.full((1, 1, 1, 2), jnp.nan, jnp.bfloat16), *rest)
  assert np.isnan(np.asarray(narrow, np.float32)).all()


def test_the_same_bits_every_time():
  given = operands(12, (5, 40, 40, 24), "prelu", True)
  (dy, *_) = operands(13, given[0].shape, None, False)

  @jax.jit
  def run(g, dy):
    return train_norm("prelu", EPSILON, *g), gradients(lambda *a: train_norm("prelu", EPSILON, *a)[0], g, dy)

  first = run(given, dy)
  for _ in range(5):
    jax.tree.map(np.testing.assert_array_equal, run(given, dy), first)


# Axes over which x, scale, bias, alpha and shortcut are mapped.
MAPS = {"all": [(0,) * 5], "arrays": [(0, None, None, None, 0)], "parameters": [(None, 0, 0, 0, None)],
        "x alone": [(3, None, None, None, None)], "twice": [(0, None, None, None, 0), (0, 0, 0, 0, 0)]}


@pytest.mark.parametrize("axes", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "given statistics"])
def test_vmap(axes, training):
  shapes = [[2, 3, 2, 5], [5], [5], [5], [2, 3, 2, 5]]
  for number, level in enumerate(reversed(axes)):
    for shape, axis in zip(shapes, level):
      if axis is not None:
        shape.insert(axis, 2 + number)
  rng = np.random.default_rng(14)
  given = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]

  def mapped(function):
    def run(*a):
      return function(*a), gradients(function, a, function(*a))

    for level in reversed(axes):
      run = jax.vmap(run, level)
    return run

  if training:
    actual = jax.jit(mapped(lambda *a: train_norm("prelu", EPSILON, *a)[0]))(*given)
    right = mapped(lambda *a: definition(jnp, "prelu", *a)[0])
  else:
    actual, right = jax.jit(mapped(lambda *a: affine("prelu", *a)))(*given), mapped(lambda *a: straight(jnp, "prelu", *a))
  with jax.enable_x64(True):
    assert_close(actual, jax.jit(right)(*wide(given)), 2e-5)


def step(given, dy):
  def function(*a):
    y, mean_c, var_c = train_norm("prelu", EPSILON, *a)
    return y, lax.stop_gradient((mean_c, var_c))

  y, pull, moments = jax.vjp(function, *given, has_aux=True)
  return y, moments, pull(dy)


@pytest.mark.parametrize("shape,spec", [((8,), P("data")), ((4, 2), P("data")), ((4, 2), P(("data", "model")))])
def test_statistics_are_of_the_global_batch(shape, spec):
  given = operands(15, (16, 4, 3, 6), "prelu", True)
  (dy, *_) = operands(16, given[0].shape, None, False)
  # Every device's own mean is another one.
  x = given[0] + jnp.arange(16.0).reshape(16, 1, 1, 1)
  mesh = data_mesh(*shape)
  split, whole = NamedSharding(mesh, spec), NamedSharding(mesh, P())
  spread = [jax.device_put(a, split if a.ndim == 4 else whole) for a in (x, *given[1:])]
  compiled = jax.jit(step).lower(spread, jax.device_put(dy, split)).compile()
  text = compiled.as_text()
  assert "all-gather" not in text and "all-to-all" not in text and "all-reduce" in text
  y, moments, slopes = compiled(spread, jax.device_put(dy, split))
  assert y.sharding.is_equivalent_to(split, 4) and slopes[0].sharding.is_equivalent_to(split, 4)
  right = definition(np, "prelu", *wide([x, *given[1:]]))
  assert_close((y, *moments), right, 3e-6)
  assert_close(slopes, exact_gradients(lambda *a: definition(jnp, "prelu", *a)[0], [x, *given[1:]], dy), 1e-5)


@pytest.mark.parametrize("batch", [3, 12])
def test_a_batch_that_the_mesh_does_not_divide(batch):
  given = operands(17, (16, 4, 3, 6), "prelu", True)
  (dy, *_) = operands(18, given[0].shape, None, False)
  split = NamedSharding(data_mesh(8), P("data"))

  @jax.jit
  def run(given, dy):
    return step([a[:batch] if a.ndim == 4 else a for a in given], dy[:batch])

  y, moments, slopes = run([jax.device_put(a, split) if a.ndim == 4 else a for a in given], jax.device_put(dy, split))
  some = [a[:batch] if a.ndim == 4 else a for a in given]
  assert_close((y, *moments), definition(np, "prelu", *wide(some)), 3e-6)
  assert_close(slopes, exact_gradients(lambda *a: definition(jnp, "prelu", *a)[0], some, dy[:batch]), 1e-5)


def test_the_module_takes_the_native_passes_and_means_the_same():
  x, *_, shortcut = operands(19, (4, 5, 5, 6), "relu", True)
  module = BatchNorm()
  variables = module.init(jax.random.key(0), x, False)
  for train in (True, False):
    def run(x):
      return module.apply(variables, x, train, "relu", None, shortcut, mutable=["batch_stats"])  # noqa: B023

    assert "custom_vmap_call" in str(jax.make_jaxpr(run)(x))
    native_result = jax.jit(run)(x)
    with formulation("pure"):
      assert_close(native_result, jax.jit(lambda x: run(x))(x), 1e-5)


def test_forward_mode_and_second_derivatives_are_refused_with_advice():
  x, *rest = operands(20, (2, 3, 3, 2), None, False)
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(lambda x: affine(None, x, *rest), (x,), (x,))
  for function in (lambda x: train_norm("relu", EPSILON, x, *rest)[0], lambda x: affine("relu", x, *rest)):
    def penalty(x):
      return (jax.grad(lambda x: (function(x) ** 2).sum())(x) ** 2).sum()  # noqa: B023

    jax.jit(penalty)(x)
    with pytest.raises(TypeError, match=r'formulation\("pure"\)'):
      jax.grad(penalty)(x)


X, MAPPED = (1, 2, 6, 4), (3, 2, 6, 4)
WRONG = {
  "rank": ("JaxfaceNormApply", [(2, 6, 4), (1, 3, 4)], (2, 6, 4), r"apply: x is \[2, 6, 4\]: takes 4 axes"),
  "nothing": ("JaxfaceNormMoments", [(1, 0, 6, 4)], (1, 2, 4), r"moments: x is \[1, 0, 6, 4\]: takes at least one"),
  "rows": ("JaxfaceNormApply", [X, (1, 2, 4)], X, r"parameters is \[1, 2, 4\]: takes \[3, 4\], 1 or 1 of them"),
  "many": ("JaxfaceNormApply", [MAPPED, (2, 3, 4)], MAPPED, r"parameters is \[2, 3, 4\]: takes \[3, 4\], 1 or 3 of them"),
  "shortcut": ("JaxfaceNormApplyAdd", [X, (1, 2, 5, 4), (1, 3, 4)], X, r"shortcut is \[1, 2, 5, 4\]: takes \[1, 2, 6, 4\]"),
  "result": ("JaxfaceNormMoments", [X], (1, 3, 4), r"result is \[1, 3, 4\]: takes \[1, 2, 4\]"),
  "gradient": ("JaxfaceNormSums", [X, (1, 3, 6, 4), (1, 4, 4)], (1, 3, 4), r"gradient is \[1, 3, 6, 4\]"),
  "dx": ("JaxfaceNormInputGradient", [X, X, (1, 7, 4)], (1, 2, 6, 5), r"result is \[1, 2, 6, 5\]: takes \[1, 2, 6, 4\]"),
}


@pytest.mark.parametrize("symbol,shapes,result,message", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_an_error_with_shapes(symbol, shapes, result, message):
  kinds = tuple(IMAGES if len(shape) == 4 or i == 0 else SHARED for i, shape in enumerate(shapes))
  act = {} if symbol == "JaxfaceNormMoments" else {"act": 0}
  call = native_call(
    symbol, lambda *_: jax.ShapeDtypeStruct(result, jnp.float32), kinds, kinds[0], lambda *_: jnp.zeros(result), **act
  )
  with pytest.raises(jax.errors.JaxRuntimeError, match=message):
    jax.block_until_ready(jax.jit(call)(*map(jnp.ones, shapes)))


def test_another_type_of_shortcut_or_of_parameters_is_an_error():
  x, slope_c, offset_c, _, shortcut = operands(21, (2, 3, 3, 4), None, True)
  with pytest.raises(jax.errors.JaxRuntimeError, match="shortcut is of another type than float32"):
    jax.block_until_ready(affine(None, x, slope_c, offset_c, None, shortcut.astype(jnp.bfloat16)))
  with pytest.raises(jax.errors.JaxRuntimeError, match="parameters is of another type than float32"):
    jax.block_until_ready(affine(None, x, slope_c.astype(jnp.bfloat16), offset_c.astype(jnp.bfloat16), None, None))
