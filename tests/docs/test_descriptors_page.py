"""docs/check_descriptors.py: what is described, in which order, and what the table says of it."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from jaxface.data.image_statistics import grey_images
from jaxface.descriptors import lbp_histograms
from jaxface.formats.images import decode_image

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def script(monkeypatch):
  monkeypatch.syspath_prepend(str(DOCS))
  return importlib.import_module("check_descriptors")


def test_images_are_described_without_their_border_in_the_order_asked_for(script, make_folder, monkeypatch):
  monkeypatch.setattr(script, "BATCH", 2)
  folder = make_folder(name="lfw_aligned112")
  names = ["person03/0002", "person00/0000", "person01/0001"]
  made = script.Described(folder.parent).embeddings("LBP", 5, names)
  assert made.names == names and made.meta == {"descriptor": "LBP", "border": 5}
  for name, row in zip(names, made.embedding_nd):
    image = decode_image((folder / f"{name}.jpg").read_bytes(), where=name)
    inner_1hw = grey_images(image[None])[:, 5:-5, 5:-5]
    np.testing.assert_allclose(row, lbp_histograms(inner_1hw)[0], atol=1e-6)


def test_the_table_has_the_finished_rows_in_the_order_of_the_list(script):
  one = {"border": 12, "size": 2891, "accuracy": 0.75, "accuracy_95": [0.73, 0.7725], "auc": 0.8125}
  *_, first, second = script.table({"hog-cosine": one, "lbp-chi-square": one}).splitlines()
  assert first == "| LBP | 2,891 | chi-square, weights equal, normalise False | restricted | 12 | 75.00 % (73.00 to 77.25) | 0.8125 |"
  assert second.startswith("| HOG | 2,891 | cosine | restricted | 12 | ")


def test_every_descriptor_is_judged_on_view_1_by_a_row_of_its_own(script):
  assert {descriptor for descriptor, *_ in script.ROWS.values()} == set(script.PLAIN)
  assert all(script.ROWS[row][0] == descriptor for descriptor, row in script.PLAIN.items())
