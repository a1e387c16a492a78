"""DeepFace's verification on LFW's folds: against the definition, LFW's rules, and by the command."""

from dataclasses import replace

import numpy as np
import pytest
from lfw_lists import FILES, FOLDS, IMAGES, PEOPLE, write_lists

from jaxface.commands.main import main
from jaxface.evaluation import verify
from jaxface.evaluation.protocols.lfw import read_view_2
from jaxface.formats import Embeddings, write_embeddings
from jaxface.pipeline.papers.deepface import (
  ENSEMBLE_PENALTY,
  deepface_on_lfw,
  ensemble,
  normalised,
  side_by_side,
)
from jaxface.pipeline.papers.result_file import Measured
from jaxface.verifiers import FusionPart, InnerProduct, evaluate_on_lfw
from jaxface.verifiers.lfw import tasks
from jaxface.verifiers.linear import fit_svm

SIZE = 6


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
  return write_lists(tmp_path_factory.mktemp("lists"))


def made(seed, noise=0.5):
  """Features of people that are not negative, as after a ReLU."""
  rng = np.random.default_rng(seed)
  person_nd = np.repeat(rng.normal(0.5, 1, size=(len(FILES) // IMAGES, SIZE)), IMAGES, axis=0)
  feature_nd = np.maximum(person_nd + noise * rng.normal(size=person_nd.shape), 0) + 0.01
  return Embeddings(feature_nd.astype(np.float32), FILES, None, {"raw": True, "mirror": "none"})


def test_the_inner_product_is_that_of_normalised_features(lists):
  lfw, train = made(0), made(1)
  found = deepface_on_lfw([lfw], [train], lists, tune=False, say=lambda line: None).figures["inner product"]
  largest = [max(*(float(row[feature]) for row in train.embedding_nd), 0.05) for feature in range(SIZE)]
  rows = {}
  for name, row in zip(lfw.names, lfw.embedding_nd):
    share = [float(value) / limit for value, limit in zip(row, largest)]
    rows[name] = np.array(share) / np.sqrt(sum(value**2 for value in share))
  pairs = read_view_2(lists).pairs
  score_p = np.array([rows[a] @ rows[b] for a, b in zip(pairs.left, pairs.right)])
  assert found["accuracy"] == verify(np.stack(list(rows.values())), pairs, names=list(rows)).accuracy
  same, other = score_p[pairs.same], score_p[~pairs.same]
  auc = np.mean([(a > b) + 0.5 * (a == b) for a in same for b in other])
  assert found["auc"] == pytest.approx(auc, abs=1e-6)


@pytest.mark.parametrize("kind, setting, title", [("chi-square", "restricted", "chi-square, restricted"), ("siamese", "unrestricted", "Siamese, unrestricted")])
def test_both_fits_follow_the_rules_of_lfw(kind, setting, title, lists):
  lfw, train = made(2), made(3)
  found = deepface_on_lfw([lfw], [train], lists, tune=False, say=lambda line: None).figures[title]
  options = {"normalise": False} if kind == "chi-square" else {}
  right = evaluate_on_lfw(kind, normalised(lfw, train), lists, setting=setting, say=lambda line: None, **options).figures
  assert {key: found[key] for key in ("accuracy", "accuracy_se", "auc", "pairs")} == {key: right[key] for key in ("accuracy", "accuracy_se", "auc", "pairs")}


def test_an_ensemble_weighs_its_members_by_the_training_pairs_only(lists):
  by_fold = list(tasks(read_view_2(lists, "restricted"), lists, "restricted"))
  good, noise = normalised(made(6), made(7)), normalised(made(8, noise=50.0), made(9))
  joined = side_by_side([noise, good])
  parts = [FusionPart(InnerProduct.fit(one.embedding_nd), np.arange(SIZE) + SIZE * number) for number, one in enumerate((noise, good))]
  found = ensemble(joined, by_fold, [[parts] * FOLDS])
  for one, task in zip(found, by_fold):
    assert one.kind == "fusion" and abs(one.linear.weight_k[0]) < 0.3 * one.linear.weight_k[1]
    # The same by scikit-learn, from the scores of the training pairs.
    score_pm = np.stack([part.of(joined.embedding_nd) @ part.of(joined.embedding_nd).T for part in parts])[
      :, *([joined.names.index(name) for name in side] for side in (task.train.left, task.train.right))].T
    right = fit_svm(score_pm, task.train.same, penalty=ENSEMBLE_PENALTY)
    np.testing.assert_allclose(one.linear.weight_k, right.weight_k, rtol=1e-4)
  flipped = [task._replace(test=replace(task.test, same=~task.test.same)) for task in by_fold]
  for one, other in zip(found, ensemble(joined, flipped, [[parts] * FOLDS])):
    assert one.linear.weight_k.tolist() == other.linear.weight_k.tolist()


def test_embeddings_side_by_side_follow_the_names():
  first, second = made(0), made(1)
  order = np.random.default_rng(0).permutation(len(FILES))
  mixed = replace(second, embedding_nd=second.embedding_nd[order], names=[FILES[row] for row in order])
  np.testing.assert_array_equal(side_by_side([first, mixed]).embedding_nd, np.concatenate([first.embedding_nd, second.embedding_nd], 1))
  with pytest.raises(ValueError, match=f"the second lacks '{FILES[-1]}'"):
    side_by_side([first, replace(second, embedding_nd=second.embedding_nd[:-1], names=FILES[:-1])])


def test_other_alignments_are_compared_on_the_pairs_of_both(lists):
  lfw, train = made(0), made(1)
  worse = made(0, noise=3.0)
  half = replace(worse, embedding_nd=worse.embedding_nd[: 2 * PEOPLE * IMAGES], names=FILES[: 2 * PEOPLE * IMAGES])
  found = deepface_on_lfw([lfw], [train], lists, tune=False, others={"none": half}, say=lambda line: None).figures
  assert found["inner product, none"]["pairs"] == found["inner product, same pairs as none"]["pairs"] == 2 * 2 * PEOPLE < found["inner product"]["pairs"]
  assert found["inner product, none"]["auc"] < found["inner product, same pairs as none"]["auc"] - 0.1


def test_two_networks_are_better_than_one_where_their_errors_are_independent(lists):
  rng = np.random.default_rng(5)
  person_nd = np.repeat(rng.normal(0.5, 1, size=(FOLDS * PEOPLE, SIZE)), IMAGES, axis=0)
  networks = [replace(made(0), embedding_nd=(np.maximum(person_nd + rng.normal(size=person_nd.shape), 0) + 0.01).astype(np.float32)) for _ in range(4)]
  found = deepface_on_lfw(networks, networks, lists, tune=False, say=lambda line: None)
  members = [f"{one}{'' if number == 1 else f', network {number}'}" for one in ("chi-square, restricted", "Siamese, unrestricted") for number in range(1, 5)]
  assert list(found.figures) == ["inner product", *members, "ensemble, restricted", "ensemble, unrestricted"]
  assert found.figures["ensemble, restricted"]["auc"] > found.figures["chi-square, restricted"]["auc"] + 0.03


def test_what_is_wrong_is_named(lists):
  lfw, train = made(0), made(1)
  with pytest.raises(ValueError, match="2 embeddings of LFW and 1 of training sets"):
    deepface_on_lfw([lfw, lfw], [train], lists)
  with pytest.raises(ValueError, match="scaled to length one"):
    deepface_on_lfw([replace(lfw, meta={"raw": False})], [train], lists)
  with pytest.raises(ValueError, match="this normalisation is for networks that end with a ReLU"):
    deepface_on_lfw([replace(lfw, embedding_nd=-lfw.embedding_nd)], [train], lists)


def test_the_command_writes_a_result_that_the_table_shows(lists, tmp_path, capsys):
  for name, seed in (("lfw", 0), ("train", 1)):
    write_embeddings(tmp_path / f"{name}.npz", made(seed))
  out = tmp_path / "results" / "deepface_system.json"
  assert main(["papers", "deepface", "--run", "--lfw", str(tmp_path / "lfw.npz"), "--train", str(tmp_path / "train.npz"), "--lists", str(lists), "--out", str(out)]) == 0
  told = capsys.readouterr()
  assert "view 1, siamese, penalty 0.1: AUC" in told.err + told.out and "chi-square, restricted: accuracy" in told.out
  found = Measured.read(out)
  assert set(found.network["penalties"]) == {"chi-square", "siamese"} and found.command.startswith("jaxface papers deepface --run")
  assert main(["papers", "deepface", "--table", "--results", str(out.parent)]) == 0
  assert f"{100 * found.figures['inner product']['accuracy']:.2f}" in capsys.readouterr().out
  assert main(["papers", "vggface", "--run"]) == 2
