"""DeepID2's system on embeddings of planted people: its figures put together by hand, and a run that was stopped."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from lfw_lists import FILES, write_lists

from jaxface.evaluation import best_threshold
from jaxface.evaluation.protocols.lfw import read_view_1, read_view_2
from jaxface.evaluation.protocols.registry import evaluate
from jaxface.formats.embeddings import Embeddings
from jaxface.models import create
from jaxface.pipeline import patch_groups, patch_system
from jaxface.pipeline.papers.result_file import Measured
from jaxface.pipeline.patch_groups import measure_groups
from jaxface.pipeline.patch_system import measure_system
from jaxface.pipeline.trained_patches import TrainedPatches
from jaxface.verifiers import Fusion, FusionPart, JointBayesian, PatchFeatures, select_patches
from jaxface.verifiers.base import RowPairs

PATCHES, EACH = ["a", "b", "c"], 6
GIVEN = {"count": 2, "groups": 2, "components": 4}


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
  return write_lists(tmp_path_factory.mktemp("lists"))


def planted(names, person, seed):
  """Embeddings of three patches and their mirror images."""
  random = np.random.default_rng(seed)
  label_n = np.unique(person, return_inverse=True)[1]
  mixing = np.random.default_rng(0).normal(size=(2, 3, 4, EACH))
  signal = np.einsum("nk,hpkd->nhpd", random.normal(size=(label_n.max() + 1, 4))[label_n], mixing)
  row = signal + np.array([2.5, 2.0, 1.5])[:, None] * random.normal(size=signal.shape)
  return Embeddings(row.reshape(len(names), -1).astype(np.float32), list(names), label_n.astype(np.int64), {"mirror": "concat"})


@pytest.fixture(scope="module")
def lfw():
  return planted(FILES, [name.split("/")[0] for name in FILES], 1)


@pytest.fixture(scope="module")
def training():
  return planted([f"t{i}" for i in range(400)], np.arange(400) // 4, 2)


@pytest.fixture(scope="module")
def found(lists, lfw, training):
  return measure_groups(training, lfw, PATCHES, lists, **GIVEN, say=lambda line: None)


def test_groups_are_selected_on_view_1_from_what_earlier_ones_left(found, lists, lfw):
  features = PatchFeatures.of(lfw, PATCHES)
  view_1 = read_view_1(lists)
  *_, right = select_patches(features.names, *features.pair_scores(lfw, [view_1.pairs, view_1.train]), count=2, groups=2)
  assert found.selection.groups == right.groups and len({name for group in right.groups for name in group}) == 4
  assert list(found.figures) == [
    "cosine, 1 patch", "joint-bayesian, 1 patch", "cosine, group 1", "joint-bayesian, group 1", "cosine, group 2", "joint-bayesian, group 2", "fusion, 2 groups",
  ]


def test_the_fusion_is_fitted_on_the_pairs_of_the_other_folds(found, lists, lfw, training):
  features = PatchFeatures.of(lfw, PATCHES)
  chosen = [name for group in found.selection.groups for name in group]
  joined = features.take(lfw, chosen)
  fits = [JointBayesian.fit(features.take(training, group).embedding_nd, training.label_n, components=4) for group in found.selection.groups]
  parts = [FusionPart(fit, np.arange(2 * EACH) + 2 * EACH * number) for number, fit in enumerate(fits)]
  row_of = {name: row for row, name in enumerate(joined.names)}
  pairs = read_view_2(lists).pairs
  left_p, right_p = (np.array([row_of[name] for name in side]) for side in (pairs.left, pairs.right))
  accuracy = []
  for fold in range(3):
    other_p, own_p = pairs.fold != fold, pairs.fold == fold
    fit = Fusion.fit(joined.embedding_nd, RowPairs(left_p[other_p], right_p[other_p], pairs.same[other_p]), parts=parts, method="svm")
    score_p = fit.score(joined.embedding_nd[left_p], joined.embedding_nd[right_p])
    accuracy.append(np.mean((score_p[own_p] >= best_threshold(score_p[other_p], pairs.same[other_p])) == pairs.same[own_p]))
  assert found.figures["fusion, 2 groups"]["accuracy"] == pytest.approx(np.mean(accuracy), abs=1e-12)
  own = evaluate(features.take(lfw, found.selection.groups[0]), lists, protocol="lfw", score=fits[0]).figures
  assert found.figures["joint-bayesian, group 1"]["accuracy"] == own["accuracy"]
  change = found.figures["fusion, 2 groups"]["minus_group_1"]["accuracy"]["value"]
  assert change == pytest.approx(np.mean(accuracy) - own["accuracy"], abs=1e-12)


@pytest.mark.parametrize("module, measure, settings", [
  (patch_groups, measure_groups, GIVEN),
  (patch_system, measure_system, {"numbers": (1,), "components": 4, "scores": ("joint-bayesian",)}),
])
def test_a_stopped_run_keeps_its_figures_and_goes_on(module, measure, settings, lists, lfw, training, tmp_path, monkeypatch):
  fits, file = [], tmp_path / "figures.json"
  fit_verifier = module.fit_verifier
  monkeypatch.setattr(module, "fit_verifier", lambda *given, **options: fits.append(given) or fit_verifier(*given, **options))

  def stop(line):
    if "joint-bayesian" in line:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    measure(training, lfw, PATCHES, lists, **settings, state=tmp_path / "state.json", kept=file, say=stop)
  kept = json.loads(file.read_text())["figures"]
  assert len(kept) == 2 and len(fits) == 1
  again = measure(training, lfw, PATCHES, lists, **settings, state=tmp_path / "state.json", kept=file, say=lambda line: None).figures
  before = len(fits)
  assert before == (3 if module is patch_groups else 2) and {name: dict(again[name]) for name in kept} == kept
  third = measure(training, lfw, PATCHES, lists, **settings, state=tmp_path / "state.json", kept=file, say=lambda line: None).figures
  assert len(fits) == before and json.loads(json.dumps(third)) == json.loads(json.dumps(again))


def test_more_groups_than_patches_are_an_error(lists, lfw, training):
  with pytest.raises(ValueError, match="4 groups of 2 of 6 patches"):
    measure_groups(training, lfw, PATCHES, lists, count=2, groups=4, say=lambda line: None)


def test_the_command_writes_selection_figures_and_a_result(lists, lfw, training, tmp_path, monkeypatch):
  names = ("row0_column2_125_rgb", "row2_column2_156_rgb", "row2_column2_156_grey")
  model = SimpleNamespace(
    saved=SimpleNamespace(module=create("deepid2_ensemble", patches=names), name="deepid2_ensemble"), name="deepid2_ensemble", num_parameters=7,
    input_size=(112, 112), preprocess=SimpleNamespace(channels=3), embedding_size=3 * EACH, meta={"images": 400, "identities": 100, "step": 5},
  )
  ready = TrainedPatches("small", model, names, training, lfw, lists, tmp_path / "system")
  monkeypatch.setattr(patch_groups, "train_patches", lambda *given, **options: ready)
  found = patch_groups.run_patch_groups("small", tmp_path, **GIVEN, command="the command")
  assert {file.name for file in ready.out.iterdir()} == {"groups.json", "groups_view2.json", "trace.csv", "patches.png", "small_groups.json"}
  kept = Measured.read(ready.out / "small_groups.json")
  assert kept.command == "the command" and list(kept.figures) == list(found.figures) and kept.network["patches_of_a_group"] == 2
  assert kept.figures["fusion, 2 groups"]["accuracy"] == found.figures["fusion, 2 groups"]["accuracy"] and "fusion, 2 groups" in found.table()
