"""What a continuation may change: every field is classified, and data is compared by what it holds, not by where it lies."""

import json
from dataclasses import replace

import chex
import numpy as np
import pytest

from jaxface.checkpoint import Checkpoints
from jaxface.data.config import DataConfig, open_source
from jaxface.data.fingerprint import digest, fingerprint
from jaxface.evaluation.config import VerificationConfig
from jaxface.formats.checked_json import checked_text, read_checked_json
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.packing import pack
from jaxface.formats.pairs import Pairs
from jaxface.heads.per_member import PerMember
from jaxface.inference.verify import VerificationHook
from jaxface.losses.triplet_term import TripletLoss
from jaxface.models.config import ModelConfig
from jaxface.training.choices import CHOICES
from jaxface.training.config import Experiment
from jaxface.training.interrupt import Interrupted
from jaxface.training.loop import train
from jaxface.training.overrides import field_values
from jaxface.training.resolve import describe
from jaxface.training.resume import (
  BOUND,
  BY_CONTENT,
  FREE,
  data_differences,
  field_differences,
  generic,
  is_bound,
)
from jaxface.training.workdir import Workdir


def every_field():
  """Names of all fields that an experiment can have, with places as N."""
  terms = [kind() for kind in CHOICES["terms"].values()]
  terms += [CHOICES["terms"]["classification"](margin=kind()) for kind in CHOICES["margin"].values() if kind.__name__ != "Filtered"]
  terms += [CHOICES["terms"]["pairs"](form=kind()) for kind in CHOICES["form"].values()]
  whole = Experiment(
    terms=(*terms, PerMember()), evaluation=(VerificationConfig(),), model=ModelConfig(options={"units": (1, 1), "width": 0.5})
  )
  return {generic(name) for name in (*field_values(whole), *field_values(Experiment()), *describe(whole))}


def classes_of(name):
  bound = name in BOUND or (name not in FREE and any(name.startswith(entry) for entry in BOUND if entry.endswith(".")))
  return [kind for kind, member in (("free", name in FREE), ("content", name in BY_CONTENT), ("bound", bound)) if member]


def test_every_field_is_classified_once_and_no_class_names_a_field_that_is_not():
  fields = every_field()
  assert {name: classes_of(name) for name in fields if len(classes_of(name)) != 1} == {}
  # `evaluation` is a leaf where there is no set.
  assert (FREE | BY_CONTENT) - fields == set()
  assert [entry for entry in BOUND if not any(f.startswith(entry) if entry.endswith(".") else f == entry for f in fields)] == []
  assert {name for name in fields if is_bound(name)} == {name for name in fields if classes_of(name) == ["bound"]}


@pytest.mark.parametrize(
  ("name", "bound"),
  [
    ("data.images_per_identity", True), ("data.images", False), ("data.holdout", True), ("evaluation.3.every", False),
    ("evaluation.0.mirror", False), ("mesh.devices", False), ("mesh.process_id", False), ("namesake", True), ("terms.0.margin.m", True),
    ("terms.0.block", False),
    ("terms.1.sample_rate", True), ("model.freeze", True), ("data.anything_new", True), ("use", False),
  ],
)
def test_no_field_is_free_by_how_its_name_begins(name, bound):
  assert is_bound(name) == bound
  assert bool(field_differences({name: 1, "x": 1}, {name: 2, "x": 1})) == bound


@pytest.fixture
def packed(make_folder, tmp_path):
  """Records of four people, the same elsewhere, and of four other people with as many images."""
  faces, others = make_folder([6] * 4), make_folder([6] * 4, name="others")
  for number, folder in enumerate(sorted(others.iterdir())):
    folder.rename(others / f"other{number}")
  for name, root in (("here", faces), ("there", faces), ("other", others)):
    pack(root, tmp_path / name, processes=1)
  return tmp_path


@pytest.fixture
def small(experiment):
  model = ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125})
  return replace(experiment, model=model, steps=4, checkpoint_every=2, ema=0.0)


def go(experiment, folder, hooks=()):
  return train(experiment, Workdir(folder), open_source(experiment.data)[0], hooks)


def on(experiment, records, **changes):
  return replace(experiment, data=replace(experiment.data, records=str(records), **changes))


def test_other_records_are_refused_with_the_way_on_and_moved_ones_are_not(small, packed, stop_at):
  with pytest.raises(Interrupted):
    go(on(small, packed / "here"), packed / "run", [stop_at(2)])
  kept = read_checked_json(packed / "run" / "data.json")
  assert kept["train"]["records"] == 24 and kept["train"]["identities"] == 4 and "here" not in json.dumps(kept)
  with pytest.raises(ValueError, match=r"other data:(.|\n)*train, shards_sha256: (.|\n)*train, identities_sha256: (.|\n)*--model\.init_from"):
    go(on(small, packed / "other"), packed / "run")
  (packed / "here").rename(packed / "moved")
  assert go(on(small, packed / "moved"), packed / "run").step == 4
  assert go(on(small, packed / "there"), packed / "run").step == 4


def test_a_run_on_a_mixture_resumes_exactly_and_with_the_same_sets_and_weights_only(small, packed, stop_at):
  sets = (str(packed / "here"), str(packed / "other"))
  mixed = replace(small, data=replace(small.data, mixture=sets, weights=(2.0, 1.0)))
  whole = go(mixed, packed / "whole")
  with pytest.raises(Interrupted):
    go(mixed, packed / "cut", [stop_at(2)])
  for changes, message in (
    ({"weights": (1.0, 1.0)}, r"data\.weights: \[2\.0, 1\.0\] then"),
    ({"mixture": sets[::-1]}, "train, set 0, shards_sha256"),
  ):
    with pytest.raises(ValueError, match=message):
      go(replace(mixed, data=replace(mixed.data, **changes)), packed / "cut")
  (packed / "other").rename(packed / "moved")
  moved = replace(mixed, data=replace(mixed.data, mixture=(sets[0], str(packed / "moved"))))
  chex.assert_trees_all_equal(go(moved, packed / "cut").variables, whole.variables)


def test_another_choice_of_identities_is_other_data(packed):
  whole = DataConfig(records=str(packed / "here"))
  parts = [open_source(replace(whole, holdout=0.5, seed=seed))[0] for seed in range(8)]
  prints = [fingerprint(part) for part in parts]
  assert all(one["identities_chosen"] == 2 for one in prints)
  chosen = {tuple(part.identity_i.tolist()) for part in parts}
  assert len({one["chosen_sha256"] for one in prints}) == len(chosen) > 1


@pytest.mark.sweep
def test_other_embeddings_to_mine_from_are_other_data(small, source, tmp_path, run, stop_at):
  rng = np.random.default_rng(0)

  def mined(seed, path):
    noise = np.random.default_rng(seed).normal(size=(source.num_records, 4))
    write_embeddings(tmp_path / path, Embeddings((np.eye(16)[source.label_n, :4] + 0.5 * noise).astype(np.float32), source.names()))
    data = replace(small.data, order="triplets", embeddings=str(tmp_path / path))
    return replace(small, data=data, batch_size=15, terms=(TripletLoss(mining="listed"),))

  del rng
  with pytest.raises(Interrupted):
    run(mined(0, "a.npz"), source, tmp_path / "run", [stop_at(2)])
  with pytest.raises(ValueError, match=r"order, embeddings_sha256: [0-9a-f]{12}… then, [0-9a-f]{12}… now"):
    run(mined(1, "b.npz"), source, tmp_path / "run")
  assert run(mined(0, "elsewhere.npz"), source, tmp_path / "run")[0].step == 4


def test_a_verification_set_of_the_same_name_must_be_the_same_set(small, source):
  names = source.names()

  def hook(name, count):
    pairs = Pairs(names[:count], names[1 : count + 1], np.arange(count) % 2 == 0, np.zeros(count, np.int64))
    return VerificationHook(VerificationConfig(name=name), source, pairs, small.model)

  def data(*hooks):
    return {"train": {}, "order": {}, "evaluation": {h.config.name: h.fingerprint() for h in hooks},
            "first_evaluation": hooks[0].config.name}

  began = data(hook("lfw", 8))
  assert data_differences(began, data(hook("lfw", 8), hook("more", 4)), best=True) == []
  changed = data_differences(began, data(hook("lfw", 6)), best=False)
  assert len(changed) == 2 and changed[0] == "  evaluation lfw, pairs: 8 then, 6 now"
  added = data(hook("more", 4), hook("lfw", 8))
  assert data_differences(began, added, best=False) == []
  assert "on which the state is selected: 'lfw' then, 'more' now" in data_differences(began, added, best=True)[0]


def test_sources_that_say_nothing_are_known_by_names_and_labels(source):
  class Renamed(type(source)):
    def names(self):
      return [f"{name}x" for name in super().names()]

  first, other = fingerprint(source), fingerprint(Renamed())
  assert first == fingerprint(type(source)()) and first["names_sha256"] != other["names_sha256"]
  assert digest(["ab", "c"]) != digest(["a", "bc"]) and digest([np.int32([1])]) != digest([np.int64([1])])


def hold_a_state(workdir):
  checkpoints = Checkpoints(workdir.checkpoints)
  checkpoints.save(4, {"step": np.zeros(1)})
  checkpoints.close()


def test_a_verification_set_stays_what_it_was_through_continuations_without_it(tmp_path):
  workdir = Workdir(tmp_path)

  def data(**sets):
    return {"train": {"records": 1}, "order": {}, "evaluation": {name: {"pairs": pairs} for name, pairs in sets.items()},
            "first_evaluation": next(iter(sets), "")}

  def go_on(best=False, **sets):
    workdir.save_config({}, data(**sets), best=best)

  go_on(lfw=9)
  go_on(lfw=8, more=4)  # nothing is trained yet: it begins anew
  hold_a_state(workdir)
  go_on(other=2)
  go_on()
  with pytest.raises(ValueError, match="evaluation lfw, pairs: 8 then, 6 now"):
    go_on(lfw=6)
  with pytest.raises(ValueError, match="evaluation other, pairs: 2 then, 3 now"):
    go_on(other=3)
  with pytest.raises(ValueError, match="on which the state is selected: 'lfw' then, 'other' now"):
    go_on(best=True, other=2)
  go_on(best=True, lfw=8)
  assert read_checked_json(tmp_path / "data.json") == data(lfw=8, more=4, other=2)


def test_states_without_a_record_of_their_data_are_told_of(tmp_path, capsys):
  workdir, config = Workdir(tmp_path), describe(Experiment())
  hold_a_state(workdir)
  workdir.save_config(config, {}, best=False)
  errors = capsys.readouterr().err
  assert "no config.json: it cannot be checked that they were trained with the same values" in errors
  assert "no data.json: it cannot be checked that they were trained on the same data" in errors
  workdir.save_config(config, {}, best=False)
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_damaged_record_of_a_run_is_named_or_read_from_its_copy(tmp_path, flip_all, name):
  config = describe(Experiment())
  alone, elsewhere = Workdir(tmp_path / "alone"), Workdir(tmp_path / "elsewhere")
  elsewhere.keep_states_in(str(tmp_path / "states"))
  for workdir in (alone, elsewhere):
    workdir.save_config(config, {"train": {"records": 1}}, best=False)
    hold_a_state(workdir)
    file = workdir.path / name
    file.write_bytes(file.read_bytes().replace(b'"', b"'", 1))
  with pytest.raises(DamagedData, match=f"{name}: not JSON: .*; restore it from a copy. Without the file the run is resumed"):
    alone._kept(name, "")
  assert elsewhere._kept(name, "") == read_checked_json(tmp_path / "states" / name)
  (alone.path / name).write_bytes(checked_text({"steps": 12}).encode())
  flip_all(alone.path / name, lambda: alone._kept(name, ""), {"steps": 12}, DamagedData)
