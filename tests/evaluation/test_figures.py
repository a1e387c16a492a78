"""`verify` gives the same figures for embeddings and pairs in any form."""

import numpy as np
import pytest

import jaxface
from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.pairs import Pairs, write_pairs

NAMES = [f"p{i // 3}/p{i // 3}_{i % 3:04d}" for i in range(12)]


@pytest.fixture
def embedding_nd():
  return np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def test_every_form_gives_the_figures_of_the_names(embedding_nd, tmp_path):
  left, right = np.array([0, 3, 6, 0, 3, 6]), np.array([1, 4, 7, 5, 8, 2])
  same = np.array([True, True, True, False, False, False])
  pairs = Pairs([NAMES[i] for i in left], [NAMES[i] for i in right], same, np.zeros(6, np.int64))
  right_figures = verify_pairs(embedding_nd, NAMES, pairs).to_json()
  embeddings = Embeddings(embedding_nd, NAMES)
  write_embeddings(tmp_path / "e.npz", embeddings)
  write_pairs(tmp_path / "pairs.txt", pairs)
  for given in (embeddings, tmp_path / "e.npz", str(tmp_path / "e.npz")):
    for chosen in (pairs, tmp_path / "pairs.txt", (pairs.left, pairs.right, same), (left, right, same.astype(int))):
      assert jaxface.verify(given, chosen).to_json() == right_figures
  # Rows without names: nothing tells that two of them show one person, beyond the mated pairs.
  rows = jaxface.verify(embedding_nd, (left, right, same)).to_json()
  plain = {name for name in right_figures if not name.endswith("_interval")}
  assert {name: rows[name] for name in plain} == {name: right_figures[name] for name in plain}
  assert jaxface.verify(embedding_nd, pairs, names=NAMES).to_json() == right_figures


@pytest.mark.parametrize(
  "pairs, names, message",
  [
    (([0, 1], [1, 12], [1, 0]), None, "pair 1: right is row 12, the embeddings have rows 0 to 11"),
    (([0, -1], [1, 2], [1, 0]), None, "pair 1: left is row -1"),
    (([0], [1, 2], [1, 0]), None, "equal length"),
    (([0, 1], [1, 2], [1, 2]), None, "same is int64: expected true or false"),
    (([0.5, 1], [1, 2], [1, 0]), None, "left and right are float64"),
    ("pairs", ["a"], "1 names for 12 embeddings"),
    ((["a"], ["b"], [1]), None, "the embeddings have none: give names"),
    ({1, 2}, None, "pairs are set: expected a path"),
  ],
)
def test_what_does_not_fit_is_named(embedding_nd, pairs, names, message):
  with pytest.raises(ValueError, match=message):
    jaxface.verify(embedding_nd, pairs, names=names)


def test_names_are_texts_or_bytes(embedding_nd):
  pairs = (["a", "b"], ["c", "d"], [1, 0])
  named = ["a", "b", "c", "d"]
  right = jaxface.verify(embedding_nd[:4], pairs, names=named).to_json()
  assert jaxface.verify(embedding_nd[:4], pairs, names=[name.encode() for name in named]).to_json() == right
  with pytest.raises(ValueError, match="name 1 is int: names must be str"):
    jaxface.verify(embedding_nd[:4], pairs, names=[1, 2, 3, 4])
