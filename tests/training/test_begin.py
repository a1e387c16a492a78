"""What a run begins with when it goes on from another: norms, class centres, frozen layers."""

from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxface.data.augmentation import AugmentConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace, Softmax, SubcenterArcFace
from jaxface.models.calibration import folded_norms
from jaxface.models.config import ModelConfig
from jaxface.models.saved import SavedModel, load_model, save_model
from jaxface.training.class_centers import save_centers
from jaxface.training.interrupt import Interrupted
from jaxface.training.optimizer import OptimizerConfig
from jaxface.training.schedule import ScheduleConfig

EPSILON = 1e-5


class Named:
  """A source whose identities have names."""

  def __init__(self, source, names):
    self.__dict__ |= source.__dict__
    self.names, self.read, self._identities = source.names, source.read, names

  def identity_names(self):
    return self._identities


@pytest.fixture(scope="module")
def named(source):
  return Named(source, [f"person {label}" for label in range(source.num_identities)])


@pytest.fixture(scope="module")
def whole(experiment):
  """Every step sees every image as it is."""
  return replace(
    experiment, batch_size=128, steps=5, log_every=1, checkpoint_every=50, ema=0.0, augment=AugmentConfig(mirror=0, shift=0, jitter=0),
    model=ModelConfig("mobilefacenet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0, 0), "width": 0.125}),
    terms=(Classification(CosFace(m=0.1, scale=16.0)),), optimizer=OptimizerConfig(learning_rate=0.05, weight_decay=0.0),
    schedule=ScheduleConfig("constant"),
  )


def fold(saved):
  """The same function with every norm in the kernel of the convolution before it, as ONNX files have it."""
  flat = flatten_dict(saved.variables)
  for path in [key[:-1] for key in flat if key[-1] == "var"]:
    mean, var = (flat["batch_stats", *path[1:], leaf] for leaf in ("mean", "var"))
    scale, bias, kernel = ("params", *path[1:], "scale"), ("params", *path[1:], "bias"), ("params", *path[1:-1], "conv", "kernel")
    slope = flat[scale] / np.sqrt(var + EPSILON)
    flat |= {
      kernel: flat[kernel] * slope, scale: np.ones_like(mean), bias: flat[bias] - mean * slope,
      ("batch_stats", *path[1:], "mean"): np.zeros_like(mean), ("batch_stats", *path[1:], "var"): np.full_like(var, 1 - EPSILON),
    }
  return SavedModel(saved.name, saved.options, saved.preprocess, unflatten_dict(flat))


@pytest.fixture(scope="module")
def first(whole, named, run, tmp_path_factory):
  """A trained run, its workdir as `jaxface train` leaves it."""
  folder = tmp_path_factory.mktemp("first")
  trained, _ = run(replace(whole, steps=40, log_every=20), named, folder)
  saved = SavedModel("mobilefacenet", trained.options, trained.preprocess, trained.variables)
  save_model(folder / "model", saved)
  save_centers(folder, trained.centers, named.identity_names())
  return folder, saved, trained.centers["classification"].rows()


@pytest.fixture(scope="module")
def imported(first, tmp_path_factory):
  """The trained network as an ONNX file with folded norms gives it."""
  folder = tmp_path_factory.mktemp("imported") / "net"
  save_model(folder, fold(first[1]))
  return folder


def going_on(whole, path, *, center_init="mean_embedding", **changes):
  model = {key: changes.pop(key) for key in ("freeze_norm",) if key in changes}
  return replace(
    whole, model=ModelConfig(init_from=str(path), **model),
    terms=(Classification(CosFace(m=0.1, scale=16.0), center_init=center_init),), **changes,
  )


def images(source):
  image = np.empty((source.num_records, *source.image_shape), np.uint8)
  source.read(np.arange(source.num_records), image)
  return image


@pytest.mark.parametrize("devices", [1, pytest.param(8, marks=pytest.mark.sweep)])
def test_folded_weights_survive_their_first_step(devices, whole, imported, source, run, tmp_path, with_devices, keep_first):
  saved, begun = load_model(imported), keep_first()
  assert len(folded_norms(saved.variables)) == 8
  _, rows = run(with_devices(going_on(whole, imported), devices), source, tmp_path, [begun])
  embed, image = jax.jit(saved.embed), images(source)
  before, after = (np.asarray(embed(variables, image)) for variables in (saved.variables, begun.variables))
  np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
  assert folded_norms(begun.variables) == []
  assert "calibrated on 1,024 training images" in (tmp_path / "notes.txt").read_text()

  # The first step computes what the imported network does: its loss is that of the embeddings in inference.
  unit = before / np.linalg.norm(before, axis=1, keepdims=True)
  center = np.stack([unit[source.label_n == label].mean(0) for label in range(source.num_identities)])
  cosine = unit @ (center / np.linalg.norm(center, axis=1, keepdims=True)).T
  logit = 16.0 * (cosine - 0.1 * (source.label_n[:, None] == np.arange(source.num_identities)))
  expected = np.mean(np.log(np.exp(logit).sum(1)) - logit[np.arange(len(logit)), source.label_n])
  losses = [row["loss"] for row in rows if "loss" in row]
  assert losses[0] == pytest.approx(expected, rel=1e-2)
  assert all(later < earlier for earlier, later in pairwise(losses))


def test_frozen_norms_stay_and_the_loss_falls(whole, imported, source, run, tmp_path):
  trained, rows = run(going_on(whole, imported, freeze_norm=True), source, tmp_path)
  saved = load_model(imported)
  jax.tree.map(np.testing.assert_array_equal, trained.variables["batch_stats"], saved.variables["batch_stats"])
  was, now = (flatten_dict(variables["params"]) for variables in (saved.variables, trained.variables))
  for path in was:
    assert (was[path] == now[path]).all() == (path[-2] == "norm"), path
  losses = [row["loss"] for row in rows]
  assert all(later < earlier for earlier, later in pairwise(losses))
  assert "use their running statistics and are not updated" in (tmp_path / "notes.txt").read_text()


def test_a_frozen_body_is_the_same_bit_for_bit_until_its_step(whole, first, source, run, tmp_path):
  rates = replace(whole.optimizer, rates=("body/*=0 until 3 then 0.1",))
  kept, _ = run(going_on(whole, first[0], optimizer=rates, steps=3), source, tmp_path / "a")
  jax.tree.map(np.testing.assert_array_equal, kept.variables, first[1].variables)
  on, _ = run(going_on(whole, first[0], optimizer=rates, steps=4), source, tmp_path / "b")
  same = jax.tree.map(lambda a, b: bool((a == b).all()), on.variables, first[1].variables)
  assert not any(jax.tree.leaves(same["batch_stats"])) and not same["params"]["stem"]["conv"]["kernel"]


def test_a_body_that_never_moves_has_norms_that_never_move(whole, first, source, run, tmp_path):
  rates = replace(whole.optimizer, weight_decay=0.1, rates=("body/*=0",))
  kept, rows = run(going_on(whole, first[0], optimizer=rates), source, tmp_path)
  jax.tree.map(np.testing.assert_array_equal, kept.variables, first[1].variables)
  assert rows[-1]["loss"] < rows[0]["loss"]
  assert "body/*: 0 × the learning rate" in (tmp_path / "notes.txt").read_text()


def centers_of(whole, path, source, run, folder, **changes):
  """Centres that a run begins with, and its notes."""
  still = replace(whole.optimizer, rates=("*=0",))
  trained, _ = run(going_on(whole, path, optimizer=still, steps=1, **changes), source, folder)
  return trained.centers["classification"].rows(), (folder / "notes.txt").read_text()


def unit_means(first, source):
  raw = np.asarray(jax.jit(first[1].embed)(first[1].variables, images(source)))
  unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
  mean = lambda rows: np.stack([rows[source.label_n == label].mean(0) for label in range(source.num_identities)])  # noqa: E731
  return mean(raw), mean(unit) / np.linalg.norm(mean(unit), axis=1, keepdims=True)


def test_centres_are_kept_by_name_and_the_others_begin_at_their_means(whole, first, source, run, tmp_path):
  # The same people under other labels, three of them new.
  names = ["new 0", "new 1", "new 2", *(f"person {label}" for label in range(3, 16))]
  order = np.random.default_rng(0).permutation(16)
  again = Named(source, [names[label] for label in order])
  again.label_n = np.argsort(order)[source.label_n].astype(np.int32)
  center, notes = centers_of(whole, first[0], again, run, tmp_path)
  _, mean = unit_means(first, again)
  for label, old in enumerate(order):
    np.testing.assert_allclose(center[label], first[2][old] if old >= 3 else mean[label], atol=1e-4)
  assert "13 of 16 kept from" in notes and "3 at mean embeddings" in notes


def test_the_same_names_for_other_people_are_found_out(whole, first, source, run, tmp_path):
  again = Named(source, [f"person {(label + 5) % 16}" for label in range(16)])
  center, notes = centers_of(whole, first[0], again, run, tmp_path)
  np.testing.assert_allclose(center, unit_means(first, source)[1], atol=1e-4)
  assert "16 identities have the same names, but their centres do not point to their images" in notes


@pytest.mark.parametrize("margin", [Softmax(), pytest.param(SubcenterArcFace(), marks=pytest.mark.sweep)])
def test_what_another_head_cannot_take_is_left_and_said(margin, whole, first, named, run, tmp_path):
  still = replace(whole.optimizer, rates=("*=0",))
  begun = replace(going_on(whole, first[0], optimizer=still, steps=1), terms=(Classification(margin, center_init="mean_embedding"),))
  trained, _ = run(begun, named, tmp_path)
  center, (raw, unit) = trained.centers["classification"].rows(), unit_means(first, named)
  if margin.geometry.bias:
    np.testing.assert_allclose(center[:, :8], raw, atol=1e-3)
    np.testing.assert_allclose(center[:, 8], -0.5 * (raw**2).sum(1), atol=1e-3, rtol=1e-3)
  else:
    np.testing.assert_allclose(center[:, :8], unit, atol=1e-4)
    assert np.abs(center[:, 8:16] - center[:, :8]).max() > 1e-3  # no two sub-centres are equal
  assert f"are not used: they have 8 numbers each where this head has {center.shape[1]}" in (tmp_path / "notes.txt").read_text()


def test_a_source_without_names_and_a_random_start_keep_nothing(whole, first, source, run, tmp_path):
  center, notes = centers_of(whole, first[0], source, run, tmp_path, center_init="normal")
  assert np.linalg.norm(center, axis=1).max() < 0.1 and "kept" not in notes


def test_a_continuation_does_not_need_the_model_that_it_began_with(whole, first, source, run, tmp_path, stop_at):
  copy = tmp_path / "copy"
  save_model(copy, first[1])
  going = going_on(whole, copy)
  with pytest.raises(Interrupted):
    run(going, source, tmp_path / "run", [stop_at(2)])
  copy.rename(tmp_path / "gone")
  trained, _ = run(going, source, tmp_path / "run")
  assert trained.step == whole.steps
  with pytest.raises(FileNotFoundError, match=r"model\.json"):
    run(going, source, tmp_path / "anew")
