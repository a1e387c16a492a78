"""LFW's rules of training: what a fit is given, the thresholds, the figures, and the command."""

import json
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation.protocols.lfw import read_view_1, read_view_2
from jaxface.formats import DamagedData, Embeddings, write_embeddings
from jaxface.verifiers import RowPairs, Verifier, evaluate_on_lfw, fit, kinds, lfw
from jaxface.verifiers.front import Front
from jaxface.verifiers.lfw import fit_fold, tasks

FOLDS, PEOPLE, IMAGES, SIZE = 3, 12, 3, 4
NAMES = [[f"P{fold}_{person}" for person in range(PEOPLE)] for fold in range(FOLDS)]


def write_lists(folder):
  """`pairs.txt` and `people.txt` of three folds, and view 1's lists of the first two."""
  blocks = []
  for names in NAMES:
    same = [f"{name}\t1\t2" for name in names]
    different = [f"{name}\t1\t{other}\t3" for name, other in zip(names, names[1:] + names[:1])]
    blocks.append(same + different)
  body = {"pairs.txt": [f"{FOLDS}\t{PEOPLE}", *chain(*blocks)], "pairsDevTrain.txt": [str(PEOPLE), *blocks[0]], "pairsDevTest.txt": [str(PEOPLE), *blocks[1]]}
  counted = [[f"{name}\t{IMAGES}" for name in names] for names in NAMES]
  body["people.txt"] = [str(FOLDS), *chain(*([str(PEOPLE), *lines] for lines in counted))]
  body["peopleDevTrain.txt"] = [str(PEOPLE), *counted[0]]
  for name, lines in body.items():
    (folder / name).write_text("\n".join(lines) + "\n")
  return folder


def made_embeddings(seed=0):
  """Gaussian people, in an order of their own; the third image of each is in `people.txt` and non-mated pairs only."""
  random = np.random.default_rng(seed)
  names = [f"{name}/{name}_{image:04d}" for fold in NAMES for name in fold for image in range(1, IMAGES + 1)]
  row_nd = random.normal(size=(len(names) // IMAGES, 1, SIZE)) + random.normal(size=(1, IMAGES, SIZE)) + 0.6 * random.normal(size=(len(names) // IMAGES, IMAGES, SIZE))
  order = random.permutation(len(names))
  return Embeddings(row_nd.reshape(-1, SIZE)[order].astype(np.float32), [names[row] for row in order], None, {"mirror": "sum"})


def fold_of(name):
  return int(name[1 : name.index("_")])


@pytest.fixture
def lists(tmp_path):
  return write_lists(tmp_path)


@pytest.fixture
def recorded(monkeypatch):
  """Kinds "of-labels" and "of-pairs", and what their fits are given."""
  calls = []

  @dataclass(frozen=True, eq=False, repr=False)
  class OfLabels(Verifier):
    kind, what, learns = "of-labels", "product", "labels"

    @classmethod
    def fit(cls, embedding_nd, target=None):
      calls.append((np.asarray(embedding_nd), target))
      return cls(Front(embedding_nd.shape[1], False))

    def compare(self, left_pk, right_pk):
      return (left_pk * right_pk).sum(1)

  class OfPairs(OfLabels):
    kind, learns = "of-pairs", "pairs"

  more = {**kinds.VERIFIERS, "of-labels": OfLabels, "of-pairs": OfPairs}
  for module in (fit, lfw):
    monkeypatch.setattr(module, "VERIFIERS", more)
  return calls


def given_names(given, row_nd):
  """Names of the embeddings that a fit was given, by their numbers."""
  name_of = {row.tobytes(): name for row, name in zip(given.embedding_nd, given.names)}
  return [name_of[row.tobytes()] for row in row_nd]


@pytest.mark.parametrize("kind", ["of-labels", "of-pairs"])
def test_a_fit_is_given_the_people_of_the_other_folds_and_no_others(lists, recorded, kind):
  given = made_embeddings()
  found = evaluate_on_lfw(kind, given, lists)
  assert [one.fold for one in found.fits] == list(range(FOLDS)) and len(recorded) == FOLDS
  for fold, (row_nd, label_n) in enumerate(recorded):
    names = given_names(given, row_nd)
    assert sorted(names) == sorted(name for name in given.names if fold_of(name) != fold)
    assert tuple(names) == found.fits[fold].names
    people = [name.split("/")[0] for name in names]
    assert len({*zip(people, label_n.tolist())}) == len(set(people)) == len(set(label_n.tolist()))


def test_restricted_fits_are_given_the_pairs_of_the_other_folds_and_no_labels(lists, recorded):
  given = made_embeddings()
  evaluate_on_lfw("of-pairs", given, lists, setting="restricted")
  pairs = read_view_2(lists).pairs
  for fold, (row_nd, target) in enumerate(recorded):
    names = given_names(given, row_nd)
    assert isinstance(target, RowPairs) and not any(fold_of(name) == fold for name in names)
    assert [(names[a], names[b], bool(same)) for a, b, same in zip(*target)] == [
      (a, b, bool(same)) for a, b, same, number in zip(pairs.left, pairs.right, pairs.same, pairs.fold) if number != fold
    ]
    assert set(names) == {names[row] for row in (*target.left_p, *target.right_p)}
  with pytest.raises(ValueError, match="of-labels learns from labels of people, which the restricted setting does not give"):
    evaluate_on_lfw("of-labels", given, lists, setting="restricted")


@pytest.mark.parametrize("kind, setting, options", [
  ("joint-bayesian", "unrestricted", {"iterations": 3}), ("cosine", "unrestricted", {"components": 2}), ("cosine", "restricted", {"components": 2}),
])
def test_the_people_of_the_tested_fold_do_not_change_a_fit_and_the_others_do(lists, kind, setting, options):
  given = made_embeddings()
  one = list(tasks(read_view_2(lists, setting), lists, setting))[1]
  clean = fit_fold(kind, given, one, **options)

  def poisoned(fold, value):
    row_nd = given.embedding_nd.copy()
    row_nd[[row for row, name in enumerate(given.names) if fold_of(name) == fold]] = value
    return Embeddings(row_nd, given.names, None, given.meta)

  for value in (np.nan, 0.0, 1e6):
    same = fit_fold(kind, poisoned(1, value), one, **options)
    assert same.threshold == clean.threshold and same.names == clean.names
    for arrays, theirs in ((clean.verifier.arrays(), same.verifier.arrays()), (clean.verifier.front.arrays(), same.verifier.front.arrays())):
      for name, array in arrays.items():
        np.testing.assert_array_equal(array, theirs[name])
  other = Embeddings(given.embedding_nd.copy(), given.names, None, given.meta)
  other.embedding_nd[[row for row, name in enumerate(given.names) if fold_of(name) == 2]] *= np.float32([1, 2, 3, -1])
  changed = fit_fold(kind, other, one, **options)
  assert changed.threshold != clean.threshold
  with pytest.raises(ValueError, match="not finite"):
    fit_fold(kind, poisoned(2, np.nan), one, **options)


def test_thresholds_are_the_best_of_the_other_folds_and_figures_those_of_the_fits(lists):
  given, pairs = made_embeddings(), read_view_2(lists).pairs
  found = evaluate_on_lfw("joint-bayesian", given, lists, iterations=3)
  row_of = {name: row for row, name in enumerate(given.names)}
  left_nd, right_nd = (given.embedding_nd[[row_of[name] for name in side]] for side in (pairs.left, pairs.right))
  for one in found.fits:
    score_p, inside_p = one.verifier.score(left_nd, right_nd), pairs.fold == one.fold
    right = lambda at, where: np.mean((score_p[where] >= at) == pairs.same[where])  # noqa: B023, E731
    assert right(one.threshold, ~inside_p) == max(right(at, ~inside_p) for at in (*score_p, np.inf))
    np.testing.assert_allclose(found.found.score_p[inside_p], score_p[inside_p], rtol=1e-12)
    assert found.figures["folds"][one.fold]["accuracy"] == right(one.threshold, inside_p)
  assert found.figures["accuracy"] == np.mean([fold["accuracy"] for fold in found.figures["folds"]])
  assert found.figures["protocol"] == "lfw-view2-unrestricted" and found.figures["score"] == "joint-bayesian"
  assert found.differences["accuracy"].value == pytest.approx(found.figures["accuracy"] - found.figures["cosine"]["accuracy"])


def test_kinds_that_learn_nothing_have_the_figures_of_the_protocol(lists):
  given = made_embeddings()
  found = evaluate_on_lfw("cosine", given, lists)
  assert found.figures["accuracy"] == found.figures["cosine"]["accuracy"] and found.differences["auc"].value == 0
  one = evaluate_on_lfw("cosine", given, lists, view=1)
  rules = read_view_1(lists)
  assert one.figures["accuracy"] == rules.evaluate(given).figures["accuracy"] and one.figures["threshold_from"] == "train pairs"


def test_view_1_is_fitted_on_its_training_people(lists, recorded):
  given = made_embeddings()
  evaluate_on_lfw("of-labels", given, lists, view=1)
  [(row_nd, _)] = recorded
  assert sorted(given_names(given, row_nd)) == sorted(name for name in given.names if fold_of(name) == 0)


def test_somebody_in_two_folds_is_an_error(lists):
  text = (lists / "people.txt").read_text()
  (lists / "people.txt").write_text(text.replace("P2_3\t3", "P0_3\t3").replace("P2_3", "P0_3"))
  pairs = (lists / "pairs.txt").read_text()
  (lists / "pairs.txt").write_text(pairs.replace("P2_3", "P0_3"))
  with pytest.raises(DamagedData, match="'P0_3' is in fold 0 and in the lists that it is trained on"):
    evaluate_on_lfw("cosine", made_embeddings(), lists)


def test_missing_images_are_an_error_or_skipped_with_a_note(lists):
  given = made_embeddings()
  gone = given.names.index("P1_4/P1_4_0002")
  part = Embeddings(np.delete(given.embedding_nd, gone, 0), [name for row, name in enumerate(given.names) if row != gone], None, given.meta)
  with pytest.raises(ValueError, match="P1_4_0002"):
    evaluate_on_lfw("joint-bayesian", part, lists)
  found = evaluate_on_lfw("joint-bayesian", part, lists, skip_missing=True, iterations=2)
  assert found.figures["pairs"] == 2 * FOLDS * PEOPLE - 1 and any("1 of 72 pairs are ignored" in note for note in found.notes)


def test_the_command_prints_and_writes_the_figures(lists, tmp_path, capsys):
  write_embeddings(tmp_path / "lfw.npz", made_embeddings())
  line = ["verifier", "lfw", "joint-bayesian", "--embeddings", str(tmp_path / "lfw.npz"), "--lists", str(lists)]
  assert main([*line, "--iterations", "3", "--json", str(tmp_path / "out.json")]) == 0
  shown = capsys.readouterr()
  assert "verifier − cosine, in percent points:" in shown.out and "fold 2: joint-bayesian fitted on 72 images" in shown.err
  figures = json.loads((tmp_path / "out.json").read_text())
  assert figures["accuracy"] == evaluate_on_lfw("joint-bayesian", made_embeddings(), lists, iterations=3).figures["accuracy"]
  assert main([*line, "--setting", "restricted"]) == 2
  assert "learns from labels of people" in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.parametrize("setting", ["restricted", "unrestricted"])
def test_no_person_of_a_fold_of_the_official_lists_is_in_its_training(face_data, setting):
  folder = face_data / "protocols"
  rules = read_view_2(folder, setting)
  made = list(tasks(rules, folder, setting))
  assert [one.fold for one in made] == list(range(10))
  for one in made:
    tested = {*one.test.left, *one.test.right}
    trained = {*one.train.left, *one.train.right, *one.person}
    assert len(one.test) == 600 and len(one.train) == 5400 and not tested & trained
    assert not {name.split("/")[0] for name in tested} & {name.split("/")[0] for name in trained}
  images = [len(one.person) for one in made]
  assert sum(images) == (9 * 13233 if setting == "unrestricted" else 0)
