"""Experiments of several runs: order, starting networks, images packed once, and VGG-Face's stages."""

from dataclasses import replace

import pytest

from jaxface.evaluation import VerificationConfig
from jaxface.models import create
from jaxface.pipeline import Stage, StagedExperiment, staged
from jaxface.training import load_experiment
from jaxface.training.config import load_any_experiment

QUICK, _ = load_experiment("quickstart")


def stage(name, after="", **changes):
  return Stage(replace(QUICK, name=name, **changes), after)


@pytest.fixture
def calls(monkeypatch):
  """What `run_experiment` was called with."""
  made = []

  def run(experiment, folder, *, command):
    made.append((experiment, folder, command))

  monkeypatch.setattr(staged, "run_experiment", run)
  return made


def test_a_stage_starts_from_the_network_of_the_one_that_it_names(calls, tmp_path):
  both = StagedExperiment(name="both", command="jaxface train both", stages=(stage("a"), stage("b", "a"), stage("c", "a"), stage("d", "b")))
  result = both.run(tmp_path)
  assert [folder for _, folder, _ in calls] == [tmp_path / name for name in "abcd"] and {command for *_, command in calls} == {"jaxface train both"}
  assert [one.model.init_from for one, *_ in calls] == ["", str(tmp_path / "a"), str(tmp_path / "a"), str(tmp_path / "b")]
  assert list(result.stages) == list("abcd") and not result.failed


def test_images_are_packed_once(calls, tmp_path):
  def with_images(name, after="", images="FACES", size=0, lfw="LFW"):
    data = replace(QUICK.data, images=images, size=size)
    return stage(name, after, data=data, evaluation=(VerificationConfig("lfw", images=lfw, pairs="pairs.txt"),))

  StagedExperiment(stages=(with_images("a"), with_images("b", "a"), with_images("c", size=64), with_images("d", images="OTHER"))).run(tmp_path)
  assert [one.data.records for one, *_ in calls] == ["", str(tmp_path / "a" / "records" / "train"), "", ""]
  assert [one.evaluation[0].records for one, *_ in calls] == ["", str(tmp_path / "a" / "records" / "lfw"), "", str(tmp_path / "a" / "records" / "lfw")]


@pytest.mark.parametrize("stages, message", [
  ((stage("a"), stage("a")), "two stages are named 'a'"),
  ((stage("a", "b"), stage("b")), "starts from 'b', but the stages before it are"),
  ((stage("a", "a"),), "starts from 'a'"),
])
def test_names_and_order_are_checked(stages, message):
  with pytest.raises(ValueError, match=message):
    StagedExperiment(name="wrong", stages=stages)


@pytest.mark.parametrize("small", [False, True])
def test_the_stages_of_vggface_are_those_of_the_paper(small):
  found, _ = load_any_experiment("vggface_stages", small=small)
  assert [(one.experiment.name, one.after) for one in found.stages] == [
    ("vggface_a", ""), ("vggface_b", "vggface_a"), ("vggface_d", "vggface_a"), ("vggface_b_projected", "vggface_b"),
  ]
  a, b, d, projected = (one.experiment for one in found.stages)
  assert [one.model.name for one in (a, b, d, projected)] == ["vggface_a", "vggface_b", "vggface_d", "projected"]
  assert all("vggface_a" in create(one.model.name).grows_from for one in (b, d))
  assert b.optimizer.learning_rate < a.optimizer.learning_rate and projected.optimizer.learning_rate == 0.25
  shorter = found.with_overrides({"stages.0.experiment.steps": "7"})
  assert shorter.stages[0].experiment.steps == 7 and shorter.stages[1].experiment.steps == b.steps


@pytest.mark.parametrize("small", [False, True])
def test_the_stages_of_facenet_are_its_networks_by_embedding_size(small):
  found, _ = load_any_experiment("facenet_sizes", small=small)
  assert [(one.experiment.name, one.experiment.model.name, one.experiment.model.embedding_size) for one in found.stages] == [
    *((f"nn2_{size}", "facenet_nn2", size) for size in (64, 128, 256, 512)), ("nns1_128", "facenet_nns1", 128),
  ]
  assert not any(one.after for one in found.stages)
  for one in found.stages:
    assert one.experiment.terms[0].mining == "semi_hard" and one.experiment.data.order == "balanced"
    assert one.experiment.data.identities_per_batch * one.experiment.data.images_per_identity == one.experiment.batch_size


@pytest.mark.sweep
def test_two_tiny_runs_in_one_folder(tmp_path):
  tiny = {
    "steps": "2", "batch_size": "16", "log_every": "1", "checkpoint_every": "2", "data.synthetic.identities": "20",
    "data.synthetic.images_per_identity": "4", "data.synthetic.size": "32", "model.size": "32", "data.holdout": "0.3", "schedule.warmup_steps": "1",
    "schedule.milestones": "0.5,0.75", "export": "",
  }
  first = replace(QUICK.with_overrides(tiny), name="a")
  first = replace(first, model=replace(first.model, name="vggface_a", embedding_size=16, options={"width": 0.03125}))
  second = replace(first, name="b", model=replace(first.model, name="vggface_b"))
  result = StagedExperiment(name="both", stages=(Stage(first), Stage(second, "a"))).run(tmp_path / "both")
  assert [name for name in result.stages] == ["a", "b"] and "conv1_2" in (tmp_path / "both" / "b" / "notes.txt").read_text()
