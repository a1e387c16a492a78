"""VGG-Face: the paper's counts, PyTorch's arithmetic, and what the deeper networks share with the first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes
from jaxface.models.vggface import PUBLISHED

CLASSIFIER = 2622 * 4096 + 2622
DEEPEST = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]


@pytest.mark.parametrize(
  ("name", "count"), [("vggface_a", 139_508_670), ("vggface_b", 139_693_182), ("vggface_d", 145_002_878)]
)
def test_counts_with_the_classifier(name, count):
  assert count_parameters(variable_shapes(name, {})["params"]) + CLASSIFIER == count
  assert name in PUBLISHED


def test_count_with_the_projection():
  shapes = variable_shapes("projected", {"backbone": "vggface_d", "embedding_size": 1024})
  assert count_parameters(shapes["params"]) == 138_454_848
  assert create("projected", backbone="vggface_d").convention.name == "vggface"


def test_shapes_of_d_are_those_of_the_papers_table():
  shapes = variable_shapes("vggface_d", {})["params"]
  expected, before = {}, 3
  for stage, (features, convs) in enumerate(DEEPEST, start=1):
    for index in range(1, convs + 1):
      expected[f"conv{stage}_{index}"] = (3, 3, before, features)
      before = features
  # "fc6 7×7×512×4096"
  expected |= {"fc6": (7 * 7 * 512, 4096), "fc7": (4096, 4096)}
  assert {name: leaves["kernel"].shape for name, leaves in shapes.items()} == expected


def test_b_has_all_layers_of_a_and_d_all_of_b():
  a, b, d = (variable_shapes(f"vggface_{letter}", {})["params"] for letter in "abd")
  assert set(b) - set(a) == {"conv1_2", "conv2_2"}
  assert set(d) - set(b) == {"conv3_3", "conv4_3", "conv5_3"}
  assert all(b[name] == a[name] for name in a) and all(d[name] == b[name] for name in b)


@pytest.mark.parametrize(("width", "deviation"), [(1.0, 0.01), (0.25, (2 / (9 * 32)) ** 0.5)])
def test_weights_start_from_the_papers_gaussian_and_in_a_narrow_net_by_hes_rule(width, deviation):
  net = create("vggface_a", width=width, embedding_size=8)

  @jax.jit
  def layer(key):  # nothing else is computed
    return net.init(key, jnp.zeros((1, 16, 16, 3)))["params"]["conv3_1"]

  kernel, bias = (layer(jax.random.key(0))[name] for name in ("kernel", "bias"))
  assert not bias.any()
  assert float(kernel.std()) == pytest.approx(deviation, rel=0.03)
  assert abs(float(kernel.mean())) < 0.03 * deviation


def test_embeddings_and_gradients_equal_pytorchs(random_model):
  torch = pytest.importorskip("torch")
  functional = torch.nn.functional
  saved = random_model("vggface_d", width=1 / 32, embedding_size=8, dropout=0.0, size=40)
  x_bhwc = np.random.default_rng(0).normal(size=(2, 40, 40, 3)).astype(np.float32)
  weight_bd = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)

  params = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), saved.variables["params"])
  x = torch.tensor(x_bhwc).permute(0, 3, 1, 2)
  for stage, (_, convs) in enumerate(DEEPEST, start=1):
    for index in range(1, convs + 1):
      p = params[f"conv{stage}_{index}"]
      x = torch.relu(functional.conv2d(x, p["kernel"].permute(3, 2, 0, 1), p["bias"], padding=1))
    x = functional.max_pool2d(x, 2, ceil_mode=True)
  x = x.permute(0, 2, 3, 1).flatten(1)
  for name in ("fc6", "fc7"):
    x = torch.relu(x @ params[name]["kernel"] + params[name]["bias"])
  (x * torch.tensor(weight_bd)).sum().backward()

  def loss(p):
    out_bd = saved.module.apply({"params": p}, x_bhwc, train=False)
    return (out_bd * weight_bd).sum(), out_bd

  gradient, found = jax.jit(jax.grad(loss, has_aux=True))(saved.variables["params"])
  assert (np.asarray(found) > 0).any()
  np.testing.assert_allclose(found, x.detach().numpy(), rtol=1e-4, atol=1e-5)
  for name in ("conv1_1", "conv3_3", "fc7"):
    expected = params[name]["kernel"].grad.numpy()
    np.testing.assert_allclose(gradient[name]["kernel"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_dropout_thins_out_both_dense_layers_to_what_keeps_the_mean(random_model):
  saved = random_model("vggface_a", width=1 / 32, embedding_size=512, size=32)
  x_bhwc = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
  whole, thinned = jax.jit(
    lambda v, key: [saved.module.apply(v, x_bhwc, train=train, rngs={"dropout": key}) for train in (False, True)]
  )(saved.variables, jax.random.key(0))
  gone = np.asarray(whole > 0) & np.asarray(thinned == 0)
  assert 0.3 < gone.sum() / (whole > 0).sum() < 0.8
