"""An array that goes through a call is what it was, and is not computed again by what reads it."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from native_oracle import NATIVE, arrays, data_mesh

from jaxface.layers.native_call import IMAGES, native_call
from jaxface.layers.settled import settled

pytestmark = NATIVE


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32])
def test_it_is_the_array_even_where_another_still_reads_it(dtype):
  x = (10 * arrays(0, (3, 4, 5))[0]).astype(dtype)
  both = jax.jit(lambda x: (settled(x + x), settled(x) + x, x))(x)
  for found, right in zip(both, (x + x, x + x, x)):
    np.testing.assert_array_equal(found, right)
  given = jnp.array(x)
  np.testing.assert_array_equal(jax.jit(settled, donate_argnums=0)(given), x)


def test_gradients_of_any_order():
  (x,) = arrays(1, (2, 3))
  check_grads(lambda x: (settled(x * x) ** 2).sum(), (x,), order=2, modes=["rev"], rtol=1e-2, atol=1e-2)


def test_vmap_and_mesh():
  (x,) = arrays(2, (3, 8, 2))
  np.testing.assert_array_equal(jax.vmap(settled)(x), x)
  split = NamedSharding(data_mesh(8), P("data"))
  compiled = jax.jit(jax.grad(lambda x: (settled(x) ** 2).sum())).lower(jax.device_put(x[0], split)).compile()
  assert "all-gather" not in compiled.as_text()
  np.testing.assert_allclose(compiled(jax.device_put(x[0], split)), 2 * x[0], rtol=1e-6)


def widest_fusion(depth, keep):
  """Of the gradient of a network that adds to one array: how many arrays the busiest of its fusions reads."""
  x, *kernels = arrays(3, (4, 9, 16), *[(16, 16)] * depth)

  def loss(kernels):
    y = x
    for kernel in kernels:
      z = (y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)
      y = keep(y + jnp.maximum(z @ kernel, 0) @ kernel)
    return (y**2).sum()

  text = jax.jit(jax.grad(loss)).lower(kernels).compile().as_text()
  return max(line.count("%") for line in text.splitlines() if " fusion(" in line)


def test_no_block_computes_the_sum_of_those_before_it():
  assert widest_fusion(16, settled) <= widest_fusion(4, settled) + 2
  # Should XLA mend this by itself, `settled` can go.
  assert widest_fusion(16, lambda x: x) > 2 * widest_fusion(4, lambda x: x)


def test_another_size_is_an_error():
  call = native_call(
    "JaxfaceSettle", lambda x: jax.ShapeDtypeStruct((1, 2), x.dtype), (IMAGES,), IMAGES, lambda x: x[:, :2]
  )
  with pytest.raises(jax.errors.JaxRuntimeError, match=r"x is \[1, 3\], result \[1, 2\]"):
    jax.block_until_ready(jax.jit(call)(jnp.ones((1, 3))))
