"""Ranks among distractors: against the definition, in blocks, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.measures.distractors import distractor_ranks
from jaxface.evaluation.measures.identification import cmc, search_gallery

problems = st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 10), st.integers(0, 2**32 - 1))


def made(problem):
  probes, distractors, pairs, seed = problem
  rng = np.random.default_rng(seed)
  score_nm = rng.integers(-4, 5, (probes, distractors)) / 4
  return rng.integers(-4, 5, pairs) / 4, rng.integers(0, probes, pairs), score_nm


@given(problems)
def test_equals_its_definition_at_every_size(problem):
  mate_p, probe_p, score_nm = made(problem)
  sizes = range(1, score_nm.shape[1] + 1)
  found = distractor_ranks(mate_p, probe_p, score_nm, sizes)
  for row, size in zip(found, sizes):
    slow = [1 + sum(score_nm[probe, :size] >= mate) for mate, probe in zip(mate_p, probe_p)]
    assert row.tolist() == slow
  assert (np.diff(found, axis=0) >= 0).all()
  np.testing.assert_array_equal(distractor_ranks(mate_p, probe_p, score_nm)[0], found[-1])


@given(problems, st.integers(1, 11))
def test_ranks_of_blocks_add_up(problem, cut):
  mate_p, probe_p, score_nm = made(problem)
  whole = distractor_ranks(mate_p, probe_p, score_nm)
  if cut < score_nm.shape[1]:
    parts = [distractor_ranks(mate_p, probe_p, part) for part in np.split(score_nm, [cut], axis=1)]
    np.testing.assert_array_equal(1 + sum(part - 1 for part in parts), whole)


@given(problems)
def test_monotone_maps_and_order_change_nothing(problem):
  mate_p, probe_p, score_nm = made(problem)
  found = distractor_ranks(mate_p, probe_p, score_nm)
  np.testing.assert_array_equal(distractor_ranks(np.exp(mate_p), probe_p, np.exp(score_nm)), found)
  order = np.random.default_rng(0).permutation(len(mate_p))
  np.testing.assert_array_equal(distractor_ranks(mate_p[order], probe_p[order], score_nm), found[:, order])


@given(problems)
def test_equals_a_search_in_a_gallery_of_the_mate_and_the_distractors(problem):
  mate_p, probe_p, score_nm = made(problem)
  found = distractor_ranks(mate_p, probe_p, score_nm)[0]
  gallery = np.column_stack([mate_p, score_nm[probe_p]])
  labels = np.arange(gallery.shape[1])
  np.testing.assert_array_equal(search_gallery(gallery, np.zeros(len(mate_p), int), labels).rank, found)


def test_by_hand():
  """Distractors .2 .5 .7 of one probe; mates .9, .5 (a tie counts against it) and .1."""
  found = distractor_ranks(np.array([0.9, 0.5, 0.1]), np.zeros(3, int), np.array([[0.2, 0.5, 0.7]]), [1, 2, 3])
  np.testing.assert_array_equal(found, [[1, 1, 2], [1, 2, 3], [1, 3, 4]])
  np.testing.assert_allclose([cmc(rank_p, 1)[0] for rank_p in found], [2 / 3, 1 / 3, 1 / 3])


def test_a_float32_score_equals_itself():
  score = np.float32(0.3)
  assert distractor_ranks(np.array([score]), np.array([0]), np.array([[score]], np.float32)) == 2


def test_wrong_input():
  score_nm = np.zeros((2, 3))
  with pytest.raises(ValueError, match=r"mate scores \(2,\) and probes \(1,\)"):
    distractor_ranks(np.zeros(2), np.zeros(1, int), score_nm)
  with pytest.raises(ValueError, match="at least one pair"):
    distractor_ranks(np.empty(0), np.empty(0, int), score_nm)
  with pytest.raises(ValueError, match="the mate score of pair 1 is inf"):
    distractor_ranks(np.array([0, np.inf]), np.zeros(2, int), score_nm)
  with pytest.raises(ValueError, match="the score of probe 0 with distractor 2 is nan"):
    distractor_ranks(np.zeros(1), np.zeros(1, int), np.array([[0, 0, np.nan]]))
  with pytest.raises(ValueError, match="from 2 to 2: they must be rows of the distractor scores, integers from 0 to 1"):
    distractor_ranks(np.zeros(1), np.array([2]), score_nm)
  for sizes in ([], [0, 1], [2, 2], [3, 1], [4]):
    with pytest.raises(ValueError, match="they must increase strictly from at least 1 to at most 3"):
      distractor_ranks(np.zeros(1), np.zeros(1, int), score_nm, sizes)
