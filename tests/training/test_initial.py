"""A run begins with a saved network, whole or frozen under a projection that alone moves."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxface.checkpoint import WrongCheckpoint
from jaxface.losses.triplet_term import TripletLoss
from jaxface.models.config import ModelConfig
from jaxface.models.saved import SavedModel, load_model, save_model
from jaxface.training.optimizer import OptimizerConfig

TINY = {"patch": 2, "widths": (8, 16), "units": (1, 1)}


@pytest.fixture(scope="module")
def base(experiment):
  model = ModelConfig("smallresnet", size=16, embedding_size=8, options=TINY)
  return replace(experiment, model=model, steps=4, checkpoint_every=50)


@pytest.fixture(scope="module")
def saved(base, source, run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("first")
  trained, _ = run(base, source, folder)
  save_model(folder / "model", SavedModel("smallresnet", trained.options, trained.preprocess, trained.variables))
  return folder


def with_projection(base, saved, **changes):
  model = ModelConfig(
    "projected", size=16, embedding_size=6, init_from=str(saved),
    options={"backbone": "smallresnet", "backbone_options": {**TINY, "embedding_size": 8}},
  )
  return replace(base, model=model, terms=(TripletLoss(),), **changes)


class KeepFirst:
  """The network before the first step."""

  def due(self, step, last):
    return step == 0

  def __call__(self, step, variables):
    self.variables = jax.tree.map(np.asarray, variables)
    return {}


def test_a_run_begins_with_the_saved_network(base, saved, source, run, tmp_path):
  first = KeepFirst()
  run(replace(base, model=replace(base.model, init_from=str(saved))), source, tmp_path, [first])
  jax.tree.map(np.testing.assert_array_equal, first.variables, load_model(saved).variables)


@pytest.mark.parametrize(
  ("optimizer", "ema"), [(OptimizerConfig(weight_decay=0.1), 0.9), (OptimizerConfig("adamw", weight_decay=0.1), 0.0)]
)
def test_only_the_projection_moves(optimizer, ema, base, saved, source, run, tmp_path):
  first = KeepFirst()
  trained, _ = run(with_projection(base, saved, optimizer=optimizer, ema=ema), source, tmp_path, [first])
  expected = load_model(saved).variables
  for collection in ("params", "batch_stats"):
    jax.tree.map(np.testing.assert_array_equal, trained.variables[collection]["frozen"], expected[collection])
  before, after = (v["params"]["projection"]["kernel"] for v in (first.variables, trained.variables))
  np.testing.assert_allclose(before.T @ before, np.eye(6), atol=1e-5)
  assert np.abs(after - before).max() > 1e-4


def test_a_projected_model_is_saved_and_read_as_any_other(base, saved, source, run, tmp_path):
  trained, _ = run(with_projection(base, saved), source, tmp_path)
  save_model(tmp_path / "model", SavedModel("projected", trained.options, trained.preprocess, trained.variables))
  model = load_model(tmp_path)
  image = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
  inner = load_model(saved)
  feature_bd = np.asarray(inner.embed(inner.variables, image))
  feature_bd = feature_bd / np.linalg.norm(feature_bd, axis=1, keepdims=True)
  expected = feature_bd @ model.variables["params"]["projection"]["kernel"]
  np.testing.assert_allclose(model.embed(model.variables, image), expected, rtol=1e-4, atol=1e-6)


def test_another_network_or_input_is_refused(base, saved, source, run, tmp_path):
  wider = replace(base.model, embedding_size=12, init_from=str(saved))
  with pytest.raises(WrongCheckpoint, match=r"model\.init_from .* leaf 'embedding_norm/bias' is float32\[8\], expected"):
    run(replace(base, model=wider), source, tmp_path / "a")
  other = replace(base.model, preprocess="imagenet", init_from=str(saved))
  with pytest.raises(ValueError, match=r"its network takes .*unit.* this run gives .*imagenet"):
    run(replace(base, model=other), source, tmp_path / "b")
  with pytest.raises(FileNotFoundError, match=r"model\.json"):
    run(replace(base, model=replace(base.model, init_from=str(tmp_path))), source, tmp_path / "c")
