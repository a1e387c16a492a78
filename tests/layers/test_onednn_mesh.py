"""oneDNN's convolutions on meshes: the batch is split, kernels' gradients are summed, nothing is gathered."""


import jax
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from native_oracle import NATIVE, arrays, assert_close, data_mesh, in_float64, reference

from jaxface.layers.convolution import conv

pytestmark = NATIVE


MESHES = {"one axis": ((8,), P("data")), "two axes": ((4, 2), P(("data", "model"))), "one of two": ((4, 2), P("data"))}


@pytest.mark.parametrize("shape,spec", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("keywords", [{}, {"strides": (2, 2)}, {"groups": 8}], ids=["plain", "stride", "depthwise"])
def test_a_mesh_splits_the_batch_and_sums_kernel_gradients(shape, spec, keywords):
  x, kernel = arrays(13, (16, 6, 6, 8), (3, 3, 8 // keywords.get("groups", 1), 8))
  mesh = data_mesh(*shape)
  split, whole = NamedSharding(mesh, spec), NamedSharding(mesh, P())

  def step(function):
    return jax.grad(lambda x, k: (function(x, k, **keywords) ** 2).sum(), (0, 1))

  given = jax.device_put(x, split), jax.device_put(kernel, whole)
  compiled = jax.jit(step(conv)).lower(*given).compile()
  text = compiled.as_text()
  assert "all-gather" not in text and "all-to-all" not in text and "collective-permute" not in text
  assert "all-reduce" in text
  dx, dkernel = compiled(*given)
  assert dx.sharding.is_equivalent_to(split, 4) and dkernel.sharding.is_fully_replicated
  assert_close((dx, dkernel), in_float64(step(reference), x, kernel)[0])


def test_an_ensemble_split_over_its_members_and_its_images():
  x, kernel = arrays(14, (4, 8, 5, 5, 3), (4, 3, 3, 3, 4))
  mesh = data_mesh(4, 2)
  given = (
    jax.device_put(x, NamedSharding(mesh, P("data", "model"))), jax.device_put(kernel, NamedSharding(mesh, P("data")))
  )

  def step(function):
    return jax.vmap(jax.grad(lambda x, k: (function(x, k) ** 2).sum(), (0, 1)))

  compiled = jax.jit(step(conv)).lower(*given).compile()
  assert "all-gather" not in compiled.as_text() and "all-to-all" not in compiled.as_text()
  assert_close(compiled(*given), in_float64(step(reference), x, kernel)[0])


@pytest.mark.parametrize("spec", [P(None, "data"), P("data")], ids=["images", "sets of images"])
def test_images_mapped_under_one_kernel_stay_where_they_are(spec):
  x, kernel = arrays(17, (8, 8, 4, 4, 3), (3, 3, 3, 4))
  mesh = data_mesh(8)
  given = jax.device_put(x, NamedSharding(mesh, spec)), jax.device_put(kernel, NamedSharding(mesh, P()))

  def step(function):
    return jax.grad(lambda x, k: (jax.vmap(function, (0, None))(x, k) ** 2).sum(), (0, 1))

  compiled = jax.jit(step(conv)).lower(*given).compile()
  assert "all-gather" not in compiled.as_text() and "all-to-all" not in compiled.as_text()
  assert_close(compiled(*given), in_float64(step(reference), x, kernel)[0])


@pytest.mark.parametrize("batch", [1, 3, 12])
def test_a_batch_that_the_mesh_does_not_divide(batch):
  x, kernel = arrays(15, (16, 5, 5, 3), (3, 3, 3, 4))
  mesh = data_mesh(8)

  def step(function):
    return lambda x, k: jax.value_and_grad(lambda x, k: (function(x[:batch], k) ** 2).sum(), (0, 1))(x, k)

  actual = jax.jit(step(conv))(jax.device_put(x, NamedSharding(mesh, P("data"))), kernel)
  assert_close(actual, in_float64(step(reference), x, kernel)[0])


def test_inside_shard_map_each_device_convolves_its_own():
  x, kernel = arrays(16, (16, 5, 5, 3), (3, 3, 3, 4))
  mesh = data_mesh(8)

  def local(x, k):
    assert x.shape[0] == 2
    dx, dkernel = jax.grad(lambda x, k: (conv(x, k) ** 2).sum(), (0, 1))(x, k)
    return dx, lax.psum(dkernel, "data")

  run = jax.jit(jax.shard_map(
    local, mesh=mesh, in_specs=(P("data"), P()), out_specs=(P("data"), P()), check_vma=False
  ))
  expected = in_float64(jax.grad(lambda x, k: (reference(x, k) ** 2).sum(), (0, 1)), x, kernel)[0]
  assert_close(run(x, kernel), expected)
