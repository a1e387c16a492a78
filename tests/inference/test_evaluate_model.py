"""A model, a folder of images and a list become figures in one call, the same as by two steps."""

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import evaluate, read_evaluation
from jaxface.formats import read_embeddings, write_pairs
from jaxface.formats.pairs import Pairs
from jaxface.inference import Model, embed_faces, evaluate_model

PAIRS = Pairs(
  ["person00/00", "person01/00", "person00/00", "person01/01"], ["person00/01", "person01/01", "person01/00", "person00/01"],
  np.array([True, True, False, False]), np.array([0, 1, 0, 1]),
)


@pytest.fixture(scope="module")
def model(random_model):
  return Model(random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8))


@pytest.fixture
def folder(make_folder):
  return make_folder((3, 3, 3), height=16, width=16)


def names_in(folder) -> list[str]:
  return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.jpg"))


def test_one_call_gives_the_figures_of_two_and_embeds_only_what_the_lists_name(model, folder, tmp_path):
  names = names_in(folder)
  pairs = Pairs([names[0], names[3], names[0], names[3]], [names[1], names[4], names[3], names[1]], PAIRS.same, PAIRS.fold)
  more = Pairs([names[6], names[6]], [names[0], names[7]], np.array([False, True]), np.zeros(2, np.int64))
  write_pairs(tmp_path / "pairs.tsv", pairs)
  found = evaluate_model(
    model, folder, tmp_path / "pairs.tsv", threshold_from=more, embeddings=tmp_path / "e.npz", save=tmp_path / "s.npz", title="ours"
  )
  whole = evaluate(embed_faces(model, folder), tmp_path / "pairs.tsv", threshold_from=more)
  np.testing.assert_array_equal(found.score_p, whole.score_p)
  assert {key: value for key, value in found.figures.items() if key != "notes"} == {key: value for key, value in whole.figures.items() if key != "notes"}
  assert read_embeddings(tmp_path / "e.npz").names == [names[at] for at in (0, 1, 3, 4, 6, 7)]  # of nine
  meta = read_evaluation(tmp_path / "s.npz").meta
  assert (meta["title"], meta["licence"], meta["parameters"], meta["mirror"]) == ("ours", "unknown", model.num_parameters, "sum")


def test_missing_images_and_other_lists_are_named(model, folder):
  names = names_in(folder)
  pairs = Pairs([names[0], "x", names[3]], [names[1], names[2], names[1]], np.array([True, True, False]), np.zeros(3, np.int64))
  with pytest.raises(ValueError, match="no embedding is named 'x'"):
    evaluate_model(model, folder, pairs)
  assert len(evaluate_model(model, folder, pairs, skip_missing=True).pairs) == 2
  with pytest.raises(ValueError, match=r"none of its 9 images, named like .* is in the lists, which name 'y'"):
    evaluate_model(model, folder, Pairs(["y"], ["z"], np.array([True]), np.zeros(1, np.int64)))


@pytest.mark.parametrize("line", ["--model m", "", "--model m --embeddings e", "--model m --images i --records r"])
def test_the_command_needs_embeddings_or_a_model_with_images(line, capsys):
  with pytest.raises(SystemExit):
    main(["evaluate", "--pairs", "p", *line.split()])
  said = capsys.readouterr().err
  assert "give --embeddings FILE, or --images PATH or --records DIR with --model DIR" in said or "not allowed with argument" in said
