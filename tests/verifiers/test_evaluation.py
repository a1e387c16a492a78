"""Pair lists scored by a verifier: figures, thresholds that are no cosines, and the commands."""

import json

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import compare, evaluate, fold_accuracy, read_evaluation, verify_pairs
from jaxface.formats import Embeddings, Pairs, read_lfw_pairs, write_embeddings
from jaxface.pipeline.report import report_files
from jaxface.verifiers import L2, Cosine, JointBayesian, Verifier, fit_verifier, read_verifier

META = {"model_digest": "0123456789abcdef", "mirror": "sum", "raw": False}


def embeddings(seed=0, people=30, images=4, size=5, meta=META, letter="p"):
  """Gaussian people, named `p0/0`, in an order of their own."""
  random = np.random.default_rng(seed)
  spread_d = np.linspace(2, 0.3, size)
  row_nd = (random.normal(size=(people, 1, size)) + random.normal(size=(people, images, size)) * spread_d).reshape(-1, size)
  names = [f"{letter}{person}/{image}" for person in range(people) for image in range(images)]
  order = random.permutation(len(names))
  return Embeddings(row_nd[order].astype(np.float32), [names[row] for row in order], order // images, dict(meta))


def pair_list(people=30, folds=3):
  """Of each person two mated pairs and two with the next one of the fold, whose people are in no other."""
  rows = []
  for person in range(people):
    fold = person * folds // people
    other = person + 1 if (person + 1) * folds // people == fold else fold * people // folds
    rows += [(f"p{person}/0", f"p{person}/1", True, fold), (f"p{person}/2", f"p{person}/3", True, fold)]
    rows += [(f"p{person}/0", f"p{other}/1", False, fold), (f"p{person}/2", f"p{other}/3", False, fold)]
  left, right, same, fold = zip(*rows)
  return Pairs(list(left), list(right), np.array(same), np.array(fold))


def fitted():
  return fit_verifier("joint-bayesian", embeddings(1, 60, letter="t"))


class Stretched(Verifier):
  """A rising function of the cosine, with values far outside of [-1, 1]."""

  kind = what = "stretched"

  @classmethod
  def fit(cls, embedding_nd, target=None):
    return cls(Cosine.fit(embedding_nd).front)

  def compare(self, left_pk, right_pk):
    return 100 * Cosine(self.front).compare(left_pk, right_pk) ** 3 - 500


def test_figures_are_those_of_the_scores_of_single_pairs():
  given, pairs, verifier = embeddings(), pair_list(), fitted()
  row_of = {name: row for row, name in enumerate(given.names)}
  one = lambda name: given.embedding_nd[row_of[name]][None]  # noqa: E731
  score_p = np.array([verifier.score(one(left), one(right))[0] for left, right in zip(pairs.left, pairs.right)])
  found = verify_pairs(given.embedding_nd, given.names, pairs, score=verifier)
  np.testing.assert_allclose(found.score_p, score_p, rtol=1e-9, atol=1e-9)
  folds = fold_accuracy(found.score_p, pairs.same, pairs.fold)
  np.testing.assert_array_equal(found.folds.accuracy, folds.accuracy)
  for fold in range(3):  # by hand: the accuracy of the fold at its threshold, which is the best of the other folds
    inside_p, threshold = pairs.fold == fold, found.folds.threshold[fold]
    right = lambda at, where: np.mean((found.score_p[where] >= at) == pairs.same[where])  # noqa: E731
    assert right(threshold, inside_p) == found.folds.accuracy[fold]
    assert right(threshold, ~inside_p) == max(right(at, ~inside_p) for at in (*found.score_p, np.inf))
  assert found.accuracy == found.folds.accuracy.mean() and found.threshold == found.folds.threshold.mean()


def test_a_rising_function_of_the_cosine_keeps_every_figure():
  given, pairs = embeddings(), pair_list()
  plain = verify_pairs(given.embedding_nd, given.names, pairs)
  found = verify_pairs(given.embedding_nd, given.names, pairs, score=Stretched.fit(given.embedding_nd))
  ours, theirs = found.to_json(), plain.to_json()
  for name in ("accuracy", "accuracy_se", "auc", "eer", "tar_at_far", "accuracy_interval", "auc_interval", "pairs", "mated"):
    assert ours[name] == theirs[name], name
  assert ours["threshold"] < -300 and found.score_p.max() < -399
  assert [each["accuracy"] for each in ours["folds"]] == [each["accuracy"] for each in theirs["folds"]]
  difference = compare(plain, found)["accuracy"]
  assert difference.value == 0


def test_thresholds_of_other_scores_are_not_called_cosines():
  given, pairs, verifier = embeddings(), pair_list(), fitted()
  found = evaluate(given, pairs, score=verifier)
  text = json.dumps(found.figures)
  assert "cosine" not in text and "l2_squared" not in text and "cosine" not in str(found) and "L2²" not in str(found)
  assert found.figures["score"] == "joint-bayesian"
  assert found.figures["threshold"] == found.verification.threshold == np.mean([fold["threshold"] for fold in found.figures["folds"]])
  assert f"threshold {found.verification.threshold:.4f} of joint-bayesian" in str(found)
  for name in ("threshold_cosine", "threshold_l2_squared"):
    with pytest.raises(ValueError, match=r"scored by joint-bayesian: the threshold .* is no cosine"):
      getattr(found.verification, name)
  same = evaluate(given, pairs, score=Cosine.fit(given.embedding_nd))  # the cosine itself is one
  assert same.figures == evaluate(given, pairs).figures


def test_other_lists_may_set_the_threshold_and_lists_of_one_kind_give_scores():
  given, pairs, verifier = embeddings(), pair_list(), fitted()
  parts = [np.flatnonzero(pairs.fold == fold) for fold in range(2)]
  first, second = (Pairs([pairs.left[at] for at in part], [pairs.right[at] for at in part], pairs.same[part], pairs.fold[part]) for part in parts)
  found = evaluate(given, second, threshold_from=first, score=verifier)
  threshold = fold_accuracy(evaluate(given, first, score=verifier).score_p, first.same, first.fold).threshold[0]
  assert found.figures["threshold"] == threshold and found.figures["threshold_from"] == "train pairs"
  mated = np.flatnonzero(second.same)
  alike = Pairs([second.left[at] for at in mated], [second.right[at] for at in mated], second.same[mated], second.fold[mated])
  alone = evaluate(given, alike, threshold_from=first, score=verifier)
  assert alone.figures["accepted"] == (alone.score_p >= threshold).sum() and alone.figures["threshold"] == threshold
  assert alone.figures["score_max"] == alone.score_p.max() and alone.figures["scores"][0]["score"] == alone.score_p[0]
  assert "cosine" not in str(alone) and str(alone).startswith("joint-bayesian  pair")


def test_what_does_not_go_with_a_verifier_is_an_error(tmp_path):
  given, pairs, verifier = embeddings(), pair_list(), fitted()
  with pytest.raises(ValueError, match="mirror 'none', not 'sum', as the embeddings that joint-bayesian was fitted on"):
    evaluate(embeddings(meta={**META, "mirror": "none"}), pairs, score=verifier)
  with pytest.raises(ValueError, match="threshold of a model is a cosine"):
    evaluate(given, pairs, score=verifier, threshold_from=tmp_path)
  with pytest.raises(ValueError, match="normalise changes the embeddings that joint-bayesian was fitted on"):
    evaluate(given, pairs, score=verifier, normalise=tmp_path / "fit.json")
  with pytest.raises(ValueError, match="compares embeddings of 5 numbers"):
    evaluate(embeddings(size=4), pairs, score=verifier)
  bad = embeddings()
  bad.embedding_nd[bad.names.index("p3/1")] = np.nan
  with pytest.raises(ValueError, match=r"'p3/1'.* is zero or not finite"):
    evaluate(bad, pairs, score=verifier)


def test_fits_say_what_they_need():
  given = embeddings()
  with pytest.raises(ValueError, match=r"cosine has no setting 'update'; it has unit, components, whiten"):
    fit_verifier("cosine", given, update="exact")
  with pytest.raises(ValueError, match="kind = 'svm' is unknown: choose one of inner-product, l2, cosine"):
    fit_verifier("svm", given)
  with pytest.raises(ValueError, match="has no labels, which joint-bayesian learns from"):
    fit_verifier("joint-bayesian", Embeddings(given.embedding_nd, given.names))
  with pytest.raises(ValueError, match="joint-bayesian learns from labels, not from a list of pairs"):
    fit_verifier("joint-bayesian", given, pair_list=pair_list())
  found = fit_verifier("l2", Embeddings(given.embedding_nd, given.names, None, {"raw": True}), components=2)
  assert isinstance(found, L2) and found.raw and dict(found.made_from) == {"raw": True, "images": 120}


def test_the_commands_fit_describe_and_use_a_verifier(tmp_path, capsys):
  files = {name: str(tmp_path / name) for name in ("train.npz", "test.npz", "jb.npz", "pairs.csv", "out.json")}
  train, test, pairs = embeddings(1, 60, letter="t"), embeddings(), pair_list()
  write_embeddings(files["train.npz"], train)
  write_embeddings(files["test.npz"], test)
  lines = [f"{left},{right},{int(same)},{fold}" for left, right, same, fold in zip(pairs.left, pairs.right, pairs.same, pairs.fold)]
  (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
  arguments = ["--embeddings", files["train.npz"], "--out", files["jb.npz"], "--components", "4", "--no-unit", "--iterations", "7"]
  assert main(["verifier", "fit", "joint-bayesian", *arguments]) == 0
  shown = capsys.readouterr()
  assert "EM 7: log-likelihood" in shown.err and "joint-bayesian, 4 components, fitted on 240 images of 60 people" in shown.out
  expected = JointBayesian.fit(train.embedding_nd, train.label_n, components=4, unit=False, iterations=7)
  np.testing.assert_array_equal(read_verifier(files["jb.npz"]).between_kk, expected.between_kk)
  assert main(["verifier", "show", files["jb.npz"]]) == 0
  assert json.loads(capsys.readouterr().out)["made_from"] == {**META, "images": 240, "people": 60}
  assert main(["evaluate", "--pairs", files["pairs.csv"], "--embeddings", files["test.npz"], "--verifier", files["jb.npz"], "--json", files["out.json"]]) == 0
  figures = json.loads((tmp_path / "out.json").read_text())
  assert figures["accuracy"] == verify_pairs(test.embedding_nd, test.names, pairs, score=expected).accuracy
  with pytest.raises(SystemExit):
    main(["evaluate", "--pairs", files["pairs.csv"], "--embeddings", files["test.npz"], "--verifier", files["jb.npz"], "--normalise", "n.npz"])
  assert "--normalise goes without --verifier" in capsys.readouterr().err


@pytest.mark.real_data
def test_the_official_lists_of_lfw_are_scored(face_data):
  pairs = read_lfw_pairs(face_data / "protocols" / "pairs.txt")
  names = sorted({*pairs.left, *pairs.right})
  random = np.random.default_rng(0)
  people = sorted({name.split("/")[0] for name in names})
  mean_pd = random.normal(size=(len(people), 6))
  row_of = {person: row for row, person in enumerate(people)}
  row_nd = np.stack([mean_pd[row_of[name.split("/")[0]]] for name in names]) + 0.5 * random.normal(size=(len(names), 6))
  verifier = JointBayesian.fit(random.normal(size=(400, 1, 6)).repeat(3, 1).reshape(-1, 6) + 0.5 * random.normal(size=(1200, 6)), np.arange(1200) // 3, unit=False)
  found = evaluate(Embeddings(row_nd.astype(np.float32), names), face_data / "protocols" / "pairs.txt", protocol="lfw", score=verifier)
  plain = evaluate(Embeddings(row_nd.astype(np.float32), names), face_data / "protocols" / "pairs.txt", protocol="lfw")
  assert found.figures["protocol"] == "lfw" and len(found.figures["folds"]) == 10
  # These faces are drawn from the model itself, so that the ratio of its densities is the best score.
  assert found.figures["accuracy"] > plain.figures["accuracy"]


def test_saved_scores_and_reports_name_the_verifier(tmp_path):
  given, pairs, verifier = embeddings(), pair_list(), fitted()
  found = evaluate(given, pairs, score=verifier, save=tmp_path / "jb.npz", title="Joint Bayesian")
  again = read_evaluation(tmp_path / "jb.npz")
  np.testing.assert_array_equal(again.score_p, found.score_p)
  assert again.verification.score_name == "joint-bayesian" and again.verification.to_json() == found.verification.to_json()
  report_files([tmp_path / "jb.npz"], tmp_path / "one.html", card=tmp_path / "one.md", figures=tmp_path / "one.json")
  page, card = (tmp_path / "one.html").read_text(), (tmp_path / "one.md").read_text()
  threshold = f"{found.verification.threshold:.4f}"
  assert "score of joint-bayesian" in page and "Accept at joint-bayesian ≥" in page and "cosine" not in page.split("<script", 1)[0].split("</style>", 1)[1]
  assert "L2²" not in page and f"| joint-bayesian | {threshold} | – |" in card
  evaluate(given, pairs, save=tmp_path / "cosine.npz", title="Cosine")
  report_files([tmp_path / "jb.npz", tmp_path / "cosine.npz"], tmp_path / "two.html", figures=tmp_path / "two.json")
  page, figures = (tmp_path / "two.html").read_text(), json.loads((tmp_path / "two.json").read_text())
  # Two scores have no common scale, hence no slider; both are compared by the paired tests.
  assert "no threshold applies to all of them" in page and 'type="range"' not in page
  assert "score of joint-bayesian" in page and "cosine similarity" in page
  expected = compare(found.verification, evaluate(given, pairs).verification)["accuracy"]
  [row] = [row for row in figures["comparisons"] if row["figure"] == "accuracy"]
  sign = 1 if row["first"] == "Joint Bayesian" else -1
  np.testing.assert_allclose([row["value"], row["p"]], [sign * expected.value, expected.p], atol=1e-12)
