"""Ranks of embeddings: against cosines of separate pairs, with equal embeddings, in any blocks and order."""

import numpy as np
import pytest

from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.measures.identification import search_gallery
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.evaluation.streaming import embedding_search
from jaxface.evaluation.streaming.embedding_search import search_embeddings


def made(seed):
  """Probes and a gallery with many equal embeddings, some of another length, and several entries of an identity."""
  rng = np.random.default_rng(seed)
  base = rng.normal(size=(10, 37)).astype(np.float32)
  probe_nd = base[rng.integers(0, 10, 40)] + rng.choice([0, 0.5], (40, 1)) * rng.normal(size=(40, 37))
  gallery_md = base[rng.integers(0, 10, 50)] * rng.choice([1, 2], (50, 1))
  return probe_nd.astype(np.float32), rng.integers(0, 14, 40), gallery_md.astype(np.float32), rng.integers(0, 12, 50)


def slow(probe_nd, probe_label_n, gallery_md, gallery_label_m):
  both = np.concatenate([probe_nd, gallery_md])
  rows, columns = np.divmod(np.arange(len(probe_nd) * len(gallery_md)), len(gallery_md))
  score_nm = cosine_of_pairs(both, rows, len(probe_nd) + columns).reshape(len(probe_nd), len(gallery_md))
  return search_gallery(score_nm, probe_label_n, gallery_label_m)


@pytest.mark.parametrize("seed", range(5))
def test_equals_cosines_of_separate_pairs_in_any_blocks_and_order(monkeypatch, seed):
  probe_nd, probe_label_n, gallery_md, gallery_label_m = made(seed)
  expected = slow(probe_nd, probe_label_n, gallery_md, gallery_label_m)
  assert len(np.unique(expected.rank)) > 3
  rng = np.random.default_rng(seed)
  rows, columns = rng.permutation(40), rng.permutation(50)
  for block in (1, 3 * 50, 2**24):
    monkeypatch.setattr(embedding_search, "BLOCK", block)
    found = search_embeddings(probe_nd, probe_label_n, gallery_md, gallery_label_m)
    moved = search_embeddings(probe_nd[rows], probe_label_n[rows], gallery_md[columns], gallery_label_m[columns])
    np.testing.assert_array_equal(found.rank, expected.rank)
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(moved.rank, expected.rank[rows])
    np.testing.assert_array_equal(moved.score, expected.score[rows])


def test_equal_gallery_embeddings_tie_and_count_against_the_mate():
  rng = np.random.default_rng(0)
  embedding_d = rng.normal(size=512)
  gallery_md = np.tile(embedding_d, (9, 1))
  found = search_embeddings(rng.normal(size=(9, 512)), np.arange(9), gallery_md, np.arange(9))
  np.testing.assert_array_equal(found.rank, np.full(9, 9))


def test_wrong_input():
  one, label = np.ones((2, 3)), np.arange(2)
  with pytest.raises(ValueError, match=r"probes \(2, 2\) and gallery \(2, 3\): both must be \[rows, D\]"):
    search_embeddings(np.ones((2, 2)), label, one, label)
  with pytest.raises(ValueError, match="gallery entry 1 is zero or not finite"):
    search_embeddings(one, label, np.array([[1.0, 0, 0], [0, 0, 0]]), label)
  with pytest.raises(ValueError, match="probe 0 is zero or not finite"):
    search_embeddings(np.full((2, 3), np.nan), label, one, label)
  with pytest.raises(ValueError, match="3 gallery entry labels: there must be 2"):
    search_embeddings(one, label, one, np.arange(3))
  with pytest.raises(ValueError, match=r"gallery entry matrix \(0, 3\)"):
    search_embeddings(one, label, np.empty((0, 3)), np.empty(0, int))


@pytest.mark.parametrize("value", [0.0, 1e200, np.nan, np.inf])
@pytest.mark.parametrize(("names", "message"), [(None, "probe 1 is zero"), (["a", "b"], "the probe of 'b' is zero")])
def test_a_row_without_direction_is_named(value, names, message):
  row_nd = np.array([[3.0, 4.0], [value, 0.0]])
  assert unit_rows(row_nd[:1], "probe").tolist() == [[0.6, 0.8]]
  with pytest.raises(ValueError, match=f"{message} or not finite: its direction is undefined"):
    unit_rows(row_nd, "probe", names)
