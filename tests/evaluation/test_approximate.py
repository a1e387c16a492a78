"""Approximate search against the exact one (where FAISS is installed), and recall by hand."""

import sys

import numpy as np
import pytest

from jaxface.evaluation import ApproximateIndex, Nearest, nearest_embeddings, recall


def found(rows):
  return Nearest(np.array(rows), np.zeros(np.shape(rows)))


def test_recall_by_hand():
  exact = found([[1, 2, 3, 4], [5, 6, 7, 8]])
  assert recall(found([[4, 3, 2, 1], [5, 6, 7, 8]]), exact) == 1
  assert recall(found([[1, 2, 0, -1], [5, 0, 9, 10]]), exact) == 3 / 8
  with pytest.raises(ValueError, match=r"found \(1, 2\) and exact \(2, 4\)"):
    recall(found([[1, 2]]), exact)


def test_without_faiss_the_error_names_the_extra_and_the_exact_search(monkeypatch):
  monkeypatch.setitem(sys.modules, "faiss", None)
  with pytest.raises(ModuleNotFoundError, match=r"pip install jaxface\[search\]. nearest_embeddings is exact"):
    ApproximateIndex(np.ones((3, 2)))


def test_most_of_the_exact_rows_are_found_with_their_exact_scores():
  pytest.importorskip("faiss")
  random = np.random.default_rng(0)
  gallery_md, probe_qd = (random.normal(size=(size, 16)).astype(np.float32) for size in (3000, 40))
  index = ApproximateIndex(gallery_md)
  approximate, exact = index.nearest(probe_qd, 10), nearest_embeddings(probe_qd, gallery_md, 10)
  assert recall(approximate, exact) > 0.9
  assert recall(exact, exact) == 1
  assert (np.diff(approximate.score) <= 0).all()
  score = {(q, row): score for q in range(40) for row, score in zip(exact.row[q], exact.score[q])}
  same = [score[q, row] == value for q in range(40) for row, value in zip(approximate.row[q], approximate.score[q]) if (q, row) in score]
  assert same and all(same)


def test_a_gallery_smaller_than_k_and_bad_embeddings():
  pytest.importorskip("faiss")
  result = ApproximateIndex(np.eye(3)).nearest(np.eye(3)[:1], 5)
  assert result.row[0].tolist() == [0, 1, 2, -1, -1] and result.score[0, 3:].tolist() == [-np.inf, -np.inf]
  with pytest.raises(ValueError, match="row 1: the embedding is zero"):
    ApproximateIndex(np.diag([1.0, 0.0]))
  with pytest.raises(ValueError, match=r"probes \(1, 2\) and gallery \(3, 3\)"):
    ApproximateIndex(np.eye(3)).nearest(np.ones((1, 2)), 1)
