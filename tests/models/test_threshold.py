"""The threshold in a model folder: written whole, refused for other embeddings, read by what decides, carried by exported files."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxface
from jaxface.commands.main import main
from jaxface.formats import DamagedData, Embeddings, Threshold, write_embeddings
from jaxface.formats.threshold import THRESHOLD_FILE, read_threshold_file
from jaxface.interop import export_model
from jaxface.interop.safetensors_file import read_metadata
from jaxface.models import read_threshold, save_model, write_threshold

OPTIONS = {"units": [1, 1, 0, 0], "width": 0.0625, "embedding_size": 8}


@pytest.fixture(scope="module")
def saved(random_model):
  return random_model("iresnet", **OPTIONS)


@pytest.fixture
def folder(saved, tmp_path):
  save_model(tmp_path / "net", saved)
  return tmp_path / "net"


@pytest.fixture
def threshold(saved):
  return Threshold(
    0.375, (0.3, 0.4), 1e-3, 9e-4, (5e-4, 2e-3), 0.9, (0.8, 0.95), 5000, 100, {"pairs": "all pairs", "images": 101, "identities": 40},
    "sum", saved.digest,
  )


def test_what_is_written_is_read_again_by_the_model_and_the_function(folder, threshold, flip_all):
  assert jaxface.load(folder).threshold is None
  file = write_threshold(folder, threshold)
  assert file == folder / THRESHOLD_FILE and not list(folder.glob("*.tmp"))
  assert read_threshold(folder) == read_threshold(folder, mirror="sum") == jaxface.load(folder).threshold == threshold
  assert threshold.l2_squared == pytest.approx(1.25)
  flip_all(file, lambda: read_threshold_file(file), threshold, DamagedData)


def test_a_workdir_is_taken_as_well(saved, tmp_path, threshold):
  save_model(tmp_path / "run" / "model", saved)
  write_threshold(tmp_path / "run", threshold)
  assert read_threshold(tmp_path / "run" / "model") == threshold


def test_a_model_without_one_says_which_command_measures_it(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match="jaxface threshold --far"):
    read_threshold(folder)
  with pytest.raises(FileNotFoundError, match=r"model\.json"):
    read_threshold(tmp_path)


def test_the_threshold_of_other_embeddings_is_refused(folder, threshold):
  for wrong, message in (
    ({"model_digest": "0" * 16}, "other embeddings"), ({"model_digest": ""}, "do not record"), ({"mirror": ""}, "do not record"),
  ):
    with pytest.raises(ValueError, match=message):
      write_threshold(folder, replace(threshold, **wrong))
  with pytest.raises(ValueError, match="mirror 'sum', not 'none'"):
    write_threshold(folder, threshold, mirror="none")
  assert not (folder / THRESHOLD_FILE).exists()
  write_threshold(folder, threshold)
  with pytest.raises(ValueError, match="mirror 'sum', not 'concat'"):
    read_threshold(folder, mirror="concat")


def test_the_threshold_of_replaced_weights_is_not_used(folder, saved, threshold, caplog):
  write_threshold(folder, threshold)
  changed = {**saved.variables, "params": jax.tree.map(lambda leaf: leaf * 1.5, saved.variables["params"])}
  save_model(folder, replace(saved, variables=changed))
  assert jaxface.load(folder).threshold is None and "other weights" in caplog.text
  with pytest.raises(ValueError, match="other embeddings"):
    read_threshold(folder)
  save_model(folder, saved)  # the former weights again
  assert jaxface.load(folder).threshold == threshold


@pytest.mark.parametrize(("name", "value"), [
  ("value", 1.5), ("value", "0.3"), ("interval", [0.4, 0.3]), ("interval", [0.3]), ("far", -1), ("tar", None), ("mated", 1.5), ("mated", True),
  ("data", []), ("mirror", 1), ("format_version", 2),
])
def test_an_entry_that_is_wrong_is_named(threshold, name, value):
  with pytest.raises(DamagedData, match=name):
    Threshold.from_json({**threshold.to_json(), name: value}, file="threshold.json")


def test_exported_files_carry_it_where_it_holds(folder, threshold, tmp_path):
  import onnx

  write_threshold(folder, threshold)
  export_model(folder, tmp_path / "a.safetensors")
  assert json.loads(read_metadata(tmp_path / "a.safetensors")["jaxface.threshold"]) == threshold.to_json()
  for mirror, holds in (("sum", True), ("none", False)):
    export_model(folder, tmp_path / "a.onnx", mirror=mirror)
    said = {prop.key: prop.value for prop in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert ("jaxface.threshold" in said) == holds
    if holds:
      assert Threshold.from_json(json.loads(said["jaxface.threshold"]), file="a.onnx") == threshold


def test_the_command_measures_and_writes(folder, make_folder, tmp_path, capsys):
  faces = make_folder((3, 3, 2, 4), height=16, width=16)
  line = ["threshold", "--far", "0.1", "--all-pairs", "--model", str(folder), "--images", str(faces), "--write", str(folder)]
  assert main([*line, "--embeddings", str(tmp_path / "e.npz"), "--json", str(tmp_path / "t.json")]) == 0
  out, err = capsys.readouterr()
  found = read_threshold(folder, mirror="sum")
  assert f"threshold cosine {found.value:.4f}" in out and "threshold.json: written" in err and "rule of 30" in err
  assert json.loads((tmp_path / "t.json").read_text())["value"] == found.value and found.data["images"] == 12
  (folder / THRESHOLD_FILE).unlink()
  again = ["threshold", "--far", "0.1", "--all-pairs", "--embeddings", str(tmp_path / "e.npz"), "--write", str(folder)]
  assert main(again) == 0 and read_threshold(folder) == found
  assert json.loads(capsys.readouterr().out)["value"] == found.value
  assert main([*again, "--mirror", "none"]) == 2 and "with mirror 'sum', not 'none'" in capsys.readouterr().err
  rng = np.random.default_rng(0)
  write_embeddings(tmp_path / "theirs.npz", Embeddings(rng.normal(size=(9, 8)).astype(np.float32), list("abcdefghi"), np.arange(9) // 3))
  assert main([*again[:4], "--embeddings", str(tmp_path / "theirs.npz"), "--write", str(folder)]) == 2
  assert "do not record which model" in capsys.readouterr().err


@pytest.mark.real_data
def test_the_threshold_of_a_pretrained_network_separates_people_of_lfw(face_data, pretrained_onnx, tmp_path):
  from jaxface.inference import set_threshold
  from jaxface.interop import import_model

  import_model(pretrained_onnx, "mobilefacenet", tmp_path / "m", preprocess="imagenet", say=lambda line: None)
  people = [folder for folder in sorted((face_data / "lfw_aligned112").iterdir()) if len(list(folder.glob("*.jpg"))) == 3][:20]
  for folder in people:
    (tmp_path / "faces" / folder.name).mkdir(parents=True)
    for file in folder.glob("*.jpg"):
      (tmp_path / "faces" / folder.name / file.name).write_bytes(file.read_bytes())
  found = set_threshold(1e-2, model=tmp_path / "m", faces=tmp_path / "faces", batch_size=20, write=tmp_path / "m")
  assert found.threshold.nonmated == 60 * 59 // 2 - 60 and found.threshold.mated == 60
  # 0.2565 on all pairs of LFW, see docs/threshold.md; 1,710 pairs of few people are less certain.
  assert found.threshold.far <= 1e-2 and found.threshold.tar >= 0.95 and found.threshold.interval[0] < 0.2565 < found.threshold.interval[1]
  assert jaxface.load(tmp_path / "m").threshold == found.threshold
