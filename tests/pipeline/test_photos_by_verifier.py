"""Photos compared and identified by the scores of a verifier, and the rule of its threshold."""

import dataclasses
import json

import numpy as np
import pytest
from painted import PaintedDetector, save_people

import jaxface
from jaxface.commands.main import main
from jaxface.formats import Embeddings, Pairs, write_embeddings, write_pairs
from jaxface.gallery import OtherMaker, read_gallery
from jaxface.models.saved import save_model
from jaxface.models.threshold import write_threshold
from jaxface.pipeline import compare_photos, enrol_people, find_faces, identify_photo
from jaxface.pipeline.photos.decision import embed_aligned
from jaxface.verifiers import fit_verifier, read_verifier, set_verifier_threshold, write_verifier

SIZE = 16


@pytest.fixture(scope="module")
def model(random_model, tmp_path_factory):
  folder = tmp_path_factory.mktemp("models") / "net"
  save_model(folder, random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=SIZE, size=112))
  return jaxface.load(folder)


def embeddings(digest, people=60, seed=0, mirror="sum", letter="p"):
  random = np.random.default_rng(seed)
  row_nd = (random.normal(size=(people, 1, SIZE)) + 0.7 * random.normal(size=(people, 3, SIZE))).reshape(-1, SIZE)
  names = [f"{letter}{person}/{image}" for person in range(people) for image in range(3)]
  meta = {"model_digest": digest, "mirror": mirror, "raw": False}
  return Embeddings(row_nd.astype(np.float32), names, np.arange(len(names)) // 3, meta)


def pair_list(people=60, letter="t"):
  left = [f"{letter}{person}/0" for person in range(people)] * 2
  right = [f"{letter}{person}/1" for person in range(people)] + [f"{letter}{(person + 1) % people}/2" for person in range(people)]
  return Pairs(left, right, np.arange(2 * people) < people, np.zeros(2 * people, np.int64))


@pytest.fixture
def verifier(model):
  return fit_verifier("joint-bayesian", embeddings(model.saved.digest), iterations=5)


@pytest.fixture
def measured(model, verifier, tmp_path):
  set_verifier_threshold(verifier, 0.05, pair_list(), embeddings=embeddings(model.saved.digest, seed=1, letter="t"), write=tmp_path / "v.npz")
  return tmp_path / "v.npz"


@pytest.fixture
def people(tmp_path):
  return save_people(tmp_path / "people")


def test_the_threshold_is_that_of_the_verifiers_scores_and_stays_in_its_file(model, verifier, measured):
  given, pairs = embeddings(model.saved.digest, seed=1, letter="t"), pair_list()
  row_of = {name: row for row, name in enumerate(given.names)}
  left_nd, right_nd = (given.embedding_nd[[row_of[name] for name in side]] for side in (pairs.left, pairs.right))
  score_p = verifier.score(left_nd, right_nd)
  found = read_verifier(measured).threshold
  accepted = score_p >= found.value
  assert found.far == accepted[~pairs.same].mean() <= 0.05 and found.tar == accepted[pairs.same].mean()
  # The next lower score of a stranger would exceed the rate.
  lower = np.sort(score_p[~pairs.same])[::-1][int(accepted[~pairs.same].sum())]
  assert (score_p[~pairs.same] >= lower).mean() > 0.05
  assert found.score == "joint-bayesian" and abs(found.value) > 1e-9 and found.interval[0] <= found.value <= found.interval[1]
  with pytest.raises(ValueError, match="is of the scores of joint-bayesian, not a cosine"):
    _ = found.l2_squared
  scores = read_verifier(measured).score(left_nd, right_nd)
  np.testing.assert_array_equal(scores, score_p)


def test_an_open_interval_is_kept(verifier, measured, tmp_path):
  known = read_verifier(measured)
  open_end = dataclasses.replace(known.threshold, interval=(-250.0, np.inf), value=-200.0)
  write_verifier(tmp_path / "w.npz", dataclasses.replace(known, threshold=open_end))
  assert read_verifier(tmp_path / "w.npz").threshold == open_end


def test_a_models_folder_refuses_the_threshold_of_a_verifier(model, measured, tmp_path):
  save_model(tmp_path / "net", model.saved)
  with pytest.raises(ValueError, match="the threshold of a model is a cosine, this one is of the scores of joint-bayesian"):
    write_threshold(tmp_path / "net", read_verifier(measured).threshold)


def test_other_embeddings_have_no_threshold_of_a_verifier(model, verifier, tmp_path):
  given = embeddings(model.saved.digest, seed=1, letter="t")
  with pytest.raises(ValueError, match="mirror 'none', not 'sum'"):
    set_verifier_threshold(verifier, 0.05, pair_list(), embeddings=embeddings(model.saved.digest, seed=1, mirror="none", letter="t"))
  with pytest.raises(ValueError, match="kept in its file"):
    set_verifier_threshold(verifier, 0.05, pair_list(), embeddings=given, write=tmp_path / "net")


def test_photos_are_compared_by_the_score(people, model, verifier, measured):
  first, second = people / "ann" / "0.png", people / "bob" / "1.png"
  given = {"model": model, "detector": PaintedDetector()}
  found = compare_photos(first, second, verifier=measured, **given)
  faces = [one.faces[0] for one in find_faces([first, second], template="arcface112", detector=PaintedDetector())]
  row_nd = embed_aligned(model, faces)
  assert found.score == verifier.score(row_nd[:1], row_nd[1:])[0]
  assert found.decision.threshold == read_verifier(measured).threshold.value and found.decision.score == "joint-bayesian"
  assert compare_photos(first, second, verifier=verifier, threshold=found.score, **given).same
  assert not compare_photos(first, second, verifier=verifier, threshold=np.nextafter(found.score, np.inf), **given).same
  with pytest.raises(ValueError, match="joint-bayesian has no threshold, and that of the model is a cosine: measure it"):
    compare_photos(first, second, verifier=verifier, **given)
  with pytest.raises(ValueError, match="threshold nan"):
    compare_photos(first, second, verifier=verifier, threshold=float("nan"), **given)
  for other, message in (
    (dataclasses.replace(verifier, made_from={"model_digest": "another"}), "model_digest .* not 'another'"),
    (dataclasses.replace(verifier, made_from={"raw": True}), "fitted on the network's own numbers"),
    (fit_verifier("cosine", Embeddings(np.eye(3, dtype=np.float32), ["a", "b", "c"])), "embeddings of 3 numbers, those of .* have 16"),
  ):
    with pytest.raises(ValueError, match=message):
      compare_photos(first, second, verifier=other, threshold=0.0, **given)


def test_a_gallery_says_which_verifier_scores_it(people, tmp_path, model, verifier, measured):
  file, given = tmp_path / "people.gallery", {"model": model, "detector": PaintedDetector()}
  enrol_people(file, people, verifier=measured, **given)
  known = read_gallery(file)
  probe = people / "bob" / "1.png"
  [found], rule = identify_photo(file, probe, verifier=measured, count=3, **given)
  [face] = next(iter(find_faces([probe], template="arcface112", detector=PaintedDetector()))).faces
  score_p = verifier.score(np.repeat(embed_aligned(model, [face]), 3, 0), known.template_pd)
  order = np.argsort(-score_p)
  assert [one.person for one in found.found.candidates] == [known.people[row] for row in order] and found.found.candidates[0].person == "bob"
  np.testing.assert_allclose([one.score for one in found.found.candidates], score_p[order], rtol=1e-6)
  assert rule.score == "joint-bayesian" and rule.threshold == read_verifier(measured).threshold.value
  other = fit_verifier("joint-bayesian", embeddings(model.saved.digest, seed=5), iterations=5)
  with pytest.raises(OtherMaker, match=r"verifier '\w{16}', not none \(the cosine\)\. Use that verifier"):
    identify_photo(file, probe, threshold=0.3, **given)
  with pytest.raises(OtherMaker, match=r"verifier '\w{16}', not '\w{16}'\. Use that verifier"):
    identify_photo(file, probe, verifier=other, threshold=0.0, **given)
  with pytest.raises(OtherMaker, match="Use that verifier"):
    enrol_people(file, people, verifier=other, **given)
  with pytest.raises(OtherMaker, match="none"):
    enrol_people(file, people, **given)
  plain = tmp_path / "plain.gallery"
  enrol_people(plain, people, **given)
  with pytest.raises(OtherMaker, match=r"verifier none \(the cosine\), not '\w{16}'"):
    identify_photo(plain, probe, verifier=measured, **given)


def test_the_commands(people, tmp_path, model, verifier, monkeypatch, capsys):
  monkeypatch.setattr("jaxface.pipeline.photos.faces.load_detector", lambda given: PaintedDetector())
  save_model(tmp_path / "net", model.saved)
  write_embeddings(tmp_path / "test.npz", embeddings(model.saved.digest, seed=1, letter="t"))
  write_pairs(tmp_path / "pairs.tsv", pair_list())
  write_verifier(tmp_path / "v.npz", verifier)
  using = ["--model", str(tmp_path / "net"), "--verifier", str(tmp_path / "v.npz")]
  photos = [str(people / "ann" / "0.png"), str(people / "ann" / "1.png")]
  measure = ["threshold", "--far", "0.05", "--embeddings", str(tmp_path / "test.npz"), "--verifier", str(tmp_path / "v.npz")]
  assert main([*measure, "--all-pairs", "--write", str(tmp_path / "all.npz")]) == 0
  assert read_verifier(tmp_path / "all.npz").threshold.data["pairs"] == "all pairs"
  capsys.readouterr()
  assert main([*measure, "--pairs", str(tmp_path / "pairs.tsv"), "--write", str(tmp_path / "v.npz"), "--json", str(tmp_path / "t.json")]) == 0
  shown = capsys.readouterr().out
  assert "of the scores of joint-bayesian" in shown and "cosine" not in shown
  assert "l2_squared" not in json.loads((tmp_path / "t.json").read_text())
  assert main(["compare", *photos, *using]) == 0
  shown = capsys.readouterr().out
  assert shown.startswith("the same person: joint-bayesian ") and "cosine" not in shown
  assert main(["enrol", str(tmp_path / "g"), str(people), *using]) == 0
  assert main(["identify", str(tmp_path / "g"), photos[0], *using, "--json"]) == 0
  found = json.loads(capsys.readouterr().out.split("\n", 1)[1])
  assert found["score"] == "joint-bayesian" and found["faces"][0]["person"] == "ann"
