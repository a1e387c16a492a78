"""Figures per group from files: a table of attributes, or the images themselves."""

import json

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.data import FolderSource, measure_images, synthesize
from jaxface.evaluation import Attributes, evaluate_slices, holdout_pairs
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.pipeline import slices


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """Faces of twelve people, their embeddings, a pair list, and a table of people."""
  folder = tmp_path_factory.mktemp("slices")
  synthesize(folder / "faces", identities=12, images=3, size=32, seed=1)
  source = FolderSource(folder / "faces", size=None)
  random = np.random.default_rng(0)
  vector_nd = random.normal(size=(12, 8))[source.label_n] + 0.8 * random.normal(size=(36, 8))
  write_embeddings(folder / "e.npz", Embeddings(vector_nd.astype(np.float32), source.names()))
  pairs = holdout_pairs(source.names(), source.label_n, pairs=48, folds=2, seed=0)
  (folder / "pairs.tsv").write_text("".join(f"{a}\t{b}\t{int(s)}\t{f}\n" for a, b, s, f in zip(pairs.left, pairs.right, pairs.same, pairs.fold)))
  people = sorted({name.split("/")[0] for name in source.names()})
  (folder / "people.csv").write_text("person,sex,age\n" + "".join(f"{name},{'fm'[at % 2]},{20 + at}\n" for at, name in enumerate(people)))
  return folder


def test_the_command_prints_the_groups_and_writes_the_figures(world, tmp_path, capsys):
  arguments = ["slices", "--embeddings", str(world / "e.npz"), "--pairs", str(world / "pairs.tsv"), "--table", str(world / "people.csv")]
  assert main([*arguments, "--by", "sex,age", "--edges", "age=26", "--out", str(tmp_path)]) == 0
  printed = capsys.readouterr()
  assert "sex" in printed.out and "< 26" in printed.out and "mixed" in printed.out and "rule of 3" in printed.err
  sex, age = (json.loads((tmp_path / f"slices_{name}.json").read_text()) for name in ("sex", "age"))
  assert sex["kind"] == age["kind"] == "slices" and [group["group"] for group in age["groups"]] == ["< 26", "≥ 26"]
  (found, _) = evaluate_slices(world / "e.npz", world / "pairs.tsv", world / "people.csv", ["sex", "age"], edges={"age": [26]})
  assert sex == found.to_json()
  assert (tmp_path / "slices.html").read_text().count("<svg") >= 2
  with pytest.raises(SystemExit):
    main([*arguments, "--by", "age", "--edges", "26"])
  assert "COLUMN=X,Y" in capsys.readouterr().err


def test_measured_images_are_a_table(world):
  source = FolderSource(world / "faces", size=None)
  (found,) = slices(world / "e.npz", world / "pairs.tsv", ["sharpness"], images=world / "faces", quantiles=2)
  (expected,) = evaluate_slices(
    world / "e.npz", world / "pairs.tsv", Attributes(source.names(), measure_images(source), str(world / "faces")), ["sharpness"], quantiles=2
  )
  assert found.to_json() == expected.to_json() and len(found.figures["groups"]) + len(found.figures["incomplete"]) == 2


def test_a_table_or_images_and_only_what_can_be_measured(world):
  with pytest.raises(ValueError, match="give either a table of attributes or the images"):
    slices(world / "e.npz", world / "pairs.tsv", ["sex"])
  with pytest.raises(ValueError, match="'sex' cannot be measured on images, only brightness, contrast, sharpness"):
    slices(world / "e.npz", world / "pairs.tsv", ["sex"], images=world / "faces")
