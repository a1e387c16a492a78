"""SphereFace: counts, PyTorch's arithmetic, and residual units that begin close to the identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes
from jaxface.models.sphereface import PUBLISHED


def by_hand(units):
  """Kernels, biases and slopes of each stage, and fc5 on 7×6 pixels."""
  total, before = 7 * 6 * 512 * 512 + 512, 3
  for features, count in zip((64, 128, 256, 512), units):
    total += 9 * before * features + 2 * features + count * 2 * (9 * features * features + 2 * features)
    before = features
  return total


@pytest.mark.parametrize(
  ("name", "units", "count"),
  [
    ("sphereface4", (0, 0, 0, 0), 12_562_496),
    ("sphereface20", (1, 2, 4, 1), 22_670_656),
    ("sphereface36", (2, 4, 8, 2), 32_778_816),
    ("sphereface64", (3, 8, 16, 3), 48_200_512),
  ],
)
def test_counts(name, units, count):
  assert by_hand(units) == count
  assert count_parameters(variable_shapes(name, {})["params"]) == count
  # The number in the name: convolutions.
  assert 4 + 2 * sum(units) == int(name.removeprefix("sphereface"))
  # A norm has a scale more than a bias, for each convolution's channels.
  channels = sum(f * (1 + 2 * n) for f, n in zip((64, 128, 256, 512), units))
  normed = count_parameters(variable_shapes(name, {"norm": True})["params"])
  assert normed - count == channels
  assert create(name).convention.size == (112, 96)


def test_published_figures_are_of_registered_names():
  assert set(PUBLISHED) <= {"sphereface4", "sphereface20", "sphereface36", "sphereface64"}


def test_embeddings_and_gradients_equal_pytorchs(random_model):
  torch = pytest.importorskip("torch")
  saved = random_model("sphereface20", width=1 / 16, embedding_size=8)
  x_bhwc = np.random.default_rng(0).normal(size=(2, 19, 16, 3)).astype(np.float32)
  variables = jax.tree.map(np.copy, saved.variables)
  # 19×16 pixels halve to 2×1.
  variables["params"]["fc5"]["kernel"] = np.random.default_rng(2).normal(size=(2 * 32, 8)).astype(np.float32)
  weight_bd = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)

  params = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), variables["params"])

  def layer(x, name, stride=1):
    p = params[name]
    x = torch.nn.functional.conv2d(x, p["conv"]["kernel"].permute(3, 2, 0, 1), p["conv"]["bias"], stride, padding=1)
    return torch.nn.functional.prelu(x, p["act"]["alpha"])

  x = torch.tensor(x_bhwc).permute(0, 3, 1, 2)
  for stage, units in enumerate((1, 2, 4, 1), start=1):
    x = layer(x, f"conv{stage}_1", 2)
    for unit in range(units):
      x = x + layer(layer(x, f"conv{stage}_{2 * unit + 2}"), f"conv{stage}_{2 * unit + 3}")
  x = x.permute(0, 2, 3, 1).flatten(1) @ params["fc5"]["kernel"] + params["fc5"]["bias"]
  (x * torch.tensor(weight_bd)).sum().backward()

  def loss(p):
    out_bd = saved.module.apply({"params": p}, x_bhwc, train=False)
    return (out_bd * weight_bd).sum(), out_bd

  gradient, found = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
  np.testing.assert_allclose(found, x.detach().numpy(), rtol=1e-3, atol=1e-4 * np.abs(found).max())
  for name, key, leaf in (("conv1_1", "conv", "kernel"), ("conv3_9", "act", "alpha"), ("conv4_3", "conv", "bias")):
    expected = params[name][key][leaf].grad.numpy()
    np.testing.assert_allclose(gradient[name][key][leaf], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_what_everything_passes_through_starts_by_xavier_and_the_branches_near_zero():
  net = create("sphereface20", width=0.25)

  @jax.jit
  def kernels(key):
    params = net.init(key, jnp.zeros((1, 16, 16, 3)))["params"]
    return [params[name]["conv"]["kernel"] for name in ("conv3_1", "conv3_2", "conv3_9")]

  down, *branches = kernels(jax.random.key(0))
  # Caffe's: uniform up to sqrt(3 / fan-in).
  bound = (3 / (9 * 32)) ** 0.5
  assert 0.99 * bound < float(jnp.abs(down).max()) <= bound
  for branch in branches:
    assert float(branch.std()) == pytest.approx(0.01, rel=0.02)
