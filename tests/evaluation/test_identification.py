"""Ranks, CMC and open-set rates: against loops from the definitions, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from jaxface.evaluation.measures.identification import (
  Searches,
  cmc,
  concatenate_searches,
  open_set,
  search_gallery,
  top_n,
  tpir_at_fpir,
)
from jaxface.evaluation.measures.roc import roc, tar_at_far

# Few distinct scores and identities: ties and several entries of one identity in nearly every example.
problems = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))


def made(problem):
  probes, entries, seed = problem
  rng = np.random.default_rng(seed)
  score_nm = rng.integers(-3, 4, (probes, entries)) / 4
  return score_nm, rng.integers(0, 6, probes), rng.integers(0, 5, entries)


def slow_search(score_m, label, gallery_m):
  best = {}
  for score, identity in zip(score_m.tolist(), gallery_m.tolist()):
    best[identity] = max(score, best.get(identity, -np.inf))
  if label not in best:
    return 0, max(best.values())
  return 1 + sum(score >= best[label] for identity, score in best.items() if identity != label), best[label]


@given(problems)
def test_ranks_equal_their_definition(problem):
  score_nm, probe_n, gallery_m = made(problem)
  found = search_gallery(score_nm, probe_n, gallery_m)
  slow = [slow_search(score_m, label, gallery_m) for score_m, label in zip(score_nm, probe_n.tolist())]
  assert list(zip(found.rank.tolist(), found.score.tolist())) == slow
  names = search_gallery(score_nm, probe_n.astype(str), gallery_m.astype(str))
  np.testing.assert_array_equal(names.rank, found.rank)


@given(problems)
def test_order_blocks_and_monotone_maps_change_no_rank(problem):
  score_nm, probe_n, gallery_m = made(problem)
  found = search_gallery(score_nm, probe_n, gallery_m)
  rng = np.random.default_rng(0)
  rows, columns = rng.permutation(len(probe_n)), rng.permutation(len(gallery_m))
  moved = search_gallery(score_nm[rows][:, columns], probe_n[rows], gallery_m[columns])
  np.testing.assert_array_equal(moved.rank, found.rank[rows])
  np.testing.assert_array_equal(search_gallery(np.exp(score_nm), probe_n, gallery_m).rank, found.rank)
  blocks = [search_gallery(score_nm[row : row + 1], probe_n[row : row + 1], gallery_m) for row in range(len(rows))]
  for joined, whole in zip(concatenate_searches(*blocks), found):
    np.testing.assert_array_equal(joined, whole)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any), st.integers(1, 12))
def test_cmc_equals_its_definition_and_rises(ranks, largest):
  curve = cmc(np.array(ranks), largest)
  mated = [rank for rank in ranks if rank]
  assert curve.tolist() == pytest.approx([sum(r <= k for r in mated) / len(mated) for k in range(1, largest + 1)])
  assert (np.diff(curve) >= 0).all()
  assert top_n(np.array(ranks), largest) == curve[-1]


def test_top_n_equals_scikit_learn_without_ties():
  rng = np.random.default_rng(0)
  score_nm, label_n = rng.normal(size=(200, 20)), rng.integers(0, 20, 200)
  rank_n = search_gallery(score_nm, label_n, np.arange(20)).rank
  for n in (1, 3, 10):
    assert top_n(rank_n, n) == pytest.approx(metrics.top_k_accuracy_score(label_n, score_nm, k=n), abs=1e-15)


def slow_open_set(searches, threshold, rank):
  mated = [(r, s) for r, s in zip(*searches) if r]
  other = [s for r, s in zip(*searches) if not r]
  false = sum(score >= threshold for score in other)
  return false, sum(score >= threshold and r <= rank for r, score in mated), len(other), len(mated)


searched = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=2, max_size=30).filter(
  lambda rows: len({rank > 0 for rank, _ in rows}) == 2
)


def as_searches(rows):
  return Searches(np.array([rank for rank, _ in rows]), np.array([score / 4 for _, score in rows]))


@given(searched, st.sampled_from([None, 1, 2, 3, 10]))
def test_open_set_equals_its_definition_at_every_threshold(rows, rank):
  searches = as_searches(rows)
  curve = open_set(searches, rank=rank)
  for threshold, false, true in zip(*curve[:3]):
    assert (false, true, curve.nonmated, curve.mated) == slow_open_set(searches, threshold, rank or 99)
  # No other threshold gives other decisions.
  for threshold in {score / 4 for _, score in rows}:
    false, true, *_ = slow_open_set(searches, threshold, rank or 99)
    assert (false, true) in set(zip(curve.false_positives.tolist(), curve.true_positives.tolist()))
  assert (curve.false_positives[0], curve.true_positives[0], curve.fpir[-1]) == (0, 0, 1)
  assert (np.diff(curve.threshold) < 0).all()
  assert (np.diff(curve.fpir) >= 0).all() and (np.diff(curve.fnir) <= 0).all()
  np.testing.assert_allclose(curve.fnir + curve.tpir, 1, atol=1e-15)


@given(searched, st.sampled_from([0.0, 0.1, 0.3, 1 / 3, 0.5, 1.0]), st.sampled_from([None, 1, 2]))
def test_tpir_at_fpir_is_the_best_threshold_allowed(rows, target, rank):
  searches = as_searches(rows)
  curve = open_set(searches, rank=rank)
  found = tpir_at_fpir(curve, target)
  cuts = [np.inf, *(score / 4 for _, score in rows)]
  counts = [slow_open_set(searches, cut, rank or 99) for cut in cuts]
  allowed = [true / mated for false, true, other, mated in counts if false / other <= target]
  assert found.tar == max(allowed)
  assert found.far <= target
  assert tpir_at_fpir(open_set(searches), target).tar >= found.tar  # a rank can only lose mates


@given(searched)
def test_without_a_rank_open_set_is_verification_of_the_best_scores(rows):
  searches = as_searches(rows)
  curve, pairs = open_set(searches), roc(searches.score, searches.mated)
  np.testing.assert_array_equal(curve.tpir, pairs.tar)
  assert tpir_at_fpir(curve, 0.5) == tar_at_far(pairs, 0.5)


def test_by_hand():
  """Gallery a a b c. Probes: a (rank 1), b tied with c (rank 2), c below a and b (rank 3), d and e not there."""
  score_nm = np.array([
    [0.1, 0.9, 0.8, 0.2],
    [0.3, 0.1, 0.6, 0.6],
    [0.7, 0.2, 0.5, 0.4],
    [0.5, 0.55, 0.3, 0.1],
    [0.1, 0.2, 0.3, 0.65],
  ])
  found = search_gallery(score_nm, np.array(list("abcde")), np.array(list("aabc")))
  np.testing.assert_array_equal(found.rank, [1, 2, 3, 0, 0])
  np.testing.assert_array_equal(found.score, [0.9, 0.6, 0.4, 0.55, 0.65])
  np.testing.assert_allclose(cmc(found.rank, 3), [1 / 3, 2 / 3, 1])
  anywhere, first = open_set(found), open_set(found, rank=1)
  # Thresholds from high to low: above .9, .9, .65, .6, .55, .4
  np.testing.assert_allclose(anywhere.tpir, [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
  np.testing.assert_allclose(anywhere.fpir, [0, 0, 0.5, 0.5, 1, 1])
  np.testing.assert_array_equal(first.threshold, [np.nextafter(0.9, 1), 0.9, 0.65, 0.55])
  np.testing.assert_allclose(first.fnir, [1, 2 / 3, 2 / 3, 2 / 3])
  assert tpir_at_fpir(anywhere, 0.5) == (pytest.approx(2 / 3), 0.5, 0.6)
  assert tpir_at_fpir(first, 0.5) == (pytest.approx(1 / 3), 0.5, 0.65)
  assert tpir_at_fpir(anywhere, 0.4) == (pytest.approx(1 / 3), 0, 0.9)


def test_perfect_inverted_and_all_equal():
  label_n = np.arange(5)
  for score_nm, rank in ((np.eye(5), 1), (1 - np.eye(5), 5), (np.full((5, 5), 0.3), 5)):
    np.testing.assert_array_equal(search_gallery(score_nm, label_n, label_n).rank, np.full(5, rank))


def test_no_mate_found_at_any_threshold():
  curve = open_set(Searches(np.array([2, 3, 0]), np.array([0.5, 0.6, 0.1])), rank=1)
  assert tpir_at_fpir(curve, 1.0).tar == 0
  np.testing.assert_array_equal(curve.fnir, np.ones(2))


def test_wrong_input():
  label = np.array([0, 1])
  with pytest.raises(ValueError, match=r"scores \(2,\): they must be \[N, M\], a row for each probe"):
    search_gallery(np.zeros(2), label, label)
  with pytest.raises(ValueError, match=r"scores \(2, 0\).*a column for each gallery entry, at least one"):
    search_gallery(np.zeros((2, 0)), label, np.empty(0, int))
  with pytest.raises(ValueError, match="the score of probe 1 with gallery entry 0 is nan"):
    search_gallery(np.array([[0.1, 0.2], [np.nan, 0.1]]), label, label)
  with pytest.raises(ValueError, match="3 probe labels: there must be 2"):
    search_gallery(np.zeros((2, 2)), np.arange(3), label)
  with pytest.raises(ValueError, match="gallery entry labels are float64: they must be integers or text"):
    search_gallery(np.zeros((2, 2)), label, np.array([0.0, 1.0]))
  with pytest.raises(ValueError, match="they must be of one kind"):
    search_gallery(np.zeros((2, 2)), label, np.array(["0", "1"]))
  with pytest.raises(ValueError, match="none of 2 probes has a mate in the gallery"):
    cmc(np.array([0, 0]), 1)
  with pytest.raises(ValueError, match="CMC up to rank 0"):
    top_n(np.array([1]), 0)
  with pytest.raises(ValueError, match="integers"):
    cmc(np.array([-1]), 1)
  with pytest.raises(ValueError, match="2 mated and 0 non-mated probes"):
    open_set(Searches(np.array([1, 1]), np.array([0.1, 0.2])))
  with pytest.raises(ValueError, match="within rank 0"):
    open_set(Searches(np.array([1, 0]), np.array([0.1, 0.2])), rank=0)
  with pytest.raises(ValueError, match="target FPIR 2"):
    tpir_at_fpir(open_set(Searches(np.array([1, 0]), np.array([0.1, 0.2]))), 2)
  with pytest.raises(ValueError, match="no searches"):
    concatenate_searches()
