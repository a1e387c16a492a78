"""Class centres whose number is not a multiple of the devices: padding is no class and does not bind a checkpoint."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from jaxface.heads.centers import init_centers
from jaxface.heads.classification import Classification
from jaxface.losses.center import CenterLoss
from jaxface.losses.dense import dense_head
from jaxface.losses.margins import ArcFace, SubcenterArcFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training.class_centers import read_out
from jaxface.training.config import MeshConfig
from jaxface.training.interrupt import Interrupted
from jaxface.training.mesh import batch_sharding, cut_classes, make_mesh, pad_classes, state_sharding
from jaxface.training.parts import Objective
from jaxface.training.step import compile_step

IDENTITIES = 10


@dataclass(frozen=True)
class Own:
  """A head of one's own, with a margin of three centres for each class."""

  margin: Any = field(default_factory=lambda: SubcenterArcFace(scale=16.0, subcenters=3))
  weight: float = 1.0

  def init(self, key, embedding_size, num_classes):
    return init_centers(key, num_classes, embedding_size, self.margin.geometry), self.margin.init_state()

  def __call__(self, params, inputs, *, state, step, key):
    x_bd, label_b, weight_b = inputs["embedding_bd"], inputs["label_b"], inputs["weight_b"]
    found = dense_head(params, x_bd, label_b, weight_b, margin=self.margin, state=state, step=step, key=key)
    return found.loss_b * weight_b, found.state, {"right": (found.target_b > found.best_other_b).mean()}


TERMS = (Classification(ArcFace(scale=16.0), label_smoothing=0.1, center_repulsion=0.1), CenterLoss())


@pytest.fixture(scope="module")
def few(source):
  return type(source)(identities=IDENTITIES)


def advanced(step_of, experiment, net, batch, devices, terms, steps=3):
  """State after some steps, without padding, by name, its metrics, and the state with padding."""
  config = MeshConfig(devices=devices)
  mesh = make_mesh(config)
  experiment = replace(experiment, terms=terms, mesh=config, ema=0.0, batch_size=len(batch["label"]))
  step = step_of(experiment, net, get_preprocess("unit", size=8), IDENTITIES, mesh)
  shardings = state_sharding(mesh, step.shapes)
  state = jax.jit(step.init, out_shardings=shardings)(jax.random.key(0))
  run = compile_step(step, shardings, batch_sharding(mesh))
  for _ in range(steps):
    state, metrics = run(state, jax.device_put(batch, batch_sharding(mesh)))
  state, metrics = jax.device_get((state, metrics))
  named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
  real = step.unpadded()
  return {name: leaf[tuple(map(slice, real.get(name, leaf.shape)))] for name, leaf in named.items()}, metrics, named, real


@pytest.mark.parametrize("devices", [8, pytest.param(3, marks=pytest.mark.sweep)])
@pytest.mark.parametrize(
  "terms", [TERMS, (Classification(SubcenterArcFace(scale=16.0, subcenters=3)),), (Own(),)], ids=["centers", "subcenters", "own"]
)
def test_padding_changes_no_number(devices, terms, experiment, plain, batch_of, step_of):
  batch = batch_of(48 if devices == 3 else 16, identities=IDENTITIES)
  state, metrics, padded, real = advanced(step_of, experiment, plain, batch, devices, terms)
  alone, expected, *_ = advanced(step_of, experiment, plain, batch, 1, terms)
  assert state.keys() == alone.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=2e-4, atol=1e-5, err_msg=name)
  for name in alone:
    if name.startswith(("params", "optimizer")):
      np.testing.assert_allclose(state[name], alone[name], rtol=1e-3, atol=1e-5, err_msg=name)
  # Padding is exactly zero after the steps: no gradient, momentum or decay reaches it.
  assert {name for name in real if "center_cd" in name} >= {"params/terms/0/center_cd", "optimizer/1/trace/terms/0/center_cd"}
  for name, shape in real.items():
    assert len(padded[name]) % devices == 0 and not padded[name][shape[0]:].any()
    assert len(padded[name]) > shape[0] or shape[0] % devices == 0


# The other direction, from eight devices to fewer, is in test_survival.py.
@pytest.mark.sweep
@pytest.mark.parametrize(("first", "second"), [(1, 4), pytest.param(4, 1, marks=pytest.mark.sweep)])
def test_a_run_resumes_with_another_padding(first, second, experiment, few, tmp_path, with_devices, run, stop_at):
  straight = replace(experiment, steps=8, log_every=4, checkpoint_every=8)
  _, expected = run(straight, few, tmp_path / "straight")
  with pytest.raises(Interrupted):
    run(with_devices(straight, first), few, tmp_path / "run", [stop_at(4)])
  _, rows = run(with_devices(straight, second), few, tmp_path / "run")
  assert rows[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=2e-4)


def test_centres_of_ones_own_head_are_read_out_class_by_class():
  mesh = make_mesh(MeshConfig(devices=4))
  params, _ = Own().init(jax.random.key(0), 8, IDENTITIES)
  (padded,) = pad_classes(mesh, (params,))
  state = SimpleNamespace(params={"terms": (padded,)}, terms=({},))
  assert len(padded["center_cd"]) == 32
  table = read_out(Objective((Own(),), IDENTITIES), state, mesh)["own"]
  np.testing.assert_array_equal(table.rows(), params["center_cd"].reshape(IDENTITIES, 24))


def test_centres_of_an_ensemble_are_padded_on_their_second_axis():
  mesh = make_mesh(MeshConfig(devices=4))
  tree = {"members_0_5": {"center_cd": jax.numpy.ones((5, 6, 3)), "bias_c": jax.numpy.ones((5, 6))}}
  padded = pad_classes(mesh, tree)
  assert padded["members_0_5"]["center_cd"].shape == (5, 8, 3) and padded["members_0_5"]["bias_c"].shape == (5, 8)
  jax.tree.map(np.testing.assert_array_equal, cut_classes(padded, tree), tree)
