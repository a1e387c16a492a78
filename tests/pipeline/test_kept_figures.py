"""Figures that a system writes one by one: read again, begun anew for another making, and checked."""

import numpy as np
import pytest

from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData
from jaxface.pipeline.kept_figures import KeptFigures, embeddings_digest, figures_table

FOUND = {"accuracy": 0.75, "auc": 0.8, "accuracy_se": 0.01}


def never():
  raise AssertionError("computed again")


def test_what_was_computed_is_read_and_another_making_begins_anew(tmp_path):
  file, told = tmp_path / "figures.json", []
  store = KeptFigures(file, {"components": 4}, say=told.append)
  assert store.get("a", lambda: FOUND) == FOUND == store.get("a", never)
  with pytest.raises(AssertionError):
    store.get("b", never)
  again = KeptFigures(file, {"components": 4}, say=told.append)
  assert again.get("a", never) == FOUND and list(again.figures) == ["a"] and not told
  other = KeptFigures(file, {"components": 5}, say=told.append)
  assert other.get("a", lambda: {**FOUND, "auc": 0.9})["auc"] == 0.9
  assert len(told) == 1 and "other embeddings or settings" in told[0]
  file.write_text(file.read_text().replace("0.9", "0.8"))
  with pytest.raises(DamagedData, match=r"figures\.json"):
    KeptFigures(file, {"components": 5})


def test_the_digest_follows_rows_names_labels_and_mirror():
  def made(row=0.0, name="a", label=0, mirror="concat"):
    return embeddings_digest(Embeddings(np.full((1, 2), row, np.float32), [name], np.array([label]), {"mirror": mirror}))

  assert made() == made()
  assert len({made(), made(row=1.0), made(name="b"), made(label=1), made(mirror="none")}) == 5


def test_the_table_has_a_line_for_each_figure():
  text = figures_table({"a": FOUND, "b": {"accuracy": 0.5, "auc": 0.5}})
  assert [line.split() for line in text.splitlines()] == [["a", "75.00", "%", "±", "1.00", "AUC", "0.8000"], ["b", "50.00", "%", "AUC", "0.5000"]]
