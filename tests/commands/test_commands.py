"""The commands as a user gives them, in one process: from a folder of faces to a verified, exported model."""

import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxface.commands.main import COMMANDS, main
from jaxface.commands.train import parse_overrides, shown_command
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.lock import FolderLock
from jaxface.interrupted import INTERRUPTED
from jaxface.layers.explain import convolution
from jaxface.models.saved import load_model, save_model
from jaxface.training.config import load_experiment

EXPERIMENT = '''
"""A run of seconds on a folder."""

from jaxface.data import DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, MeshConfig

EXPERIMENT = Experiment(
  name="small",
  steps=4,
  batch_size=16,
  log_every=2,
  data=DataConfig(holdout=0.5),
  model=ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125}),
  terms=(Classification(CosFace(scale=16.0)),),
  mesh=MeshConfig(devices=1),
  evaluation=(VerificationConfig(name="unseen"),),
  export="onnx",
)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Synthetic people, a trained run on half of them, and what it printed."""
  folder = tmp_path_factory.mktemp("commands")
  assert main(["synthesize", str(folder / "faces"), "--identities", "48", "--images", "4", "--size", "16"]) == 0
  (folder / "small.py").write_text(EXPERIMENT)
  return folder


@pytest.fixture(scope="module")
def trained(folder):
  arguments = ["train", str(folder / "small.py"), "--data.images", str(folder / "faces"), "--workdir", str(folder / "run")]
  assert main(arguments) == 0
  return folder / "run"


def test_one_command_leaves_a_verified_exported_model(trained):
  figures = json.loads((trained / "unseen.json").read_text())
  assert {"accuracy", "accuracy_se", "auc", "eer", "tar_at_far", "threshold_cosine", "threshold_l2_squared"} <= set(figures)
  report = (trained / "report.html").read_text()
  assert "<svg" in report and "://" not in report.replace("http://www.w3.org", "")
  assert "<h2>Where the time went</h2>" in report and "starting and compiling" in report and "goodput " in report
  assert (trained / "small.onnx").is_file() and (trained / "model" / "model.json").is_file()
  config = json.loads((trained / "config.json").read_text())
  assert config["steps"] == 4 and config["terms.0.margin"] == "CosFace"
  assert json.loads((trained / "environment.json").read_text())["packages"]["jax"]


def test_the_first_line_says_what_convolves_and_the_last_both_figures_and_where_the_report_is(folder, trained, capsys):
  arguments = ["train", str(folder / "small.py"), "--data.images", str(folder / "faces"), "--workdir", str(trained)]
  assert main(arguments) == 0
  printed = capsys.readouterr()
  assert printed.err.startswith(f"convolution  {convolution()}\n")
  last = printed.out.strip().splitlines()[-1]
  assert "AUC untrained" in last and "trained" in last and str(trained / "report.html") in last


def test_figures_say_what_was_there_before_and_whether_the_set_chose_the_state(folder, trained, capsys):
  figures = json.loads((trained / "unseen.json").read_text())
  assert figures["chose_the_state"] is False and figures["before"]["network"] == "untrained"
  assert "was selected on this set" not in (trained / "report.html").read_text()
  arguments = ["train", str(folder / "small.py"), "--data.images", str(folder / "faces"), "--workdir", str(folder / "on"),
               "--model.init_from", str(trained), "--use", "best", "--evaluation.0.every", "2"]
  assert main(arguments) == 0
  last = capsys.readouterr().out.strip().splitlines()[-1]
  assert "AUC pretrained" in last and "(optimistic: the state was selected on this set)" in last
  again = json.loads((folder / "on" / "unseen.json").read_text())
  assert again["chose_the_state"] is True and again["before"]["network"] == "pretrained"
  assert again["before"]["init_from"] == str(trained) and again["before"]["auc"] == pytest.approx(figures["auc"], abs=1e-6)
  report = (folder / "on" / "report.html").read_text()
  assert "The best state was selected on this set" in report and "from the pretrained network" in report


def test_a_second_process_in_a_workdir_gets_one_sentence(folder, tmp_path, capsys):
  with FolderLock(tmp_path):
    assert main(["train", str(folder / "small.py"), "--data.images", str(folder / "faces"), "--workdir", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and f"{tmp_path} is in use by process {os.getpid()} on " in errors
    assert "give another --workdir" in errors
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_other_images_in_a_workdir_are_refused_with_the_way_on(folder, trained, capsys, make_folder):
  other = make_folder([4] * 8)
  assert main(["train", str(folder / "small.py"), "--data.images", str(other), "--workdir", str(trained)]) == 2
  errors = capsys.readouterr().err
  assert "packed from another source" in errors and "another --workdir" in errors and "--model.init_from" in errors


def test_the_small_form_of_an_experiment_is_taken_when_asked_for(folder):
  path = folder / "paper.py"
  path.write_text(EXPERIMENT.replace('name="small"', 'name="paper"') + "SMALL = EXPERIMENT.with_overrides({'steps': '2'})\n")
  assert load_experiment(str(path))[0].steps == 4
  assert load_experiment(str(path), small=True)[0].steps == 2
  with pytest.raises(ValueError, match=r"small.py: defines no SMALL .* omit --small"):
    load_experiment(str(folder / "small.py"), small=True)


def test_embeddings_of_records_and_of_the_folder_agree(folder, trained, capsys):
  assert main(["embed", "--model", str(trained), "--records", str(trained / "records" / "train"),
               "--out", str(folder / "a.npz")]) == 0
  assert main(["embed", "--model", str(trained), "--images", str(folder / "faces"), "--out", str(folder / "b.parquet"),
               "--batch-size", "24"]) == 0
  a, b = read_embeddings(folder / "a.npz"), read_embeddings(folder / "b.parquet")
  row = {name: index for index, name in enumerate(b.names)}
  assert set(a.names) == set(b.names)
  np.testing.assert_allclose(a.embedding_nd, b.embedding_nd[[row[name] for name in a.names]], atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(a.embedding_nd, axis=1), 1, atol=1e-5)


def test_one_photo_is_embedded_and_the_rest_of_a_folder_named(folder, trained, tmp_path, capsys):
  photo = next((folder / "faces").glob("*/*.jpg"))
  assert main(["embed", "--model", str(trained), "--images", str(photo), "--out", str(tmp_path / "one.npz")]) == 0
  one = read_embeddings(tmp_path / "one.npz")
  assert one.names == [photo.stem] and one.meta["template"] == "unknown"
  some = tmp_path / "some" / photo.parent.name
  some.mkdir(parents=True)
  shutil.copy(photo, some)
  shutil.copy(photo, some / "other.jpg")
  (some / f"._{photo.name}").write_bytes(b"")
  (some / "x.heic").write_bytes(b"")
  (some / "broken.png").write_bytes(b"no image")
  capsys.readouterr()
  assert main(["embed", "--model", str(trained), "--images", str(tmp_path / "some"), "--out", str(tmp_path / "some.npz"),
               "--template", "arcface112"]) == 0
  errors = capsys.readouterr().err
  assert "note: not read, since they have no image suffix: .heic: 1 file" in errors and "1 hidden file" in errors
  assert "note: 1 of 3 images cannot be used and are skipped: " in errors and "broken.png" in errors
  found = read_embeddings(tmp_path / "some.npz")
  assert found.meta["unreadable"] == [f"{photo.parent.name}/broken"] and found.meta["template"] == "arcface112"
  np.testing.assert_allclose(found.embedding_nd[found.names.index(f"{photo.parent.name}/{photo.stem}")], one.embedding_nd[0],
                             atol=1e-5)


def test_a_model_carries_the_template_that_its_images_were_known_to_follow(folder, trained, tmp_path, capsys):
  assert load_model(trained / "model").preprocess.template == "unknown"
  arguments = ["train", str(folder / "small.py"), "--data.images", str(folder / "faces"), "--workdir", str(tmp_path / "run")]
  assert main([*arguments, "--data.template", "arcface112", "--export", ""]) == 0
  assert "the alignment of the faces is unknown" not in capsys.readouterr().err
  assert load_model(tmp_path / "run" / "model").preprocess.template == "arcface112"
  assert main(["train", str(folder / "small.py"), "--data.images", str(folder / "faces"), "--workdir", str(trained)]) == 0
  assert capsys.readouterr().err.count("the alignment of the faces is unknown") == 1
  assert main([*arguments, "--data.template", "arcface"]) == 2
  assert "data.template is 'arcface', should be one of arcface112" in capsys.readouterr().err


def test_a_network_that_scales_sees_the_images_of_a_folder_whole(folder, trained, random_model):
  half = random_model("iresnet", size=8, units=(1, 0, 0, 0), width=0.125, embedding_size=8)
  convention = dataclasses.replace(load_model(trained / "model").preprocess, size=(8, 8), fit="resize")
  save_model(folder / "half", dataclasses.replace(half, preprocess=convention))
  common = ["embed", "--model", str(folder / "half")]
  assert main([*common, "--records", str(trained / "records" / "train"), "--out", str(folder / "d.npz")]) == 0
  assert main([*common, "--images", str(folder / "faces"), "--out", str(folder / "e.npz")]) == 0
  a, b = read_embeddings(folder / "d.npz"), read_embeddings(folder / "e.npz")
  row = {name: index for index, name in enumerate(b.names)}
  np.testing.assert_allclose(a.embedding_nd, b.embedding_nd[[row[name] for name in a.names]], atol=1e-5)


def test_evaluate_reads_lfw_lists_and_prints_json(folder, trained, capsys):
  assert main(["embed", "--model", str(trained), "--images", str(folder / "faces"), "--out", str(folder / "c.npz")]) == 0
  embeddings = read_embeddings(folder / "c.npz")
  by_person = {}
  for name in embeddings.names:
    by_person.setdefault(name.split("/")[0], []).append(name)
  people = sorted(by_person)
  lines = ["left\tright\tsame\tfold"]
  for index, (one, other) in enumerate(zip(people[::2], people[1::2])):
    lines.append(f"{by_person[one][0]}\t{by_person[one][1]}\t1\t{index % 4}")
    lines.append(f"{by_person[one][2]}\t{by_person[other][0]}\t0\t{index % 4}")
  (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
  capsys.readouterr()
  assert main(["evaluate", "--protocol", "lfw", "--pairs", str(folder / "pairs.txt"), "--embeddings", str(folder / "c.npz")]) == 0
  printed = capsys.readouterr()
  assert 0 <= json.loads(printed.out)["accuracy"] <= 1 and "a subset of the official lists" in printed.err


@pytest.fixture(scope="module")
def four(tmp_path_factory):
  """Embeddings of four images of two people, made elsewhere."""
  path = tmp_path_factory.mktemp("four") / "four.npz"
  embedding_nd = np.array([[1, 0, 0], [1, 0.5, 0], [0, 1, 0], [0, 1, 0.4]], np.float32)
  np.savez(path, embedding=embedding_nd, name=np.array(["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]))
  return path


def evaluated(four, tmp_path, text, *options):
  (tmp_path / "pairs.csv").write_text(text)
  return main(["evaluate", "--pairs", str(tmp_path / "pairs.csv"), "--embeddings", str(four), *options])


def test_one_single_pair_is_scored(four, tmp_path, capsys):
  assert evaluated(four, tmp_path, "a/1,a/2,1\n", "--json", str(tmp_path / "x.json")) == 0
  said = capsys.readouterr()
  cosine = 1 / np.sqrt(1.25)
  assert said.out.splitlines() == ["cosine  pair", f"{cosine:.4f}  a/1.jpg  a/2.jpg"]
  assert "note: the list has no non-mated pair: accuracy, rates and thresholds need pairs of both kinds" in said.err
  plain = json.loads((tmp_path / "x.json").read_text())
  assert plain["scores"] == [{"left": "a/1.jpg", "right": "a/2.jpg", "same": True, "cosine": pytest.approx(cosine)}]
  (tmp_path / "tune.csv").write_text("b/1,b/2,1\na/1,b/1,0\n")
  assert evaluated(four, tmp_path, "a/1,b/2,0\n", "--threshold-from", str(tmp_path / "tune.csv")) == 0
  plain = json.loads(capsys.readouterr().out)
  assert plain["accepted"] == 0 and 0 < plain["threshold_cosine"] < 0.93


def test_notes_and_the_table_of_thresholds_are_on_the_screen(four, tmp_path, capsys):
  text = "# ours\nimage1,image2,label\na/1,a/2,1\nb/1,b/2,1\na/1,b/1,0\na/1,a/1,1\na/2,a/1,1\n"
  assert evaluated(four, tmp_path, text, "--json", str(tmp_path / "x.json")) == 0
  said = capsys.readouterr()
  assert "note: 1 pair compares an image with itself" in said.err and "line 6" in said.err
  assert "note: 1 pair is one that the list already contains" in said.err and "chosen on the same pairs" in said.err
  plain = json.loads((tmp_path / "x.json").read_text())
  assert len(plain["notes"]) == 3
  for name, threshold in plain["tar_at_far_threshold_cosine"].items():
    assert any(line.startswith(f"FAR ≤ {name}") and f"{threshold:.4f}" in line for line in said.out.splitlines())
  (tmp_path / "tune.csv").write_text("b/1,b/2,1\na/2,b/1,0\n")
  assert evaluated(four, tmp_path, "a/1,a/2,1\na/1,b/1,0\n", "--threshold-from", str(tmp_path / "tune.csv")) == 0
  said = capsys.readouterr()
  assert said.err == "" and json.loads(said.out)["threshold_from"] == "train pairs"


def test_a_pair_without_an_embedding_is_named(four, tmp_path, capsys):
  assert evaluated(four, tmp_path, "a/1,a/2,1\na/1,c/1.jpg,0\n") == 2
  assert "pairs.csv, line 2: no embedding is named 'c/1.jpg' (1 of 2 pairs lack one)" in capsys.readouterr().err
  text = "a/1,a/2,1\na/1,c/1.jpg,0\nb/1,a/1,0\n"
  assert evaluated(four, tmp_path, text, "--skip-missing") == 0
  said = capsys.readouterr()
  assert "note: 1 of 3 pairs are ignored: an image has no embedding (first: " in said.err and "line 2, 'c/1.jpg')" in said.err
  plain = json.loads(said.out)
  assert plain["pairs"] == 2 and "1 of 3 pairs" in plain["notes"][0]
  assert evaluated(four, tmp_path, "x,y,1\n", "--skip-missing") == 2
  assert "no pair is left. 1 of 1 pairs" in capsys.readouterr().err


def test_missing_pairs_of_the_list_that_sets_the_threshold_are_skipped_too(four, tmp_path, capsys):
  tune = tmp_path / "tune.csv"
  tune.write_text("b/1,b/2,1\na/2,b/1,0\nb/1,c/1,0\n")
  text, options = "a/1,a/2,1\na/1,b/1,0\n", ("--threshold-from", str(tune))
  assert evaluated(four, tmp_path, text, *options) == 2
  assert "tune.csv, line 3: no embedding is named 'c/1'" in capsys.readouterr().err
  assert evaluated(four, tmp_path, text, *options, "--skip-missing") == 0
  said = capsys.readouterr()
  (note,) = json.loads(said.out)["notes"]
  assert note.startswith("the list that sets the threshold: 1 of 3 pairs are ignored") and f"note: {note}" in said.err
  tune.write_text("b/1,b/2,1\na/2,b/1,0\n")
  skipped = json.loads(said.out)
  assert evaluated(four, tmp_path, text, *options) == 0
  assert json.loads(capsys.readouterr().out)["threshold_cosine"] == skipped["threshold_cosine"]
  tune.write_text("c/1,c/2,1\n")
  assert evaluated(four, tmp_path, text, *options, "--skip-missing") == 2
  assert "tune.csv: no pair is left. 1 of 1 pairs" in capsys.readouterr().err


@pytest.mark.real_data
def test_photos_as_people_keep_them(face_data, pretrained_onnx, tmp_path, capsys):
  """Faces of LFW as files of all sorts: one with its orientation behind 20 kB of header, PNG beside JPEG, junk between."""
  model, photos = tmp_path / "model", tmp_path / "photos"
  assert main(["import", str(pretrained_onnx), "--model", "mobilefacenet", "--preprocess", "imagenet", "--out", str(model),
               "--template", "arcface112"]) == 0
  people = ["Abdullah_Gul", "Adrien_Brody"]
  for person in people:
    (photos / person).mkdir(parents=True)
    for number in (1, 2):
      shutil.copy(face_data / "lfw_aligned112" / person / f"{person}_{number:04d}.jpg", photos / person)
  original = photos / people[0] / f"{people[0]}_0001.jpg"
  exif = Image.Exif()
  exif[0x0112] = 6
  turned = photos / people[0] / "turned.jpg"
  face = Image.open(original)
  face.rotate(90, expand=True).save(turned, quality=98, subsampling=0, exif=exif)
  data = turned.read_bytes()
  turned.write_bytes(data[:2] + b"\xff\xe2\x4e\x20" + bytes(20_000 - 2) + data[2:])
  face.save(original.with_suffix(".png"))
  (photos / people[1] / f"._{people[1]}_0001.jpg").write_bytes(b"\0\5\26\7")
  (photos / people[1] / "0003.HEIC").write_bytes(b"ftypheic")
  (photos / people[1] / "torn.jpg").write_bytes(original.read_bytes()[:900])
  out = tmp_path / "photos.npz"
  assert main(["embed", "--model", str(model), "--images", str(photos), "--out", str(out)]) == 0
  said = capsys.readouterr().err
  for what in (".heic: 1 file", "1 hidden file", "1 of 7 images cannot be used", "torn.jpg", "differ from another only in their suffix",
               "the alignment of these images is unknown"):
    assert what in said, what
  names = read_embeddings(out).names
  assert len(names) == 6 and f"{people[0]}/turned" in names
  (tmp_path / "pairs.csv").write_text(
    "path1,path2,label\n"
    f"{people[0]}/turned.jpg,{people[0]}/{people[0]}_0001.jpg,1\n"
    f"{people[0]}/{people[0]}_0001.png,{people[0]}/{people[0]}_0001.jpg,1\n"
  )
  assert main(["evaluate", "--pairs", str(tmp_path / "pairs.csv"), "--embeddings", str(out)]) == 0
  scores = json.loads(capsys.readouterr().out)["scores"]
  assert all(score["cosine"] > 0.98 for score in scores)


@pytest.mark.real_data
def test_import_and_export_of_published_weights(pretrained_onnx, tmp_path, capsys):
  model, again = tmp_path / "model", tmp_path / "again.onnx"
  assert main(["import", str(pretrained_onnx), "--model", "mobilefacenet", "--preprocess", "imagenet", "--out", str(model)]) == 0
  assert main(["export", "--model", str(model), "--format", "onnx", "--out", str(again)]) == 0
  assert "999,936 parameters, 128-d" in capsys.readouterr().out and again.stat().st_size > 3_900_000
  assert load_model(model).preprocess.template == "unknown"  # the file says nothing of it
  arguments = ["import", str(pretrained_onnx), "--model", "mobilefacenet", "--preprocess", "imagenet"]
  assert main([*arguments, "--template", "arcface112", "--out", str(tmp_path / "known")]) == 0
  assert load_model(tmp_path / "known").preprocess.template == "arcface112"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["train", "quickstrat"], "Did you mean 'quickstart'"),
    (["train", "quickstart", "--stpes", "3"], "Did you mean 'steps'"),
    (["train", "quickstart", "--steps"], "--steps needs a value"),
    (["train", "quickstart", "--data.images", "nowhere"], "nowhere"),
    (["train", "quickstart", "--model.name", "resnet99"], "resnet99"),
    (["train", "quickstart", "--data.holdout", "0"], "data.holdout"),
    (["train", "quickstart", "--small"], "omit --small"),
    (["embed", "--model", "nowhere", "--images", ".", "--out", "x.npz"], "nowhere"),
    (["evaluate", "--pairs", "nowhere.txt", "--embeddings", "x.npz"], "nowhere.txt"),
    (["export", "--model", "nowhere", "--out", "x.onnx"], "nowhere"),
  ],
)
def test_a_mistake_is_answered_in_one_message_without_a_traceback(arguments, message, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert main(arguments) == 2
  errors = capsys.readouterr().err
  assert message in errors and "Traceback" not in errors


def test_an_unset_variable_of_the_environment_says_what_to_set(folder, monkeypatch, capsys, tmp_path):
  monkeypatch.delenv("JAXFACE_DATA", raising=False)
  assert main(["train", str(folder / "small.py"), "--data.images", "$JAXFACE_DATA/x", "--workdir", str(tmp_path)]) == 2
  assert "$JAXFACE_DATA is not set" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_at_ctrl_c_with_one_sentence(command, monkeypatch, capsys):
  module = importlib.import_module(COMMANDS[command][0])

  def stop(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(module, "run", stop)
  assert main([command]) == INTERRUPTED == 75
  said = capsys.readouterr().err
  assert said.startswith(f"jaxface {command}: interrupted; ") and said.count("\n") == 1
  assert ("resumes" if command in ("train", "patches") else "again") in said
  with pytest.raises(KeyboardInterrupt):
    main(["--traceback", command])


@pytest.mark.parametrize("moment", ["jaxface.inference.model.embed_source", "jaxface.inference.faces.write_embedding_file"])
def test_ctrl_c_leaves_no_half_of_an_embedding_file(folder, trained, tmp_path, monkeypatch, capsys, moment):
  def stop(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(moment, stop)
  out = tmp_path / "out" / "x.npz"
  assert main(["embed", "--model", str(trained), "--images", str(folder / "faces"), "--out", str(out)]) == 75
  assert "starts again" in capsys.readouterr().err and not list(out.parent.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
  with pytest.raises(SystemExit) as stop:
    main([command, "--help"])
  assert stop.value.code == 0
  assert "usage:" in capsys.readouterr().out


def test_help_of_an_experiment_lists_its_fields(capsys):
  assert main(["train", "quickstart", "--help"]) == 0
  shown = capsys.readouterr().out
  assert "--optimizer.learning_rate" in shown and "--terms.0.margin.m" in shown


@pytest.mark.parametrize("command", ["experiments", "doctor"])
def test_the_lists_print(command, capsys):
  assert main([command]) == 0
  assert {"experiments": "quickstart", "doctor": "jax"}[command] in capsys.readouterr().out


def test_options_in_both_spellings():
  assert parse_overrides(["--a.b", "1", "--c=-2", "--d", "-3"]) == {"a.b": "1", "c": "-2", "d": "-3"}
  with pytest.raises(ValueError, match="not an option"):
    parse_overrides(["steps", "3"])
  assert shown_command(["x", "--data.images", "my faces"]) == "jaxface train x --data.images 'my faces'"


def test_import_loads_no_tensorflow():
  code = (
    "import sys, jaxface, jaxface.commands.train, jaxface.commands.embed, jaxface.commands.evaluate,"
    " jaxface.commands.import_model, tfrecords_tools.pack;"
    " sys.exit(any(name.split('.')[0] == 'tensorflow' for name in sys.modules))"
  )
  assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=120).returncode == 0


def test_finetuning_takes_one_command_and_the_path_of_a_model(folder, trained, capsys):
  faces = str(folder / "faces")
  arguments = ["train", "finetune", "--data.images", faces, "--model.init_from", str(trained), "--workdir", str(folder / "more")]
  small = ["--steps", "4", "--batch_size", "16", "--data.holdout", "0.5", "--mesh.devices", "1", "--export", ""]
  assert main([*arguments, *small, "--optimizer.rates", "body/*=0 until 2 then 0.1, head/*=2"]) == 0
  shown = capsys.readouterr()
  notes = (folder / "more" / "notes.txt").read_text()
  for said in ("parameters are loaded from its iresnet", "class centres of classification", ": 0 until step 2", "head/*: 2"):
    assert said in notes and said in shown.err
  model, before = load_model(folder / "more"), load_model(trained)
  assert (model.name, model.preprocess) == (before.name, before.preprocess) and model.meta["init_from"] == str(trained)
  assert {**model.options, "dtype": 0} == {**before.options, "dtype": 0}


def test_a_model_to_begin_with_wins_over_the_experiment_but_not_over_the_user(folder, trained, capsys):
  experiment, _ = load_experiment("folder")
  assert experiment.model.name == "smallresnet"
  taken = experiment.with_overrides({"model.init_from": str(trained), "model.dtype": "bfloat16"}).model
  assert (taken.name, taken.size, taken.dtype, dict(taken.options)) == ("", 0, "bfloat16", {})
  faces = str(folder / "faces")
  arguments = ["train", "folder", "--data.images", faces, "--model.init_from", str(trained), "--workdir", str(folder / "refused")]
  assert main([*arguments, "--model.embedding_size", "64"]) == 2
  error = capsys.readouterr().err
  assert f"model.embedding_size 64 contradicts model.init_from {trained}, a iresnet with 8: omit" in error
