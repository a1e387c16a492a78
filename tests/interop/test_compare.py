"""Candidates are ranked by how well they tell people apart, and a difference that may be chance is called so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nchw import Net, State
from scipy.stats import norm as normal

from jaxface.commands.main import main
from jaxface.formats.images import encode_jpeg
from jaxface.interop.compare import Candidate, _judge, _separation, compare, conventions, report
from jaxface.interop.safetensors_file import write_safetensors
from jaxface.interop.weights import Ambiguous
from jaxface.models.preprocess import Preprocess


def blobs(spread, people=12, each=3, seed=0):
  rng = np.random.default_rng(seed)
  centre_pd = rng.normal(size=(people, 16))
  person_n = np.repeat(np.arange(people), each)
  return centre_pd[person_n] + spread * rng.normal(size=(len(person_n), 16)), person_n


@given(st.integers(0, 100), st.floats(0.2, 2))
def test_separation_is_that_of_the_definition(seed, spread):
  embedding_nd, person_n = blobs(spread, people=4, seed=seed)
  unit_nd = embedding_nd / np.linalg.norm(embedding_nd, axis=1, keepdims=True)
  same, different = [], []
  for i in range(len(person_n)):
    for j in range(i):
      (same if person_n[i] == person_n[j] else different).append(unit_nd[i] @ unit_nd[j])
  expected = (np.mean(same) - np.mean(different)) / np.sqrt((np.var(same) + np.var(different)) / 2)
  judged = _judge(Candidate("a", None), embedding_nd, person_n)
  assert judged.separation == pytest.approx(expected)
  without = embedding_nd[person_n != 2], person_n[person_n != 2]
  assert judged.without_n[2] == pytest.approx(_judge(Candidate("a", None), *without).separation)


def test_separation_of_normal_scores_gives_the_area_under_the_roc():
  rng = np.random.default_rng(0)
  score_p, same_p = rng.normal(size=20_000), np.arange(20_000) % 2 == 0
  score_p[same_p] += 1.5
  separation = _separation(score_p, same_p)
  greater = (score_p[same_p][:2000, None] > score_p[~same_p][:2000]).mean()
  assert greater == pytest.approx(normal.cdf(separation / np.sqrt(2)), abs=0.02)


def test_equal_candidates_are_chance_and_a_far_better_one_is_not():
  good, near, bad = (_judge(Candidate(name, None), *blobs(spread, seed=seed)) for name, spread, seed in (
    ("good", 0.5, 0), ("near", 0.5, 1), ("bad", 3.0, 0)))
  said = []
  assert report([good, bad], said.append)
  assert "good is taken: better than bad" in said[-1] and "more than chance" in said[-1]
  same = sorted([good, near], key=lambda c: -c.separation)
  assert not report(same, said.append)
  assert "no more than chance" in said[-1] and "--preprocess" in said[-1]


def faces(folder, people=3, each=2):
  """People of a colour each, in light of any strength."""
  rng = np.random.default_rng(0)
  for person in range(people):
    (folder / f"person{person}").mkdir(parents=True)
    for index in range(each):
      image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
      (folder / f"person{person}" / f"{index}.jpg").write_bytes(encode_jpeg(image))


def test_conventions_mean_something_else_each(random_model):
  saved = random_model("iresnet", size=32, units=(1, 1, 1, 1), width=0.0625, embedding_size=4)
  found = conventions(saved)
  assert {"unit", "unit in bgr", "imagenet", "zero_one", "sphereface", "sphereface in rgb"} <= set(found)
  assert all(convention.size == (32, 32) and convention.template == "arcface112" for convention in found.values())
  assert found["imagenet in bgr"].mean == found["imagenet"].mean[::-1]
  assert "unit in bgr" in conventions(saved, colour="bgr") and "unit" not in conventions(saved, colour="bgr")
  assert list(conventions(saved, "unit")) == ["unit"]


def test_the_network_s_own_convention_is_among_them_though_it_is_not_registered(random_model):
  saved = random_model("iresnet", size=32, units=(1, 1, 1, 1), width=0.0625, embedding_size=4)
  known = conventions(saved)
  mine = Preprocess("mine", (32, 32), mean=(100.0, 110.0, 120.0), std=(50.0,))
  found = conventions(replace(saved, preprocess=mine))
  assert set(found) - set(known) == {"mine", "mine in bgr"} and found["mine"] == mine
  assert found["mine in bgr"].mean == mine.mean[::-1]
  namesake = conventions(replace(saved, preprocess=replace(mine, name="unit")))
  assert namesake["unit"].mean == known["unit"].mean
  assert namesake["unit, as the network has it"].mean == mine.mean
  assert set(conventions(replace(saved, preprocess=mine), colour="rgb")) & {"mine", "mine in bgr"} == {"mine"}


def test_one_person_is_not_enough(random_model, tmp_path):
  saved = random_model("iresnet", size=32, units=(1, 1, 1, 1), width=0.0625, embedding_size=4)
  faces(tmp_path / "faces", people=1)
  with pytest.raises(ValueError, match="two people with two images"):
    compare([("", saved)], tmp_path / "faces")


def test_images_that_cannot_be_used_are_left_out_and_told(random_model, tmp_path):
  saved = random_model("iresnet", size=32, units=(1, 1, 1, 1), width=0.0625, embedding_size=4)
  faces(tmp_path / "clean", people=4, each=5)
  faces(tmp_path / "faces", people=4, each=5)
  (tmp_path / "faces" / "person0" / "0.jpg").write_bytes(b"no image")  # another one takes its place
  for index in range(4):  # one is left, which makes no pair
    (tmp_path / "faces" / "person1" / f"{index}.jpg").write_bytes(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
  (tmp_path / "faces" / "person2" / "film.mp4").write_bytes(b"")
  for index in range(5):
    name = f"person1/{index}.jpg"
    (tmp_path / "clean" / name).unlink()
  (tmp_path / "clean" / "person0" / "0.jpg").unlink()
  said = []
  (candidate,) = compare([("", saved)], tmp_path / "faces", preprocess="unit", say=said.append)
  (expected,) = compare([("", saved)], tmp_path / "clean", preprocess="unit")
  assert candidate.separation == expected.separation and candidate.auc == expected.auc
  assert any("film.mp4" in line for line in said)
  assert "5 of 17 images cannot be used and are skipped" in said[-1] and "0.jpg" in said[-1]
  assert "image is 8x8 pixels, the model takes 32x32" in said[-1]
  for person in ("person0", "person2"):
    for path in (tmp_path / "faces" / person).glob("*.jpg"):
      path.write_bytes(b"no image")
  with pytest.raises(ValueError, match=r"two people with two images at least\. .* cannot be used"):
    compare([("", saved)], tmp_path / "faces", preprocess="unit")


def test_the_command_says_pairs_and_notes_of_the_reading_that_it_takes(random_model, monkeypatch, tmp_path, capsys):
  saved = random_model("smallresnet", size=16, patch=2, widths=(8,), units=(1,), embedding_size=4)

  def read(path, model, preprocess, options, *, say, **more):
    if "activation" not in options:
      raise Ambiguous("either", [{"activation": "relu"}, {"activation": "relu6"}])
    say(f"a table with {options['activation']}")
    return saved

  monkeypatch.setattr("jaxface.interop.import_file.import_state_dict", read)
  faces(tmp_path / "faces")
  (tmp_path / "faces" / "person0" / "2.jpg").write_bytes(b"no image")
  (tmp_path / "faces" / "readme.heic").write_bytes(b"")
  command = ["import", str(tmp_path / "net.pth"), "--model", "smallresnet", "--preprocess", "unit",
             "--check", str(tmp_path / "faces"), "--out", str(tmp_path / "model")]
  assert main(command) == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line for line in lines if "table" in line] == ["a table with relu"]
  assert sum("1 of 7 images cannot be used" in line for line in lines) == 1
  assert sum(line.startswith("note: ") and "readme.heic" in line for line in lines) == 1
  assert {line.partition("  ")[0] for line in lines if "separation" in line} == {"activation relu, unit", "activation relu6, unit"}


def test_the_command_compares_options_orders_and_conventions(tmp_path, capsys):
  state = State()
  Net(state).ir(np.zeros((1, 3, 32, 32), np.float32), (1, 1, 1, 1), 0.0625, 4, inner=True)
  with open(tmp_path / "net.safetensors", "wb") as file:
    write_safetensors(file, {key: state[key] for key in sorted(state)})
  faces(tmp_path / "faces")
  command = ["import", str(tmp_path / "net.safetensors"), "--model", "iresnet", "--check", str(tmp_path / "faces"),
             "--out", str(tmp_path / "model")]
  assert main(command) == 0
  out = capsys.readouterr().out
  lines = [line for line in out.splitlines() if "separation" in line]
  assert len(lines) == 3 * len({line.partition(", ")[2].partition("  ")[0] for line in lines})
  figures = [float(line.split("separation")[1].split()[0]) for line in lines]
  assert figures == sorted(figures, reverse=True)
  meta = json.loads((tmp_path / "model" / "model.json").read_text())["meta"]
  assert lines[0].startswith(meta["chosen"]["name"]) and meta["chosen"]["candidates"] == len(lines)
  assert meta["flatten"] in meta["chosen"]["name"]
