"""Licence and origin travel: from the images through records, training and import to every file that is passed on."""

import json

import numpy as np
import onnx
import pytest

from jaxface.commands.main import main
from jaxface.data.config import DataConfig
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.formats.manifest import read_manifest
from jaxface.formats.packing import pack
from jaxface.formats.provenance import Ancestor, fill, from_json, summary, to_json
from jaxface.interop.safetensors_file import read_metadata
from jaxface.models.saved import load_model, save_model
from jaxface.pipeline.lineage import _kept as kept_lineage
from jaxface.pipeline.lineage import images_of, run_lineage
from tfrecords_tools.__main__ import main as tools

TRAIN = ["--steps", "2", "--batch_size", "8", "--log_every", "1", "--data.holdout", "0", "--evaluation=", "--model.size", "16", "--model.embedding_size", "8", "--model.options.patch", "2", "--model.options.widths", "4,8", "--model.options.units", "1,0", "--augment.shift", "0", "--mesh.devices", "1"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
  folder = tmp_path_factory.mktemp("faces") / "people"
  for person in range(4):
    (folder / f"p{person}").mkdir(parents=True)
    for image in range(3):
      pixels = np.random.default_rng(10 * person + image).integers(0, 256, (16, 16, 3), dtype=np.uint8)
      (folder / f"p{person}" / f"{image}.jpg").write_bytes(encode_jpeg(pixels))
  return folder


def said(path):
  return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_what_pack_is_told_reaches_every_file_of_two_generations(faces, tmp_path, capsys):
  records, first, second = tmp_path / "records", tmp_path / "first", tmp_path / "second"
  assert tools(["pack", str(faces), str(records), "--licence", "CC-BY-4.0", "--origin", "example.org/people"]) == 0
  assert "licence CC-BY-4.0" in capsys.readouterr().out
  assert tools(["stats", str(records)]) == 0
  assert "example.org/people" in capsys.readouterr().out
  assert tools(["reshard", str(records), str(tmp_path / "resharded"), "--shards", "2"]) == 0
  assert read_manifest(tmp_path / "resharded").licence == "CC-BY-4.0"

  assert main(["train", "quickstart", "--data.records", str(records), *TRAIN, "--workdir", str(first)]) == 0
  expected = [{"kind": "images", "name": "people", "licence": "CC-BY-4.0", "origin": "example.org/people"}]
  assert json.loads((first / "model" / "model.json").read_text())["meta"]["lineage"] == expected
  exported = said(first / "quickstart.onnx")
  assert exported["jaxface.licence"] == "CC-BY-4.0" and exported["jaxface.origin"] == "example.org/people"
  assert json.loads(exported["jaxface.lineage"]) == expected and json.loads(exported["jaxface.size"]) == [16, 16]
  assert "| licence | CC-BY-4.0 |" in (first / "model" / "card.md").read_text()

  # Another set, of which nothing is known, begins with that model and so with its licence.
  assert tools(["pack", str(faces), str(tmp_path / "unsaid")]) == 0
  assert main(["train", "quickstart", "--data.records", str(tmp_path / "unsaid"), *TRAIN, "--model.init_from", str(first),
               "--workdir", str(second)]) == 0
  lineage = load_model(second).meta["lineage"]
  assert [entry["licence"] for entry in lineage] == ["unknown", "CC-BY-4.0"]
  capsys.readouterr()
  assert main(["models", str(second)]) == 0
  card = capsys.readouterr().out
  assert card == (second / "model" / "card.md").read_text()
  assert "unknown (images people); CC-BY-4.0 (images people)" in card and "Find them out" in card.replace("\n", " ")
  assert main(["export", "--model", str(second), "--out", str(tmp_path / "x.safetensors")]) == 0
  assert json.loads(read_metadata(tmp_path / "x.safetensors")["jaxface.lineage"]) == lineage

  # What comes back says the same; what is unknown can be said then, and what is known cannot be said again.
  back = ["import", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "back")]
  assert main(back) == 0 and load_model(tmp_path / "back").meta["lineage"] == lineage
  assert main([*back, "--license", "CC0-1.0"]) == 0
  assert [entry["licence"] for entry in load_model(tmp_path / "back").meta["lineage"]] == ["CC0-1.0", "CC-BY-4.0"]
  assert main(["export", "--model", str(tmp_path / "back"), "--out", str(tmp_path / "y.safetensors")]) == 0
  capsys.readouterr()
  assert main(["import", str(tmp_path / "y.safetensors"), "--licence", "MIT", "--out", str(tmp_path / "z")]) == 2
  assert "already known" in capsys.readouterr().err


def test_a_run_that_packs_by_itself_says_it_too(faces, tmp_path):
  words = ["--data.images", str(faces), "--data.licence", "in house", "--data.origin", "our archive", *TRAIN]
  assert main(["train", "quickstart", *words, "--export", "none", "--workdir", str(tmp_path / "run")]) == 0
  assert read_manifest(tmp_path / "run" / "records" / "train").licence == "in house"
  assert load_model(tmp_path / "run").meta["lineage"][0]["origin"] == "our archive"
  assert not list((tmp_path / "run").glob("*.onnx"))


def test_a_whole_set_learns_its_licence_without_packing_again(faces, tmp_path):
  before = pack(faces, tmp_path / "set")
  assert before.licence == before.origin == "unknown"
  notes = []
  after = pack(faces, tmp_path / "set", licence="CC0-1.0", say=notes.append)
  assert after.licence == "CC0-1.0" and after.shards == before.shards and after.fingerprint == before.fingerprint
  assert any("licence" in note and "was unknown, is now CC0-1.0" in note for note in notes)
  assert pack(faces, tmp_path / "set").licence == "CC0-1.0" == read_manifest(tmp_path / "set").licence


def test_a_record_set_of_before_says_unknown(faces, tmp_path):
  pack(faces, tmp_path / "set")
  path = tmp_path / "set" / "manifest.json"
  plain = read_checked_json(path)
  del plain["licence"], plain["origin"]
  path.write_text(json.dumps(plain))
  assert images_of(DataConfig(records=str(tmp_path / "set"))) == (Ancestor("images", "people"),)


def test_a_mixture_has_the_terms_of_each_set(faces, tmp_path):
  pack(faces, tmp_path / "one", licence="MIT")
  pack(faces, tmp_path / "other", licence="CC0-1.0", origin="us")
  found = images_of(DataConfig(mixture=(str(tmp_path / "one"), str(tmp_path / "other"))))
  assert found == (Ancestor("images", "people", "MIT"), Ancestor("images", "people", "CC0-1.0", "us"))
  file = tmp_path / "lineage.json"
  assert run_lineage(DataConfig(mixture=(str(tmp_path / "one"), str(tmp_path / "other"))), "", file) == found


def test_synthetic_faces_and_what_the_config_says():
  assert images_of(DataConfig())[0].licence == "Apache-2.0"


def test_a_continued_run_outlives_the_model_that_it_began_with(random_model, tmp_path):
  saved = random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4)
  saved.meta["lineage"] = to_json([Ancestor("weights", "old.pt", "MIT", "somebody")])
  save_model(tmp_path / "old", saved)
  file = tmp_path / "lineage.json"
  first = run_lineage(DataConfig(), str(tmp_path / "old"), file)
  assert summary(first, "licence") == "Apache-2.0 (images synthetic faces); MIT (weights old.pt)"
  assert run_lineage(DataConfig(), str(tmp_path / "gone"), file) == first
  file.unlink()
  with pytest.raises(FileNotFoundError, match="gone"):
    run_lineage(DataConfig(), str(tmp_path / "gone"), file)


def test_a_model_that_says_nothing_is_unknown(random_model, tmp_path):
  saved = random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4)
  save_model(tmp_path / "model", saved)
  assert "| licence | unknown |" in (tmp_path / "model" / "card.md").read_text()


@pytest.mark.parametrize("text", ["two\nlines", "x" * 501, "\x1b[2J"])
def test_a_licence_is_one_line(text, faces, tmp_path):
  with pytest.raises(ValueError, match="one line"):
    pack(faces, tmp_path / "set", licence=text)
  with pytest.raises(ValueError, match="one line"):
    DataConfig(origin=text)
  assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("plain", [3, [3], [{"kind": "images"}], [{"kind": "songs", "name": "x"}], [{"kind": "images", "name": 3}],
                                   [{"kind": "images", "name": "x", "more": "y"}], None])
def test_a_damaged_lineage_is_refused(plain):
  with pytest.raises(ValueError):
    from_json(plain)


def test_fill_leaves_what_is_known():
  lineage = (Ancestor("images", "a", "MIT"), Ancestor("weights", "b"))
  filled = fill(lineage, "CC0-1.0", "here")
  assert [(a.licence, a.origin) for a in filled] == [("MIT", "here"), ("CC0-1.0", "here")]
  assert fill(lineage, "", "") == lineage and from_json(to_json(filled)) == filled


def test_a_call_that_may_still_be_refused_does_not_change_the_lineage_of_a_run(tmp_path):
  file = tmp_path / "lineage.json"
  first = run_lineage(DataConfig(), "", file)
  before = file.read_bytes()
  (tmp_path / "lineage.json").write_text(json.dumps(to_json((*first, Ancestor("weights", "net", "MIT", "somebody")))))
  kept = file.read_bytes()
  run_lineage(DataConfig(), "", file, begun=True)
  assert file.read_bytes() == kept != before
  run_lineage(DataConfig(), "", file)
  assert file.read_bytes() == before


def test_the_lineage_of_a_run_is_read_whole_or_not_at_all(tmp_path, flip_all):
  file, lineage = tmp_path / "lineage.json", (Ancestor("images", "faces"), Ancestor("weights", "net", "MIT", "somebody"))
  write_checked_json(file, {"lineage": to_json(lineage)})
  flip_all(file, lambda: kept_lineage(file), lineage, DamagedData)
  file.write_text(json.dumps(to_json(lineage)))  # as earlier releases wrote it
  assert kept_lineage(file) == lineage
