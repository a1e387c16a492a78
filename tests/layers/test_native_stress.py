"""Native calls from many threads at once, over more shapes than are kept, and until nothing more is left behind."""

import gc
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from native_oracle import NATIVE

from jaxface.layers import native
from jaxface.layers.convolution import conv
from jaxface.layers.local_shared import locally_shared_conv
from jaxface.layers.norm_native import train_norm

pytestmark = NATIVE

THREADS, CALLS = 12, 25


@pytest.fixture
def no_cache_of_onednn():
  """oneDNN keeps 1024 primitives of its own: without them a problem that we forgot is made anew."""
  function = native.library().dnnl_set_primitive_cache_capacity
  assert function(0) == 0
  yield
  function(1024)


def block(x, kernel):
  """One of every native function: values, both gradients of a convolution and of a local one, and the norm with its own."""

  def loss(x, kernel):
    ones = jnp.ones(kernel.shape[-1])
    local = locally_shared_conv(x, kernel[None, None], block=x.shape[1], padding="SAME")
    return (train_norm("prelu", 1e-5, conv(x, kernel), ones, ones, 0.25 * ones, None)[0] ** 3 + local**2).sum()

  return jax.value_and_grad(loss, (0, 1))(x, kernel)


def arrays(seed, batch, side):
  rng = np.random.default_rng(seed)
  shapes = (batch, side, side, 4), (3, 3, 4, 8)
  return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def hammer(run, problems):
  """Calls run(*problem) from all threads at once; every result must have the bits that it has when alone."""
  right = [jax.tree.map(np.asarray, run(*problem)) for problem in problems]
  start = threading.Barrier(THREADS)

  def work(number):
    start.wait(60)
    for call in range(CALLS):
      one = (number * CALLS + call) % len(problems)
      jax.tree.map(np.testing.assert_array_equal, run(*problems[one]), right[one])

  with ThreadPoolExecutor(THREADS) as pool:
    for done in [pool.submit(work, number) for number in range(THREADS)]:
      done.result(timeout=120)  # a deadlock is a failure, not a wait for ever


def test_many_threads_hammer_one_primitive():
  hammer(jax.jit(block), [arrays(seed, 6, 12) for seed in range(5)])


def test_many_threads_hammer_many_primitives():
  hammer(jax.jit(block), [arrays(side, batch, side) for batch, side in itertools.product((1, 2, 3), (1, 5, 8))])


def test_many_threads_hammer_all_devices():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  split = NamedSharding(mesh, P("data"))
  problems = [[jax.device_put(x, split), kernel] for x, kernel in (arrays(seed, 16, 6) for seed in range(2))]
  run = jax.jit(block)
  right = [jax.tree.map(np.asarray, run(*problem)) for problem in problems]
  for _ in range(CALLS):
    # All are on their way before the first is looked at.
    results = [run(*problem) for problem in problems * 4]
    for one, expected in zip(results, right * 4, strict=True):
      # What devices add up comes in any order.
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one, expected)


@pytest.mark.sweep
def test_a_thousand_shapes_leave_no_memory_behind(no_cache_of_onednn):
  # Every choice of pads is a problem of its own; the array and the kernel stay the same.
  pads = list(itertools.product(range(4), range(4), range(8), range(8)))
  assert len(pads) == 1024  # twice as many as are kept
  x, kernel = jnp.ones((1, 2, 2, 16)), jnp.ones((2, 2, 16, 16))

  conv(x, kernel)  # makes the handler known

  def padded(x, kernel, pad):
    # Straight to the handler: what JAX adds takes longer to compile.
    result = jax.ShapeDtypeStruct((1, 1, 1 + sum(pad[:2]), 1 + sum(pad[2:]), 16), jnp.float32)
    attributes = {"kind": 0, "window": (1, 1, *pad, 1, 1), "groups": 1, "bf16_math": 0}
    attributes = {name: np.asarray(value, np.int64)[()] for name, value in attributes.items()}
    return jax.ffi.ffi_call("jaxface_JaxfaceConv", result)(x[None], kernel[None], **attributes).ravel()

  def some(chosen):
    return jax.jit(lambda x, k: jnp.concatenate([padded(x, k, pad) for pad in chosen]))

  programs = [some(pads[i::8]) for i in range(8)]
  # Along each axis two taps meet two pixels, but for the outer pairs, which take a pad on their side.
  meetings = sum((2 + (a > 0) + (b > 0)) * (2 + (c > 0) + (d > 0)) for a, b, c, d in pads)

  def once():
    assert sum(float(program(x, kernel).sum()) for program in programs) == 16 * 16 * meetings
    gc.collect()
    return psutil.Process().memory_info().rss, len(jax.live_arrays())

  once(), once()
  before, arrays_before = once()
  once()
  after, arrays_after = once()
  assert arrays_after == arrays_before
  # 2048 primitives were made meanwhile, each of 10 kB and more.
  assert after - before < 10 << 20, f"{(after - before) / 2**20:.1f} MiB more"


def test_a_large_call_gives_its_scratch_memory_back():
  kernel_bytes = 3 * 3 * 1024 * 1024 * 4
  many = 8  # their copies in oneDNN's layout are more than is kept from call to call
  x, kernel = jnp.ones((many, 1, 1, 1, 1024)), jnp.ones((many, 3, 3, 1024, 1024))
  assert many * kernel_bytes > 256 << 20
  run = jax.jit(jax.vmap(conv))
  run(x[:1], kernel[:1]).block_until_ready()
  before = psutil.Process().memory_info().rss
  for _ in range(2):
    assert (run(x, kernel) == 1024).all()
  assert psutil.Process().memory_info().rss - before < many * kernel_bytes // 4
