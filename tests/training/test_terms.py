"""Several terms in one run: chosen by name, named in the log, their state resumed, sharded and rolled back."""

import json
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.heads.classification import Classification
from jaxface.losses.center import CenterLoss
from jaxface.losses.joint_signal import VerificationSignal
from jaxface.losses.margins import CosFace, NormSoftmax
from jaxface.losses.margins_adaptive import AdaFace
from jaxface.losses.pair_forms import Hinge
from jaxface.losses.pair_loss import PairLoss
from jaxface.losses.triplet_term import TripletLoss
from jaxface.models.preprocess import get_preprocess
from jaxface.training.choices import CHOICES, kinds, term_names
from jaxface.training.config import Experiment
from jaxface.training.interrupt import Interrupted
from jaxface.training.loop import train
from jaxface.training.overrides import UnknownField, field_values
from jaxface.training.resolve import describe
from jaxface.training.workdir import Workdir

STATEFUL = (Classification(AdaFace(scale=16.0)), CenterLoss(weight=0.01), VerificationSignal(pairs=100))


@pytest.fixture(scope="module")
def joint(experiment):
  return replace(experiment, terms=STATEFUL, log_every=2, checkpoint_every=50)


@pytest.fixture(scope="module")
def straight(joint, source, tmp_path_factory, run):
  return run(joint, source, tmp_path_factory.mktemp("straight"))


def test_terms_are_chosen_added_and_changed_by_name():
  changed = Experiment().with_overrides(
    {"terms.2.form.margin": "0.7", "terms.1.alpha": "0.25", "terms.2": "pairs", "terms.1": "center",
     "terms.2.form": "contrastive", "terms.0.margin": "normsoftmax", "terms.0.margin.scale": "8"}
  )
  assert changed.terms[0] == Classification(NormSoftmax(scale=8.0))
  assert changed.terms[1] == CenterLoss(alpha=0.25)
  assert changed.terms[2].form.margin == 0.7
  assert Experiment().with_overrides({"terms.0": "center"}).terms == (CenterLoss(),)


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("terms.1", "centre", "--terms.1 centre: needs one of classification, center"),
    ("terms.0", "centre", "--terms.0 centre: needs one of classification, center"),
    ("terms.2", "center", "1 entries"),
    ("terms.1.weight", "2", "1 entries"),
    ("terms.0.margin", "arcfase", "one of softmax, modifiedsoftmax"),
  ],
)
def test_a_wrong_term_says_what_would_be_right(name, text, message):
  with pytest.raises(UnknownField, match=message):
    Experiment().with_overrides({name: text})


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, kinds in CHOICES.items() for name in kinds])
def test_every_choice_can_be_made(field, name):
  path = {"terms": "terms.1", "term": "terms.2.term", "margin": "terms.0.margin", "form": "terms.1.form"}[field]
  changed = Experiment().with_overrides({"terms.1": "pairs", "terms.2": "permember", path: name})
  assert CHOICES[field][name].__name__ == kinds(changed)[path] == describe(changed)[path]


def test_every_field_of_the_objective_is_an_option():
  experiment = Experiment(terms=STATEFUL)
  for name, value in field_values(experiment).items():
    if name.startswith("terms.") and value != ():
      assert experiment.with_overrides({name: str(value)}) == experiment


def test_names_of_terms_are_numbered_only_where_they_would_clash():
  assert term_names(STATEFUL) == ["classification", "center", "verification"]
  assert term_names([CenterLoss(), Classification(), CenterLoss(alpha=0.1)]) == ["center0", "classification", "center1"]


def test_the_log_names_every_term_and_its_loss(straight):
  row = straight[1][-1]
  parts = {name: row[f"{name}/loss"] for name in ("classification", "center", "verification")}
  assert row["loss"] == pytest.approx(sum(term.weight * value for term, value in zip(STATEFUL, parts.values())), rel=1e-5)
  assert {"classification/accuracy", "center/distance", "verification/margin"} <= row.keys()


def test_an_interrupted_run_with_stateful_terms_ends_bit_for_bit(straight, joint, source, tmp_path, run, stop_at):
  with pytest.raises(Interrupted):
    run(joint, source, tmp_path, [stop_at(7)])
  trained, rows = run(joint, source, tmp_path)
  chex.assert_trees_all_equal(trained.variables, straight[0].variables)
  assert [row for row in rows if "loss" in row] == straight[1]


@pytest.mark.sweep
def test_stateful_terms_do_not_depend_on_the_mesh(straight, joint, source, tmp_path, with_devices, run):
  _, rows = run(with_devices(joint, 8), source, tmp_path)
  # The fitted margin is a bin of a histogram: sooner or later a rounding moves it by one, which changes the verification loss by
  # about 1 % and all that follows. Before that everything is equal to rounding.
  names = ("loss", "center/distance", "classification/loss", "verification/loss")
  for name in names:
    assert rows[0][name] == pytest.approx(straight[1][0][name], rel=1e-5), name
  for row, expected in zip(rows[1:], straight[1][1:], strict=True):
    for name in names[:-1]:
      assert row[name] == pytest.approx(expected[name], rel=1e-2), name


def test_centers_move_in_a_step_and_roll_back_with_one_that_is_not_finite(experiment, batch_of, plain, step_of):
  step = step_of(replace(experiment, terms=STATEFUL), plain, get_preprocess("unit", size=8), 5)
  advance = jax.jit(step)
  before = step.init(jax.random.key(0))
  after, _ = advance(before, batch_of(16))
  for old, new in zip(before.terms, after.terms):
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new)))
  poisoned = {**batch_of(16, seed=1), "weight": jnp.ones(16).at[3].set(jnp.nan)}
  rolled, metrics = advance(after, poisoned)
  chex.assert_trees_all_equal(rolled.terms, after.terms)
  assert int(rolled.bad_steps) == 1 and all(np.isfinite(value) for value in jax.tree.leaves(metrics))


@pytest.mark.parametrize(
  ("term", "message"),
  [
    (CenterLoss(), r"terms\.1 \(CenterLoss\) keeps statistics of the full batch"),
    (Classification(AdaFace()), r"terms\.1 \(Classification\) keeps statistics"),
    (PairLoss(Hinge()), r"terms\.1 \(PairLoss\) compares images of the full batch"),
    (TripletLoss(), r"terms\.1 \(TripletLoss\) compares images of the full batch"),
  ],
)
def test_parts_of_a_batch_are_refused_to_a_term_that_needs_the_whole(experiment, term, message, plain, step_of):
  split = replace(experiment, terms=(Classification(CosFace()), term), accumulate=2)
  step = step_of(split, plain, get_preprocess("unit", size=8), 5)
  with pytest.raises(ValueError, match=message):
    step.init(jax.random.key(0))


class ManyPeople:
  num_records, num_identities, image_shape, template = 400, 200, (16, 16, 3), "arcface112"
  label_n = np.repeat(np.arange(200, dtype=np.int32), 2)


def test_a_uniform_order_without_pairs_is_refused_to_a_term_that_lives_on_them(experiment, tmp_path):
  mined = replace(experiment, terms=(TripletLoss(),))
  with pytest.raises(ValueError, match=r"on average 0\.075 other images .* set data\.order to balanced"):
    train(mined, Workdir(tmp_path), ManyPeople())


def test_listed_triplets_need_their_order(experiment, source, tmp_path):
  with pytest.raises(ValueError, match=r"terms\.0\.mining is listed, but data\.order is uniform"):
    train(replace(experiment, terms=(TripletLoss(mining="listed"),)), Workdir(tmp_path), source)


def test_a_run_on_triplets_mined_offline_resumes_bit_for_bit(experiment, source, run, stop_at, tmp_path):
  noise = np.random.default_rng(0).normal(size=(source.num_records, 4))
  embedding_nd = (np.eye(16)[source.label_n, :4] + 0.5 * noise).astype(np.float32)
  write_embeddings(tmp_path / "e.npz", Embeddings(embedding_nd, source.names()))
  data = replace(experiment.data, order="triplets", embeddings=str(tmp_path / "e.npz"))
  offline = replace(experiment, data=data, batch_size=15, terms=(TripletLoss(mining="listed"),))
  straight, rows = run(offline, source, tmp_path / "a")
  assert rows[-1]["triplets"] == 5
  with pytest.raises(Interrupted):
    run(offline, source, tmp_path / "b", [stop_at(4)])
  chex.assert_trees_all_equal(run(offline, source, tmp_path / "b")[0].variables, straight.variables)


def test_another_term_in_the_same_folder_is_refused_by_name(joint, source, tmp_path, run, stop_at):
  with pytest.raises(Interrupted):
    run(joint, source, tmp_path, [stop_at(2)])
  assert json.loads((tmp_path / "config.json").read_text())["terms.1"] == "CenterLoss"
  with pytest.raises(ValueError, match=r"terms\.1: 'CenterLoss' then, 'PairLoss' now"):
    run(replace(joint, terms=(STATEFUL[0], PairLoss(), STATEFUL[2])), source, tmp_path)
