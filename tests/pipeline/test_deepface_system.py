"""DeepFace's verification on LFW's folds: against the definition, LFW's rules, and by the command."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import verify
from jaxface.evaluation.protocols.lfw import read_view_2
from jaxface.formats import Embeddings, write_embeddings
from jaxface.pipeline.papers.deepface import _Fold, deepface_on_lfw, ensemble, normalised
from jaxface.pipeline.papers.result_file import Measured
from jaxface.verifiers import evaluate_on_lfw
from jaxface.verifiers.lfw import tasks

FOLDS, PEOPLE, IMAGES, SIZE = 3, 12, 3, 6
NAMES = [[f"P{fold}_{person}" for person in range(PEOPLE)] for fold in range(FOLDS)]


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
  folder = tmp_path_factory.mktemp("lists")
  blocks = [[f"{name}\t1\t2" for name in names] + [f"{a}\t1\t{b}\t3" for a, b in zip(names, names[1:] + names[:1])] for names in NAMES]
  counted = [[f"{name}\t{IMAGES}" for name in names] for names in NAMES]
  for name, lines in {
    "pairs.txt": [f"{FOLDS}\t{PEOPLE}", *chain(*blocks)],
    "people.txt": [str(FOLDS), *chain(*([str(PEOPLE), *lines] for lines in counted))],
    "pairsDevTrain.txt": [str(PEOPLE), *blocks[0]], "pairsDevTest.txt": [str(PEOPLE), *blocks[1]], "peopleDevTrain.txt": [str(PEOPLE), *counted[0]],
  }.items():
    (folder / name).write_text("\n".join(lines) + "\n")
  return folder


def made(seed, noise=0.5):
  """Features of people that are not negative, as after a ReLU."""
  rng = np.random.default_rng(seed)
  names = [f"{name}/{name}_{image:04d}" for fold in NAMES for name in fold for image in range(1, IMAGES + 1)]
  person_nd = np.repeat(rng.normal(0.5, 1, size=(len(names) // IMAGES, SIZE)), IMAGES, axis=0)
  feature_nd = np.maximum(person_nd + noise * rng.normal(size=person_nd.shape), 0) + 0.01
  return Embeddings(feature_nd.astype(np.float32), names, None, {"raw": True, "mirror": "none"})


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
  rng = np.random.default_rng(0)

  def scores(strength):
    return [_Fold(strength * task.train.same + rng.normal(size=len(task.train)), strength * task.test.same + rng.normal(size=len(task.test))) for task in by_fold]

  good, noise = scores(5.0), scores(0.0)
  found = ensemble(by_fold, [noise, good])
  for one, member in zip(found, good):
    assert np.corrcoef(one.test_p, member.test_p)[0, 1] > 0.95
  flipped = [task._replace(test=replace(task.test, same=~task.test.same)) for task in by_fold]
  for one, other in zip(found, ensemble(flipped, [noise, good])):
    assert one.test_p.tolist() == other.test_p.tolist()


def test_two_networks_are_better_than_one_where_their_errors_are_independent(lists):
  rng = np.random.default_rng(5)
  person_nd = np.repeat(rng.normal(0.5, 1, size=(FOLDS * PEOPLE, SIZE)), IMAGES, axis=0)
  networks = [replace(made(0), embedding_nd=(np.maximum(person_nd + rng.normal(size=person_nd.shape), 0) + 0.01).astype(np.float32)) for _ in range(4)]
  found = deepface_on_lfw(networks, networks, lists, tune=False, say=lambda line: None)
  assert list(found.figures) == ["inner product", "chi-square, restricted", "Siamese, unrestricted", "ensemble, restricted", "ensemble, unrestricted"]
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
  out = tmp_path / "results" / "deepface.json"
  assert main(["papers", "deepface", "--run", "--lfw", str(tmp_path / "lfw.npz"), "--train", str(tmp_path / "train.npz"), "--lists", str(lists), "--out", str(out)]) == 0
  told = capsys.readouterr()
  assert "view 1, siamese, penalty 0.1: AUC" in told.err + told.out and "chi-square, restricted: accuracy" in told.out
  found = Measured.read(out)
  assert set(found.network["penalties"]) == {"chi-square", "siamese"} and found.command.startswith("jaxface papers deepface --run")
  assert main(["papers", "deepface", "--table", "--results", str(out.parent)]) == 0
  assert f"{100 * found.figures['inner product']['accuracy']:.2f}" in capsys.readouterr().out
  assert main(["papers", "vggface", "--run"]) == 2
