"""Locally connected and locally shared layers in native code, against the pure form in float64, itself held to loops in NumPy."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from native_oracle import NATIVE, arrays, assert_close, assert_rounded, data_mesh, forms, in_float64, refused

from jaxface.layers.formulation import formulation
from jaxface.layers.local import locally_connected, output_size
from jaxface.layers.local_shared import locally_shared_conv

pytestmark = NATIVE


def layer_of(block, **keywords):
  """One layer in both forms of its public function."""
  if block == 1:
    return partial(locally_connected, **keywords)
  return partial(locally_shared_conv, block=block, **keywords)


def oracle_of(layer, *given):
  """The pure form of `layer` in float64: values and gradients, and the bounds of rounding."""
  with formulation("pure"):
    return in_float64(lambda *a: forms(layer, *a), *given)


def problem(seed, batch, size, kernel_size, strides, padding, channels, block=1, dtype=jnp.float32):
  """Images, kernels and a gradient of the result; only where a window fits."""
  try:
    out, _ = output_size(size, kernel_size, strides, padding)
  except ValueError:
    assume(False)
  regions = tuple(-(-n // block) for n in out)
  return arrays(
    seed, (batch, *size, channels[0]), (*regions, *kernel_size, *channels), (batch, *out, channels[1]), dtype=dtype
  )


PADS = st.tuples(st.integers(0, 3), st.integers(0, 3))


# Shrinking would compile for minutes.
@settings(max_examples=30, phases=(Phase.explicit, Phase.generate))
@given(
  batch=st.sampled_from([1, 2, 5, 8, 17, 33]),
  size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
  kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
  strides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
  padding=st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(PADS, PADS)),
  channels=st.sampled_from([(1, 1), (3, 2), (2, 16), (5, 17), (4, 40), (7, 32), (16, 60)]),
  block=st.integers(1, 4),
  dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_values_and_both_gradients(batch, size, kernel_size, strides, padding, channels, block, dtype):
  x, kernel, dy = problem(0, batch, size, kernel_size, strides, padding, channels, block, dtype)
  layer = layer_of(block, strides=strides, padding=padding)
  actual = jax.jit(lambda *a: forms(layer, *a))(x, kernel, dy)
  assert all(a.dtype == dtype for a in actual)
  assert_rounded(actual, oracle_of(layer, x, kernel, dy))


def test_it_is_native_code_that_runs():
  x, kernel, dy = problem(1, 2, (5, 5), (3, 3), (1, 1), "VALID", (2, 3))
  text = jax.jit(lambda *a: forms(locally_connected, *a)).lower(x, kernel, dy).as_text()
  assert text.count("jaxface_JaxfaceLocal") >= 3
  shared, _ = arrays(1, (2, 2, 3, 3, 2, 3), ())
  assert "jaxface_JaxfaceLocal" in jax.jit(partial(locally_shared_conv, block=2)).lower(x, shared).as_text()


def test_cropping_and_other_types_go_elsewhere():
  x, kernel, _ = problem(2, 2, (6, 6), (3, 3), (1, 1), ((-1, 0), (0, 0)), (2, 3))
  layer = partial(locally_connected, padding=((-1, 0), (0, 0)))
  assert "jaxface_JaxfaceLocal" not in jax.jit(layer).lower(x, kernel).as_text()
  assert_close(layer(x, kernel), locally_connected(x[:, 1:], kernel))
  with jax.enable_x64(True):
    wide = [jnp.asarray(np.asarray(a), jnp.float64) for a in (x[:, 1:], kernel)]
    assert_close(locally_connected(*wide), locally_connected(x[:, 1:], kernel))


@pytest.mark.parametrize("block", [1, 2])
def test_gradients_of_any_order_are_finite_differences(block):
  x, kernel, _ = problem(3, 2, (5, 4), (2, 3), (2, 1), "SAME", (2, 3), block)
  layer = layer_of(block, strides=(2, 1), padding="SAME")
  check_grads(jax.jit(layer), (x, kernel), order=2, modes=["rev"], rtol=2e-2, atol=2e-2, eps=1e-2)


def test_what_is_not_a_number_stays_where_it_is_seen():
  x, kernel, dy = problem(4, 5, (6, 6), (3, 3), (1, 1), "VALID", (2, 5))
  run = jax.jit(lambda *a: forms(locally_connected, *a))
  right = run(x, kernel, dy)
  y, dx, dkernel = run(x, kernel.at[2, 1].set(jnp.nan), dy)
  assert np.isnan(y[:, 2, 1]).all() and np.isnan(dx[:, 2:5, 1:4]).all()
  np.testing.assert_array_equal(np.delete(np.asarray(y).reshape(5, 16, 5), 9, 1), np.delete(np.asarray(right[0]).reshape(5, 16, 5), 9, 1))
  assert np.isfinite(dx).sum() == 5 * 2 * (36 - 9)
  np.testing.assert_array_equal(dkernel, right[2])
  y, dx, dkernel = run(x.at[3].set(jnp.inf), kernel, dy)
  np.testing.assert_array_equal(np.delete(y, 3, 0), np.delete(right[0], 3, 0))
  assert not np.isfinite(dkernel).any()


def test_numbers_that_an_earlier_call_left_in_scratch_memory_are_not_seen():
  run = jax.jit(lambda *a: forms(partial(locally_connected, padding="SAME"), *a))
  jax.block_until_ready(run(*(jnp.full_like(a, jnp.nan) for a in problem(5, 9, (9, 9), (4, 4), (1, 1), "SAME", (8, 40)))))
  given = problem(5, 3, (6, 6), (3, 3), (1, 1), "SAME", (5, 7))
  assert_rounded(run(*given), oracle_of(partial(locally_connected, padding="SAME"), *given))


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("block", [1, 2])
def test_vmap(axes, block):
  layer = layer_of(block)
  problems = [problem(10 + m, 3, (5, 5), (3, 3), (1, 1), "VALID", (2, 4), block) for m in range(3)]
  x, kernel, dy = (jnp.stack(part) for part in zip(*problems))
  given = [part if axis == 0 else part[0] for part, axis in zip((x, kernel), axes)]
  together = jax.jit(jax.vmap(lambda *a: forms(layer, *a), (*axes, 0)))(*given, dy)
  for m in range(3):
    alone = [part[m] if axis == 0 else part[0] for part, axis in zip((x, kernel), axes)]
    assert_close([part[m] for part in together], forms(layer, *alone, dy[m]))


@pytest.mark.parametrize("block", [1, 2])
def test_a_mesh_splits_the_batch_and_sums_kernel_gradients(block):
  x, kernel, _ = problem(6, 16, (6, 6), (3, 3), (1, 1), "SAME", (3, 8), block)
  mesh = data_mesh(8)
  split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
  step = jax.grad(lambda x, k: (layer_of(block, padding="SAME")(x, k) ** 2).sum(), (0, 1))
  given = jax.device_put(x, split), jax.device_put(kernel, whole)
  compiled = jax.jit(step).lower(*given).compile()
  assert not any(word in compiled.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))
  dx, dkernel = compiled(*given)
  assert dx.sharding.is_equivalent_to(split, 4) and dkernel.sharding.is_fully_replicated
  with formulation("pure"):
    assert_close((dx, dkernel), in_float64(step, x, kernel)[0])


def test_the_same_bits_every_time():
  given = problem(7, 33, (12, 12), (5, 5), (1, 1), "SAME", (8, 16))
  run = jax.jit(lambda *a: forms(partial(locally_connected, padding="SAME"), *a))
  first = run(*given)
  for _ in range(5):
    for one, other in zip(run(*given), first):
      np.testing.assert_array_equal(one, other)


BITS = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import hashlib
import jax, numpy as np
from jaxface.layers.local import locally_connected
rng = np.random.default_rng(0)
x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((17, 9, 9, 3), (7, 7, 3, 3, 3, 20)))
y, pull = jax.vjp(locally_connected, x, kernel)
print(*(hashlib.sha256(np.asarray(part).tobytes()).hexdigest() for part in (y, *pull(y))))
"""


def test_the_same_bits_on_any_number_of_threads():
  if len(os.sched_getaffinity(0)) < 2:
    pytest.skip("there is one core only")
  run = [subprocess.run([sys.executable, "-c", BITS, n], capture_output=True, text=True, check=True) for n in "12"]
  assert run[0].stdout == run[1].stdout and len(run[0].stdout.split()) == 3


def test_without_images_or_channels():
  for x_shape, channels in (((0, 5, 5, 2), (2, 3)), ((2, 5, 5, 0), (0, 3)), ((2, 5, 5, 2), (2, 0))):
    x, kernel, dy = jnp.ones(x_shape), jnp.ones((3, 3, 3, 3, *channels)), jnp.ones((x_shape[0], 3, 3, channels[1]))
    for part, like in zip(jax.jit(lambda *a: forms(locally_connected, *a))(x, kernel, dy), (dy, x, kernel)):
      assert part.shape == like.shape and not np.asarray(part).any()


CALL = {"window": (1, 1, 0, 0), "block": 1, "kind": 0}
X, K, Y = (1, 2, 5, 5, 4), (1, 3, 3, 3, 3, 4, 8), (1, 2, 3, 3, 8)
WRONG = {
  "images without a batch": ((X[1:], K, Y), {}, r"images is \[2, 5, 5, 4\]: takes 5 axes"),
  "kernels of one axis": ((X, (8,), Y), {}, r"kernels is \[8\]: takes 7 axes"),
  "regions": ((X, K, Y), {"block": 2}, r"kernels is \[1, 3, 3, 3, 3, 4, 8\]: takes \[2, 2, 3, 3, 4, 8\]"),
  "channels": ((X, (1, 3, 3, 3, 3, 5, 8), Y), {}, r"takes \[3, 3, 3, 3, 4, 8\]"),
  "number of kernels": ((X, (2, *K[1:]), Y), {}, r"kernels is \[2, 3, 3, 3, 3, 4, 8\]"),
  "batch of the result": ((X, K, (1, 3, 3, 3, 8)), {}, r"result is \[1, 3, 3, 3, 8\]: takes \[1, 2, 3, 3, 8\]"),
  "short window": ((X, K, Y), {"window": (1, 1)}, r"window is \[1, 1\]: takes strides and pads"),
  "no strides": ((X, K, Y), {"window": (0, 1, 0, 0)}, r"window is \[0, 1, 0, 0\] with regions of 1: takes strides"),
  "no regions": ((X, K, Y), {"block": 0}, r"with regions of 0: takes strides and regions from 1"),
  "cropping": ((X, K, Y), {"window": (1, 1, -1, 0)}, r"window is \[1, 1, -1, 0\]"),
  "kind": ((X, K, Y), {"kind": 3}, "there is no kind 3"),
  "number of gradients": (((2, *X[1:]), (2, *Y[1:]), K), {"kind": 2}, "kernels are not as many as images"),
}


@pytest.mark.parametrize("shapes,changes,message", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_an_error_with_shapes(shapes, changes, message):
  refused("JaxfaceLocal", *((shape, "float32") for shape in shapes), message, **CALL | changes)


def test_types_that_do_not_fit_are_an_error():
  given = (X, "float32"), (K, "bfloat16"), (Y, "float32")
  refused("JaxfaceLocal", *given, "kernels is of another type than float32", **CALL)
