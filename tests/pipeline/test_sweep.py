"""Sweeps of models: levels, resuming, refusals, pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxface.commands.main import main
from jaxface.data import DegradedSource, FolderSource, synthesize
from jaxface.evaluation import compare, verify_pairs
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import read_pairs
from jaxface.inference import load
from jaxface.interop import import_model
from jaxface.models.saved import save_model
from jaxface.pipeline import AXES, OtherSweep, sweep
from jaxface.pipeline.sweeps.model import ModelSweep

NET = {"units": (1, 0, 0, 0), "width": 0.125, "embedding_size": 8}


@pytest.fixture(scope="module")
def world(tmp_path_factory, random_model):
  """Faces of ten people, a pair list with two folds, and two models."""
  folder = tmp_path_factory.mktemp("sweep")
  synthesize(folder / "faces", identities=10, images=3, size=32, seed=1)
  names = FolderSource(folder / "faces", size=None).names()
  people = sorted({name.split("/")[0] for name in names})
  of = {person: [name for name in names if name.split("/")[0] == person] for person in people}
  lines = []
  for fold in range(2):
    own = people[5 * fold : 5 * fold + 5]
    for at, person in enumerate(own):
      for image in (1, 2):
        lines.append(f"{of[person][0]}\t{of[person][image]}\t1\t{fold}")
        lines.append(f"{of[person][0]}\t{of[own[(at + image) % 5]][image]}\t0\t{fold}")
  (folder / "pairs.tsv").write_text("\n".join(lines) + "\n")
  saved = random_model("iresnet", size=32, **NET)
  save_model(folder / "first", saved)
  other = random_model("iresnet", size=32, **{**NET, "width": 0.25})
  save_model(folder / "second", replace(other, meta={"images": 500, "identities": 20}))
  return folder


@pytest.fixture(scope="module")
def models(world):
  """The loaded models: each is compiled once."""
  return {name: load(world / name) for name in ("first", "second")}


@pytest.fixture(autouse=True)
def loaded(models, monkeypatch):
  monkeypatch.setattr("jaxface.pipeline.sweeps.run.load", lambda path: models[Path(path).name])


def run(world, out, axes, model="first", **more):
  return sweep(world / model, world / "faces", world / "pairs.tsv", out, axes=axes, batch_size=16, devices=1, page=False, **more)


def without_seconds(value):
  if isinstance(value, dict):
    return {key: without_seconds(one) for key, one in value.items() if key != "seconds"}
  return [without_seconds(one) for one in value] if isinstance(value, list) else value


def test_levels_are_those_of_images_changed_embedded_and_verified_by_hand(world, models, tmp_path):
  (swept,) = run(world, tmp_path, {"jpeg": [20, 5]})
  model, source = models["first"], FolderSource(world / "faces", size=(32, 32))
  for row in (*swept.ordered, swept.reference):
    name = "" if row.value is None else "jpeg"
    degraded = DegradedSource(source, np.arange(30), name, row.value or 0)
    found = model.embed_named(degraded, batch_size=16, devices=1)
    expected = verify_pairs(found.embedding_nd, found.names, swept.reference.verification.pairs)
    np.testing.assert_allclose(row.verification.score_p, expected.score_p, atol=1e-5)
    assert row.verification.folds.threshold_from == "other folds"
  plain = json.loads((tmp_path / "sweep_jpeg.json").read_text())
  assert plain == swept.to_json() and [row["value"] for row in plain["rows"]] == [5, 20]
  assert plain["counts"]["pairs"] == 40 and plain["model"] == str(world / "first")
  one = compare(swept.reference.verification, swept.ordered[0].verification)["eer"]
  assert plain["rows"][0]["difference"]["eer"] == one.value and plain["rows"][0]["difference"]["eer_95"] == [one.low, one.high]


@pytest.mark.parametrize("degrade", ["both", "one"])
def test_a_level_that_changes_nothing_has_the_plain_figures(world, tmp_path, degrade):
  for swept in run(world, tmp_path, {"blur": [0], "noise": [0], "occlusion": [0], "pixels": [32 * 32], "size": [8]}, degrade=degrade):
    np.testing.assert_allclose(swept.rows[0].verification.score_p, swept.reference.verification.score_p, atol=1e-6)
    assert swept.rows[0].verification.accuracy == swept.reference.verification.accuracy, swept.axis


def test_one_side_changes_the_left_images_alone(world, models, tmp_path):
  (swept,) = run(world, tmp_path, {"noise": [40]}, degrade="one", seed=3)
  model, source = models["first"], FolderSource(world / "faces", size=(32, 32))
  plain, noisy = (
    model.embed_named(DegradedSource(source, np.arange(30), name, 40, 3), batch_size=16, devices=1) for name in ("", "noise")
  )
  row = {name: at for at, name in enumerate(plain.names)}
  pairs = swept.reference.verification.pairs
  expected = [float(noisy.embedding_nd[row[a]] @ plain.embedding_nd[row[b]]) for a, b in zip(pairs.left, pairs.right)]
  np.testing.assert_allclose(swept.rows[0].verification.score_p, expected, atol=1e-5)
  assert "the left image of a pair changed" in " ".join(swept.notes)


def test_a_sweep_that_was_stopped_goes_on_and_ends_with_the_same_file(world, tmp_path, monkeypatch):
  axes = {"jpeg": [5, 20, 60], "pca": [2, 4]}
  whole = run(world, tmp_path / "whole", axes)
  made = []
  embed = ModelSweep._embed

  def stopping(self, source, what):
    made.append(what)
    if what == "jpeg 20" and made.count(what) == 1:
      raise KeyboardInterrupt
    return embed(self, source, what)

  monkeypatch.setattr(ModelSweep, "_embed", stopping)
  with pytest.raises(KeyboardInterrupt):
    run(world, tmp_path / "parts", axes)
  assert not (tmp_path / "parts" / "sweep_jpeg.json").exists()
  again = run(world, tmp_path / "parts", {"jpeg": [60, 5, 20], "pca": [4, 2]})
  assert made == ["unchanged", "jpeg 5", "jpeg 20", "jpeg 20", "jpeg 60"]  # each finished level once
  for one, other in zip(whole, again):
    texts = [(tmp_path / name / f"sweep_{one.axis}.json").read_text() for name in ("whole", "parts")]
    assert without_seconds(json.loads(texts[0])) == without_seconds(json.loads(texts[1]))
    assert without_seconds(one.to_json()) == without_seconds(other.to_json())
  before = (tmp_path / "parts" / "sweep_jpeg.json").read_bytes()
  run(world, tmp_path / "parts", axes)
  assert made[5:] == [] and (tmp_path / "parts" / "sweep_jpeg.json").read_bytes() == before


def test_another_model_list_image_or_setting_in_the_folder_is_refused(world, tmp_path):
  run(world, tmp_path, {"jpeg": [20]})
  with pytest.raises(OtherSweep, match=r"plain\.json was made with other values of: model\. Give another --out"):
    run(world, tmp_path, {"jpeg": [20]}, model="second")
  with pytest.raises(OtherSweep, match=r"values of: mirror \(sum, now none\)"):
    run(world, tmp_path, {"jpeg": [20]}, mirror="none")
  with pytest.raises(OtherSweep, match=r"jpeg_20\.json was made with other values of: degrade \(both, now one\), seed \(0, now 1\)"):
    run(world, tmp_path, {"jpeg": [20]}, degrade="one", seed=1)
  fewer = tmp_path / "fewer.tsv"
  fewer.write_text("".join(line for line in (world / "pairs.tsv").read_text().splitlines(keepends=True)[2:]))
  with pytest.raises(OtherSweep, match="values of: pairs"):
    sweep(world / "first", world / "faces", fewer, tmp_path, axes={"jpeg": [20]})
  changed = tmp_path / "changed"
  for file in (world / "faces").rglob("*.*g"):
    to = changed / file.relative_to(world / "faces")
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(file.read_bytes())
  first = sorted(changed.rglob("*.*g"))[0]
  Image.open(first).rotate(90).save(first)
  with pytest.raises(OtherSweep, match="values of: images"):
    sweep(world / "first", changed, world / "pairs.tsv", tmp_path, axes={"jpeg": [20]})


def test_components_of_other_images_and_their_refusals(world, tmp_path):
  random = np.random.default_rng(0)
  other = Embeddings(random.normal(size=(40, 8)).astype(np.float32), [f"o{row}" for row in range(40)])
  (swept,) = run(world, tmp_path, {"pca": [3]}, pca_from=other)
  assert swept.to_json()["fit"] == "other images"
  with pytest.raises(OtherSweep, match="fit"):
    run(world, tmp_path, {"pca": [3]})
  with pytest.raises(ValueError, match="not 'concat'"):
    run(world, tmp_path, {"pca": [3]}, mirror="concat")


def test_models_by_size_and_what_a_model_does_not_record(world, tmp_path):
  models = [world / "second", world / "first"]
  flops, parameters = sweep(models, world / "faces", world / "pairs.tsv", tmp_path, by=("flops", "parameters"), batch_size=16, devices=1, page=False)
  for one in (flops, parameters):
    assert [row.model for row in one.rows] == [str(world / "first"), str(world / "second")] and one.reference is one.rows[0]
    assert 2 < one.rows[1].value / one.rows[0].value < 4.5  # twice the width
  assert parameters.rows[0].value == load(world / "first").num_parameters
  assert (tmp_path / "first" / "levels" / "plain.json").is_file() and json.loads((tmp_path / "sweep_flops.json").read_text())["axis"] == "flops"
  with pytest.raises(ValueError, match=r"first does not record its number of training images \(entry 'images'"):
    sweep(models, world / "faces", world / "pairs.tsv", tmp_path, by=("training-images",))
  with pytest.raises(ValueError, match="give several"):
    sweep(world / "first", world / "faces", world / "pairs.tsv", tmp_path, by=("flops",))


def test_wrong_requests_name_what_is_possible(world, tmp_path):
  with pytest.raises(ValueError, match="axis = 'rain' is unknown"):
    run(world, tmp_path, {"rain": [1]})
  with pytest.raises(ValueError, match="JPEG quality is from 1 to 100"):
    run(world, tmp_path, {"jpeg": [0]})
  with pytest.raises(ValueError, match="nothing to vary: give one of the axes jpeg"):
    run(world, tmp_path, {})
  with pytest.raises(ValueError, match="whole numbers from 1 to 8"):
    run(world, tmp_path, {"size": [9]})
  (tmp_path / "more.tsv").write_text((world / "pairs.tsv").read_text() + "nobody/1\tnobody/2\t1\t0\n")
  with pytest.raises(ValueError, match=r"2 images of the pair list are not there \(first: 'nobody/1'\)"):
    sweep(world / "first", world / "faces", tmp_path / "more.tsv", tmp_path, axes={"jpeg": [20]})
  (swept,) = sweep(world / "first", world / "faces", tmp_path / "more.tsv", tmp_path, axes={"jpeg": [20]}, skip_missing=True, batch_size=16, devices=1, page=False)
  assert len(swept.reference.verification.pairs) == 40 and "1 of 41 pairs are ignored" in swept.notes[0]


def test_the_command_prints_the_table_and_writes_the_pictures(world, tmp_path, capsys):
  arguments = ["sweep", "--model", str(world / "first"), "--images", str(world / "faces"), "--pairs", str(world / "pairs.tsv"), "--out", str(tmp_path)]
  arguments += ["--batch-size", "16", "--devices", "1"]
  assert main([*arguments, "--occlusion", "--pixels", "--size", "2,4"]) == 0
  printed = capsys.readouterr()
  tables = printed.out.strip().split("\n\n")
  assert [table.split("\n")[0].split(" of ")[0] for table in tables[:3]] == ["pixels", "share", "numbers"]
  assert "pixels: the usual levels 1,600, 6,400, 14,400, 25,600, 65,536 are left out" in printed.err
  plain = json.loads((tmp_path / "sweep_occlusion.json").read_text())
  assert [row["value"] for row in plain["rows"]] == list(AXES["occlusion"].levels)
  strip = Image.open(tmp_path / "sweep_occlusion.png")
  assert strip.size == (5 * 32 + 4 * 4, 32) and len(plain["examples"]) == 5 and plain["examples"][4]["value"] is None
  assert all(one["image"].startswith("data:image/png;base64,") for one in plain["examples"])
  page = (tmp_path / "sweeps.html").read_text()
  assert page.count("data:image/png;base64,") >= 5 and page.count("<svg") >= 3 and "share of the image that is covered" in page
  with pytest.raises(SystemExit):
    main([*arguments, "--jpeg", "ten"])
  assert "numbers separated by commas" in capsys.readouterr().err


@pytest.mark.sweep
@pytest.mark.real_data
def test_strong_compression_and_few_components_cost_accuracy_on_lfw(face_data, pretrained_onnx, tmp_path):
  import_model(pretrained_onnx, "mobilefacenet", tmp_path / "model", preprocess="imagenet")
  whole = read_pairs(face_data / "protocols" / "pairs.txt")
  rows = [pair for fold in range(2) for kind in (True, False) for pair in np.flatnonzero((whole.fold == fold) & (whole.same == kind))[:25]]
  (tmp_path / "pairs.tsv").write_text(
    "".join(f"{whole.left[row]}\t{whole.right[row]}\t{int(whole.same[row])}\t{whole.fold[row]}\n" for row in rows)
  )
  jpeg, pca, size = sweep(
    load(tmp_path / "model"), face_data / "lfw_aligned112", tmp_path / "pairs.tsv", tmp_path / "out",
    axes={"jpeg": [3], "pca": [4], "size": [128]}, mirror="none", batch_size=64, devices=1, page=False,
  )
  plain = jpeg.reference.verification
  assert plain.accuracy >= 0.95 and jpeg.rows[0].verification.accuracy < plain.accuracy - 0.05
  assert 0.6 < pca.rows[0].verification.accuracy < plain.accuracy
  np.testing.assert_array_equal(size.rows[0].verification.score_p, plain.score_p)
  assert plain.folds.fold.tolist() == [0, 1] and plain.folds.pairs.tolist() == [50, 50]
