"""A run begins with a saved network, whole or frozen under a projection that alone moves."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxface.checkpoint import WrongCheckpoint
from jaxface.losses.triplet_term import TripletLoss
from jaxface.models.config import ModelConfig, make_model
from jaxface.models.saved import SavedModel, load_model, save_model, variable_shapes
from jaxface.models.take_over import Contradiction
from jaxface.training.initial import begin_from
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


def test_a_run_begins_with_the_saved_network(base, saved, source, run, tmp_path, keep_first):
  first = keep_first()
  run(replace(base, model=replace(base.model, init_from=str(saved))), source, tmp_path, [first])
  jax.tree.map(np.testing.assert_array_equal, first.variables, load_model(saved).variables)


@pytest.mark.parametrize(
  ("optimizer", "ema"), [(OptimizerConfig(weight_decay=0.1), 0.9), (OptimizerConfig("adamw", weight_decay=0.1), 0.0)]
)
def test_only_the_projection_moves(optimizer, ema, base, saved, source, run, tmp_path, keep_first):
  first = keep_first()
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
  with pytest.raises(Contradiction, match=r"model\.embedding_size 12 contradicts model\.init_from .* a smallresnet with 8"):
    run(replace(base, model=wider), source, tmp_path / "a")
  other = replace(base.model, preprocess="imagenet", init_from=str(saved))
  with pytest.raises(ValueError, match=r"model\.preprocess imagenet contradicts .* with unit: omit model\.preprocess"):
    run(replace(base, model=other), source, tmp_path / "b")
  with pytest.raises(FileNotFoundError, match=r"model\.json"):
    run(replace(base, model=replace(base.model, init_from=str(tmp_path))), source, tmp_path / "c")


def tiny_vggface(name, **changes):
  return ModelConfig(name, size=16, embedding_size=8, options={"width": 1 / 32, **changes})


@pytest.fixture(scope="module")
def trained_a(tmp_path_factory):
  """A tiny network A, as if trained."""
  folder = tmp_path_factory.mktemp("a")
  _, options, preprocess = make_model(tiny_vggface("vggface_a"))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variable_shapes("vggface_a", options, preprocess)
  )
  save_model(folder / "model", SavedModel("vggface_a", options, preprocess, variables))
  return folder


@pytest.fixture
def first_state(experiment, step_of):
  def first_state(config, ema=0.0):
    module, _, preprocess = make_model(config)
    step = step_of(replace(experiment, model=config, ema=ema), module, preprocess, 16)
    rng = np.random.default_rng(1)
    shapes = step.shapes
    # Any numbers do, and compiling the real random ones takes long.
    state = jax.tree.map(lambda leaf: jax.device_put(rng.normal(size=leaf.shape).astype(leaf.dtype)), shapes)
    return state, preprocess, getattr(module, "grows_from", ())

  return first_state


@pytest.mark.parametrize(("name", "new"), [
  ("vggface_a", set()),
  ("vggface_b", {"conv1_2", "conv2_2"}),
  ("vggface_d", {"conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"}),
])
def test_b_and_d_begin_with_a_and_their_new_layers_at_random(name, new, trained_a, first_state):
  state, preprocess, grows_from = first_state(tiny_vggface(name), ema=0.9)
  assert grows_from == ("vggface_a",)
  begun = begin_from(str(trained_a), state, preprocess, grows_from).state
  expected = load_model(trained_a).variables["params"]
  found = begun.params["model"]
  assert set(found) - set(expected) == new
  for layer in found:
    source = state.params["model"] if layer in new else expected
    jax.tree.map(np.testing.assert_array_equal, found[layer], source[layer])
  jax.tree.map(np.testing.assert_array_equal, begun.ema["params"], found)


def test_a_network_that_grows_is_strict_about_shapes_and_names(trained_a, first_state, tmp_path):
  state, preprocess, grows_from = first_state(tiny_vggface("vggface_b", width=1 / 16))
  with pytest.raises(WrongCheckpoint, match=r"leaf 'conv1_1/bias' is float32\[2\], expected float32\[4\]"):
    begin_from(str(trained_a), state, preprocess, grows_from)
  state, preprocess, _ = first_state(tiny_vggface("vggface_b"))
  with pytest.raises(WrongCheckpoint, match=r"no leaf 'conv1_2/bias'"):
    begin_from(str(trained_a), state, preprocess)

  # D is no stage on the way to B: it has layers that would be lost, and is not in the list.
  _, options, convention = make_model(tiny_vggface("vggface_d"))
  deeper = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), variable_shapes("vggface_d", options, convention))
  save_model(tmp_path / "d", SavedModel("vggface_d", options, convention, deeper))
  for allowed in ((), ("vggface_a",), ("vggface_d",)):
    with pytest.raises(WrongCheckpoint, match=r"unexpected leaf 'conv3_3/bias'"):
      begin_from(str(tmp_path / "d"), state, preprocess, allowed)


def test_a_run_of_b_begins_with_a_trained_a(trained_a, base, source, run, tmp_path, keep_first):
  first = keep_first(stop=True)
  model = replace(tiny_vggface("vggface_b"), init_from=str(trained_a))
  with pytest.raises(InterruptedError):
    run(replace(base, model=model), source, tmp_path, [first])
  expected = load_model(trained_a).variables["params"]
  found = {name: first.variables["params"][name] for name in expected}
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_projection_begins_with_the_trained_network_inside(trained_a, first_state):
  state, preprocess, _ = first_state(
    ModelConfig(
      "projected", size=16, embedding_size=4,
      options={"backbone": "vggface_a", "backbone_options": {"width": 1 / 32, "embedding_size": 8}},
    )
  )
  begun = begin_from(str(trained_a), state, preprocess).state
  jax.tree.map(
    np.testing.assert_array_equal, begun.params["model"]["frozen"], load_model(trained_a).variables["params"]
  )
