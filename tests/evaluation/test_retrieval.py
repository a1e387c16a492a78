"""Precision@1, R-precision and MAP@R: against loops from the definitions, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from jaxface.evaluation.measures.identification import search_gallery, top_n
from jaxface.evaluation.measures.retrieval import concatenate_retrievals, retrieve

problems = st.tuples(st.integers(2, 9), st.integers(0, 2**32 - 1))


def made(problem):
  size, seed = problem
  rng = np.random.default_rng(seed)
  label_n = rng.integers(0, 4, size)
  label_n[1] = label_n[0]  # at least one query has a relevant reference
  return rng.integers(-3, 4, (size, size)) / 4, label_n


def slow(score_m, label, reference_m, itself):
  rows = [(-score, other == label) for column, (score, other) in enumerate(zip(score_m, reference_m)) if column != itself]
  hits = [relevant for _, relevant in sorted(rows)]
  count = sum(hits)
  if not count:
    return 0, 0, 0, 0
  precision = [sum(hits[: i + 1]) / (i + 1) for i in range(count)]
  return count, hits[0], precision[-1], sum(p for p, hit in zip(precision, hits) if hit) / count


@given(problems, st.booleans())
def test_equals_its_definition(problem, among_themselves):
  score_nn, label_n = made(problem)
  itself_n = np.arange(len(label_n)) if among_themselves else np.full(len(label_n), -1)
  found = retrieve(score_nn, label_n, label_n, itself_n=itself_n)
  expected = [slow(*row, label_n.tolist(), itself) for *row, itself in zip(score_nn.tolist(), label_n.tolist(), itself_n)]
  np.testing.assert_allclose(np.stack(found, axis=1), expected, atol=1e-15)
  kept = [row for row in expected if row[0]]
  means = (found.mean_precision_at_1, found.mean_r_precision, found.map_at_r)
  np.testing.assert_allclose(means, np.mean(kept, axis=0)[1:], atol=1e-15)
  assert found.queries == len(kept)
  assert found.map_at_r <= found.mean_r_precision


@given(problems)
def test_order_blocks_and_monotone_maps_change_nothing(problem):
  score_nn, label_n = made(problem)
  count = len(label_n)
  itself_n = np.arange(count)
  found = retrieve(score_nn, label_n, label_n, itself_n=itself_n)
  order = np.random.default_rng(0).permutation(count)
  moved = retrieve(score_nn[:, order], label_n, label_n[order], itself_n=np.argsort(order))
  mapped = retrieve(np.exp(score_nn), label_n, label_n, itself_n=itself_n)
  blocks = [slice(0, 2), slice(2, count)] if count > 2 else [slice(0, 2)]
  parts = []
  for rows in blocks:
    try:
      parts.append(retrieve(score_nn[rows], label_n[rows], label_n, itself_n=itself_n[rows]))
    except ValueError:
      return  # a block without any relevant reference
  for whole, *others in zip(found, moved, mapped, concatenate_retrievals(*parts)):
    for other in others:
      np.testing.assert_array_equal(whole, other)


def test_against_scikit_learn_and_rank_1_without_ties():
  rng = np.random.default_rng(0)
  label_n, label_m = rng.integers(0, 5, 40), rng.integers(0, 5, 30)
  score_nm = rng.normal(size=(40, 30)) + (label_n[:, None] == label_m)
  found = retrieve(score_nm, label_n, label_m)
  assert found.mean_precision_at_1 == top_n(search_gallery(score_nm, label_n, label_m).rank, 1)
  for query in range(40):
    # Average precision over the first R references is scikit-learn's, scaled from the relevant found to R.
    count = int(found.relevant[query])
    top = np.argsort(-score_nm[query])[:count]
    hit = label_m[top] == label_n[query]
    expected = average_precision_score(hit, score_nm[query, top]) * hit.sum() / count if hit.any() else 0
    assert found.average_precision_at_r[query] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
  ("hits", "first", "share", "average"),
  [
    ([1, 1, 1, 0], 1, 1, 1),
    ([1, 0, 1, 1], 1, 2 / 3, (1 + 2 / 3) / 3),
    ([0, 1, 1, 1], 0, 2 / 3, (1 / 2 + 2 / 3) / 3),
    ([0, 0, 1, 1, 1], 0, 1 / 3, 1 / 9),
    ([0, 0, 0, 1, 1, 1], 0, 0, 0),
  ],
)
def test_by_hand(hits, first, share, average):
  found = retrieve(-np.arange(len(hits), dtype=float)[None], np.array([1]), np.array(hits))
  assert found.relevant[0] == 3
  values = (found.mean_precision_at_1, found.mean_r_precision, found.map_at_r)
  assert values == pytest.approx((first, share, average), abs=1e-15)


def test_ties_count_against_the_query_and_perfect_and_inverted():
  label_n = np.array([0, 0, 1, 1])
  same_nn = label_n[:, None] == label_n
  itself_n = np.arange(4)
  perfect = retrieve(same_nn.astype(float), label_n, label_n, itself_n=itself_n)
  inverted = retrieve(-same_nn.astype(float), label_n, label_n, itself_n=itself_n)
  equal = retrieve(np.full((4, 4), 0.3), label_n, label_n, itself_n=itself_n)
  assert (perfect.mean_precision_at_1, perfect.mean_r_precision, perfect.map_at_r) == (1, 1, 1)
  for none in (inverted, equal):
    assert (none.mean_precision_at_1, none.mean_r_precision, none.map_at_r) == (0, 0, 0)


def test_wrong_input():
  label = np.array([0, 0])
  with pytest.raises(ValueError, match="none of 2 queries has a reference of its identity"):
    retrieve(np.zeros((2, 2)), np.array([0, 1]), np.array([0, 1]), itself_n=np.arange(2))
  with pytest.raises(ValueError, match="the score of query 0 with reference 1 is nan"):
    retrieve(np.array([[0, np.nan], [0, 0]]), label, label)
  with pytest.raises(ValueError, match="1 reference labels: there must be 2"):
    retrieve(np.zeros((2, 2)), label, label[:1])
  with pytest.raises(ValueError, match="must be one integer for each of 2 queries"):
    retrieve(np.zeros((2, 2)), label, label, itself_n=np.arange(3))
  with pytest.raises(ValueError, match="itself from 0 to 2: it must be a column, 0 to 1, or -1"):
    retrieve(np.zeros((2, 2)), label, label, itself_n=np.array([0, 2]))
  with pytest.raises(ValueError, match="no retrievals"):
    concatenate_retrievals()
