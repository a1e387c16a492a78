"""Class centres on more devices than divide them: padding is no class, and a checkpoint knows nothing of it."""

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
  """State after some steps, and its metrics, on (data, class) devices."""
  config = MeshConfig(devices=devices[0] * devices[1], class_devices=devices[1])
  mesh = make_mesh(config)
  experiment = replace(experiment, terms=terms, mesh=config, ema=0.0)
  step = step_of(experiment, net, get_preprocess("unit", size=8), IDENTITIES, mesh)
  shardings = state_sharding(mesh, jax.eval_shape(step.init, jax.random.key(0)))
  state = jax.jit(step.init, out_shardings=shardings)(jax.random.key(0))
  run = compile_step(step, shardings, batch_sharding(mesh))
  for _ in range(steps):
    state, metrics = run(state, jax.device_put(batch, batch_sharding(mesh)))
  return jax.tree.map(np.asarray, (state, metrics))


@pytest.mark.parametrize("devices", [(2, 4), (1, 8), (1, 3)])
@pytest.mark.parametrize(
  "terms", [TERMS, (Classification(SubcenterArcFace(scale=16.0, subcenters=3)),), (Own(),)], ids=["centers", "subcenters", "own"]
)
def test_padding_changes_no_number(devices, terms, experiment, plain, batch_of, step_of):
  batch = batch_of(48 if 3 in devices else 16, identities=IDENTITIES)
  state, metrics = advanced(step_of, experiment, plain, batch, devices, terms)
  alone, expected = advanced(step_of, experiment, plain, batch, (1, 1), terms)
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=2e-4, atol=1e-5, err_msg=name)
  real = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), alone)
  cut = cut_classes(state, real)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), cut.params, alone.params)
  # What pads stays exactly zero: no gradient, no momentum, no decay reaches it.
  centers = state.params["terms"][0]["center_cd"]
  rows = len(alone.params["terms"][0]["center_cd"])
  assert len(centers) == -(-rows // devices[1]) * devices[1] and not centers[rows:].any()
  for leaf, whole in zip(jax.tree.leaves(state.optimizer), jax.tree.leaves(alone.optimizer)):
    if leaf.shape != whole.shape:
      assert not leaf[len(whole):].any()


# The other direction, from eight devices to fewer, is in test_survival.py.
@pytest.mark.parametrize(
  ("first", "second"),
  [
    ((1, 1), (4, 4)), pytest.param((8, 8), (4, 4), marks=pytest.mark.sweep),
    pytest.param((4, 4), (1, 1), marks=pytest.mark.sweep),
  ],
)
def test_a_run_resumes_with_another_padding(first, second, experiment, few, tmp_path, with_devices, run, stop_at):
  straight = replace(experiment, steps=8, log_every=4, checkpoint_every=8)
  _, expected = run(straight, few, tmp_path / "straight")
  with pytest.raises(Interrupted):
    run(with_devices(straight, *first), few, tmp_path / "run", [stop_at(4)])
  _, rows = run(with_devices(straight, *second), few, tmp_path / "run")
  assert rows[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=2e-4)


def test_centres_of_ones_own_head_are_read_out_class_by_class():
  mesh = make_mesh(MeshConfig(class_devices=4))
  params, _ = Own().init(jax.random.key(0), 8, IDENTITIES)
  (padded,) = pad_classes(mesh, (params,))
  state = SimpleNamespace(params={"terms": (padded,)}, terms=({},))
  assert len(padded["center_cd"]) == 32
  np.testing.assert_array_equal(read_out(Objective((Own(),), IDENTITIES), state, mesh)["own"], params["center_cd"].reshape(IDENTITIES, 24))


def test_centres_of_an_ensemble_are_padded_on_their_second_axis():
  mesh = make_mesh(MeshConfig(class_devices=4))
  tree = {"members_0_5": {"center_cd": jax.numpy.ones((5, 6, 3)), "bias_c": jax.numpy.ones((5, 6))}}
  padded = pad_classes(mesh, tree)
  assert padded["members_0_5"]["center_cd"].shape == (5, 8, 3) and padded["members_0_5"]["bias_c"].shape == (5, 6)
  assert cut_classes(padded, tree)["members_0_5"]["center_cd"].shape == (5, 6, 3)
