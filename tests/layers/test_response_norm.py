"""Local response normalisation against its definition, PyTorch and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.layers.response_norm import local_response_norm


def oracle(x, n, k, alpha, beta):
  y = np.empty_like(x)
  for c in range(x.shape[-1]):
    near = x[..., max(0, c - n // 2) : c + n // 2 + 1]
    y[..., c] = x[..., c] / (k + alpha * (near**2).sum(-1)) ** beta
  return y


@settings(max_examples=15)
@given(n=st.sampled_from([1, 3, 5, 9]), k=st.floats(0.5, 2), alpha=st.floats(0, 1), beta=st.sampled_from([0.5, 0.75, 1.0]))
def test_each_channel_is_divided_by_its_neighbours(n, k, alpha, beta):
  x = np.random.default_rng(0).normal(0, 2, (2, 3, 7)).astype(np.float32)
  y = jax.jit(lambda x: local_response_norm(x, n=n, k=k, alpha=alpha, beta=beta))(x)
  np.testing.assert_allclose(y, oracle(x, n, k, alpha, beta), rtol=1e-5)


def test_value_and_gradient_are_pytorchs_whose_alpha_is_n_times_ours():
  torch = pytest.importorskip("torch")
  x = np.random.default_rng(1).normal(0, 3, (2, 4, 5, 8)).astype(np.float32)
  t = torch.tensor(x, requires_grad=True)
  y = torch.nn.functional.local_response_norm(t.permute(0, 3, 1, 2), 5, alpha=5 * 0.1, beta=0.75, k=1.0)
  (y**2).sum().backward()
  value, slope = jax.value_and_grad(lambda x: (local_response_norm(x, k=1.0, alpha=0.1) ** 2).sum())(x)
  np.testing.assert_allclose(value, (y**2).sum().item(), rtol=1e-5)
  np.testing.assert_allclose(slope, t.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beta", [0.6, 0.75])
def test_gradients_against_finite_differences(beta):
  with jax.enable_x64(True):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 2, 6)))
    check_grads(jax.jit(lambda x: local_response_norm(x, n=3, alpha=0.5, beta=beta)), (x,), 2, ["rev"])


def test_bfloat16_is_float32_rounded_once():
  x = jnp.asarray(np.random.default_rng(3).normal(size=(4, 16)), jnp.bfloat16)
  y = jax.jit(local_response_norm)(x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(y, local_response_norm(x.astype(jnp.float32)).astype(jnp.bfloat16))


def test_vmap_normalises_each_stack_alone():
  x = np.random.default_rng(4).normal(size=(3, 2, 4, 8)).astype(np.float32)
  slope = jax.grad(lambda x: (local_response_norm(x, alpha=0.3) ** 2).sum())
  np.testing.assert_allclose(jax.vmap(slope)(x), np.stack([slope(one) for one in x]), rtol=1e-5)


def test_an_even_number_of_channels_is_refused():
  with pytest.raises(ValueError, match="4 channels: needs a positive odd number"):
    local_response_norm(jnp.zeros((1, 8)), n=4)
