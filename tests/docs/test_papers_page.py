"""docs/papers.md: each name in the table of papers is there, and gives what the page says."""

import importlib
import re
from pathlib import Path

import pytest

from jaxface import losses, models
from jaxface.training import list_experiments, load_experiment

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "papers.md"


def rows():
  """The cells of each row of the first table: paper, networks, losses, runs, network of the run."""
  table = PAGE.read_text(encoding="utf-8").split("\n## ")[0]
  lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
  return lines[2:]


def names(cell):
  return re.findall(r"`(\w+)`", cell)


def same(cell):
  """Pairs of a paper's name and what it stands for."""
  return re.findall(r"`(\w+)` = `(\w+)`", cell)


def test_the_table_of_figures_is_current(monkeypatch):
  monkeypatch.syspath_prepend(str(DOCS))
  script = importlib.import_module("make_papers_table")
  text = PAGE.read_text(encoding="utf-8")
  assert script.replaced(text, script.NAME, script.part(), PAGE) == text, "docs/papers.md is not current: python docs/make_papers_table.py"


def test_ten_papers():
  assert len(rows()) == 10 and all(len(row) == 5 for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_name_of_the_table_is_there(row):
  _, networks, terms, runs, used = row
  short = dict(same(networks))
  for name in names(networks):
    models.create(name, embedding_size=8)
    assert name in short or name in models.list_models()
  for name, full in same(networks):
    assert models.model_options(name) == models.model_options(full)
    assert models.ModelConfig(name).name == full
  assert names(terms) and set(names(terms)) <= set(losses.__all__)
  for name, full in same(runs):
    assert load_experiment(name) == load_experiment(full)
  assert set(names(runs)) - set(dict(same(runs))) <= set(list_experiments())
  first = load_experiment(names(runs)[0])[0]
  assert first.model.name == names(used)[0]


def test_a_loss_by_another_name_is_an_error_that_gives_ours():
  with pytest.raises(AttributeError, match="Did you mean TripletLoss"):
    losses.Triplet  # noqa: B018
  with pytest.raises(AttributeError, match=r"Did you mean ASoftmax\?"):
    losses.SphereFace  # noqa: B018
  with pytest.raises(AttributeError, match="Did you mean ArcFace"):
    losses.ArcFase  # noqa: B018
  assert not hasattr(losses, "__nothing__")
  margins = load_experiment("margins")[0]
  assert isinstance(margins.with_overrides({"terms.0.margin": "sphereface"}).terms[0].margin, losses.ASoftmax)
  margin = losses.CosFace(scale=30.0, warmup_steps=400)
  assert load_experiment("cosface")[0].terms[0].margin == margin


def test_a_class_of_a_network_is_an_error_that_says_how_to_build_it():
  with pytest.raises(AttributeError, match=r'models\.create\("deepid"\)'):
    models.DeepID  # noqa: B018
  with pytest.raises(AttributeError, match=r'models\.create\("facenet"\)'):
    models.FaceNet  # noqa: B018


def test_a_paper_name_is_not_free_and_a_model_records_the_full_one():
  def facenet(embedding_size: int = 8):
    raise AssertionError

  with pytest.raises(ValueError, match="'facenet' stands for 'facenet_nn2'"):
    models.register(facenet)
  saved = models.SavedModel("facenet", {}, models.get_preprocess("unit"), {})
  assert saved.name == "facenet_nn2"
