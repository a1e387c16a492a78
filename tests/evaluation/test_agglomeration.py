"""Components and agglomerative clustering: against greedy merging, SciPy, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.sparse import coo_array, csgraph
from scipy.spatial.distance import squareform

from jaxface.evaluation.measures import agglomeration
from jaxface.evaluation.measures.agglomeration import LINKAGES, agglomerate, cluster
from jaxface.evaluation.measures.graph import components
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs

seeds = st.integers(0, 2**32 - 1)


def symmetric(size, seed):
  """Distinct scores: no two merges tie."""
  rng = np.random.default_rng(seed)
  score_nn = np.zeros((size, size))
  upper = np.triu_indices(size, 1)
  score_nn[upper] = rng.permutation(len(upper[0])) / max(len(upper[0]), 1) + rng.uniform(0, 1e-3, len(upper[0]))
  return score_nn + score_nn.T


def numbered(labels):
  first = {}
  return [first.setdefault(label, len(first)) for label in labels]


def greedy(score_nn, threshold, linkage):
  """Merges the two most similar clusters, comparing all pairs of clusters again after each merge."""
  clusters = [[row] for row in range(len(score_nn))]
  of = {"single": np.max, "average": np.mean, "complete": np.min}[linkage]
  while len(clusters) > 1:
    similar = {(a, b): of(score_nn[np.ix_(clusters[a], clusters[b])]) for a in range(len(clusters)) for b in range(a)}
    (a, b), most = max(similar.items(), key=lambda item: item[1])
    if most < threshold:
      break
    clusters[b] += clusters.pop(a)
  label = {row: number for number, members in enumerate(clusters) for row in members}
  return numbered(label[row] for row in range(len(score_nn)))


@pytest.mark.parametrize("linkage", LINKAGES)
@given(st.integers(1, 12), seeds, st.floats(-0.1, 1.1))
def test_agglomeration_equals_greedy_merging(linkage, size, seed, threshold):
  score_nn = symmetric(size, seed)
  assert agglomerate(score_nn, threshold, linkage=linkage).tolist() == greedy(score_nn, threshold, linkage)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_agglomeration_equals_scipy(linkage, threshold):
  score_nn = symmetric(80, 0)
  tree = hierarchy.linkage(squareform(2 - score_nn, checks=False), linkage)
  expected = numbered(hierarchy.fcluster(tree, 2 - threshold, "distance").tolist())
  assert agglomerate(score_nn, threshold, linkage=linkage).tolist() == expected


@pytest.mark.parametrize("linkage", LINKAGES)
@given(st.integers(2, 10), seeds)
def test_order_changes_only_the_numbers(linkage, size, seed):
  score_nn = symmetric(size, seed)
  order = np.random.default_rng(0).permutation(size)
  found = agglomerate(score_nn, 0.5, linkage=linkage)
  moved = agglomerate(score_nn[np.ix_(order, order)], 0.5, linkage=linkage)
  assert numbered(found[order].tolist()) == moved.tolist()
  if linkage != "average":  # the largest and the smallest score commute with monotone maps, the mean does not
    mapped = agglomerate(np.exp(score_nn), np.exp(0.5), linkage=linkage)
    np.testing.assert_array_equal(mapped, found)


@given(st.integers(2, 10), seeds, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_refines(size, seed, one, other):
  score_nn = symmetric(size, seed)
  for linkage in LINKAGES:
    coarse, fine = (agglomerate(score_nn, cut, linkage=linkage) for cut in sorted((one, other)))
    assert all(len(set(coarse[fine == number])) == 1 for number in set(fine.tolist()))


@given(st.integers(1, 15), st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=20))
def test_components_equal_scipy(size, edges):
  edges = [(a % size, b % size) for a, b in edges]
  left_p, right_p = np.array(edges, np.int64).reshape(-1, 2).T
  graph = coo_array((np.ones(len(edges)), (left_p, right_p)), shape=(size, size))
  _, expected = csgraph.connected_components(graph, directed=False)
  assert components(left_p, right_p, size).tolist() == numbered(expected.tolist())


def test_a_long_path_is_one_component():
  node = np.random.default_rng(0).permutation(2000)
  assert not components(node[:-1], node[1:], 2000).any()


def embeddings(seed=0):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=(12, 8))[np.arange(60) % 12] + 0.4 * rng.normal(size=(60, 8))).astype(np.float32)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_clusters_of_embeddings_equal_clusters_of_their_cosines(monkeypatch, linkage, threshold):
  embedding_nd = embeddings()
  unit_nd = embedding_nd.astype(np.float64)
  unit_nd /= np.linalg.norm(unit_nd, axis=1, keepdims=True)
  score_nn = unit_nd @ unit_nd.T
  expected = greedy((score_nn + score_nn.T) / 2, threshold, linkage)
  assert 1 < len(set(expected)) < 60
  assert cluster(embedding_nd, threshold, linkage=linkage).tolist() == expected
  for block in (1, 7, 60):
    monkeypatch.setattr(agglomeration, "BLOCK", block)
    assert cluster(embedding_nd, threshold, linkage=linkage).tolist() == expected


def test_a_cosine_equal_to_the_threshold_joins_for_any_block_and_order(monkeypatch):
  embedding_nd = embeddings(1)
  left_p, right_p = np.triu_indices(60, 1)
  score_p = cosine_of_pairs(embedding_nd, left_p, right_p)
  for pair in np.argsort(score_p)[-40:]:
    threshold = score_p[pair]
    expected = components(left_p[score_p >= threshold], right_p[score_p >= threshold], 60)
    for block in (1, 13, 60):
      monkeypatch.setattr(agglomeration, "BLOCK", block)
      np.testing.assert_array_equal(cluster(embedding_nd, threshold), expected)
      np.testing.assert_array_equal(cluster(embedding_nd[::-1], threshold)[::-1] == 0, expected == expected[-1])


def test_by_hand():
  """A chain a–b .9, b–c .8, a–c .1, and d apart: single joins the chain, complete and average only a and b."""
  score_nn = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.8, 0], [0.1, 0.8, 1, 0], [0, 0, 0, 1]])
  assert agglomerate(score_nn, 0.5, linkage="single").tolist() == [0, 0, 0, 1]
  assert agglomerate(score_nn, 0.5, linkage="complete").tolist() == [0, 0, 1, 2]
  assert agglomerate(score_nn, 0.5, linkage="average").tolist() == [0, 0, 1, 2]
  assert agglomerate(score_nn, 0.45, linkage="average").tolist() == [0, 0, 0, 1]  # (.1 + .8) / 2
  assert agglomerate(score_nn, 0.8, linkage="single").tolist() == [0, 0, 0, 1]  # equal to the threshold


@pytest.mark.parametrize("linkage", LINKAGES)
def test_all_equal_none_and_one(linkage):
  equal = np.full((5, 5), 0.3)
  assert agglomerate(equal, 0.3, linkage=linkage).tolist() == [0] * 5
  assert agglomerate(equal, 0.31, linkage=linkage).tolist() == [0, 1, 2, 3, 4]
  assert agglomerate(np.zeros((1, 1)), 0.5, linkage=linkage).tolist() == [0]
  assert cluster(np.ones((1, 3)), 0.5, linkage=linkage).tolist() == [0]
  assert cluster(np.eye(3), 0.5, linkage=linkage).tolist() == [0, 1, 2]


def test_wrong_input(monkeypatch):
  with pytest.raises(ValueError, match="no linkage 'ward': it must be one of single, average, complete"):
    cluster(np.eye(2), 0.5, linkage="ward")
  with pytest.raises(ValueError, match="threshold is nan"):
    agglomerate(np.eye(2), np.nan)
  with pytest.raises(ValueError, match="embedding 1 is zero or not finite"):
    cluster(np.array([[1.0, 0], [0, 0]]), 0.5)
  with pytest.raises(ValueError, match="embedding 0 is zero or not finite"):
    cluster(np.array([[np.nan, 0], [0, 1]]), 0.5)
  with pytest.raises(ValueError, match=r"embedding matrix \(0, 2\)"):
    cluster(np.empty((0, 2)), 0.5)
  with pytest.raises(ValueError, match=r"scores \(2, 3\): they must be \[N, N\]"):
    agglomerate(np.zeros((2, 3)), 0.5)
  with pytest.raises(ValueError, match=r"the score of 0 with 1 is 0.5, of 1 with 0 0.25: scores must be symmetric"):
    agglomerate(np.array([[1, 0.5], [0.25, 1]]), 0.5)
  with pytest.raises(ValueError, match="the score of row 0 with column 1 is nan"):
    agglomerate(np.array([[1, np.nan], [np.nan, 1]]), 0.5)
  with pytest.raises(ValueError, match="edge 1 joins 0 and 3: nodes are 0 to 2"):
    components(np.array([0, 0]), np.array([1, 3]), 3)
  with pytest.raises(ValueError, match="both ends must be"):
    components(np.array([0, 0]), np.array([1]), 3)
  monkeypatch.setattr(agglomeration, "LARGEST", 2)
  with pytest.raises(ValueError, match=r'3 embeddings are joined by cosines of at least 0.5.* or linkage "single"'):
    cluster(np.ones((3, 2)), 0.5, linkage="average")
