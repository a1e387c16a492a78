"""Pairwise F and BCubed: against loops over pairs and samples, scikit-learn, and by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from jaxface.evaluation.measures.cluster_scores import bcubed, pairwise_f

labelled = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25)


def arrays(rows):
  return np.array([identity for identity, _ in rows]), np.array([number for _, number in rows])


@given(labelled)
def test_pairwise_equals_a_loop_over_pairs_and_scikit_learn(rows):
  pairs = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(rows, 2)]
  right = sum(same and together for same, together in pairs)
  together, same = sum(together for _, together in pairs), sum(same for same, _ in pairs)
  found = pairwise_f(*arrays(rows))
  assert found == (right / together if together else 1, right / same if same else 1)
  (_, wrong), (lost, kept) = pair_confusion_matrix(*arrays(rows))
  if kept:
    assert found.f == pytest.approx(2 * kept / (2 * kept + wrong + lost), abs=1e-12)


@given(labelled)
def test_bcubed_equals_a_loop_over_samples(rows):
  precision, recall = [], []
  for identity, number in rows:
    both = sum(row == (identity, number) for row in rows)
    precision.append(both / sum(row[1] == number for row in rows))
    recall.append(both / sum(row[0] == identity for row in rows))
  found = bcubed(*arrays(rows))
  assert found == (pytest.approx(np.mean(precision), abs=1e-12), pytest.approx(np.mean(recall), abs=1e-12))


@given(labelled)
def test_names_and_order_do_not_matter_and_exchange_swaps(rows):
  identity_n, cluster_n = arrays(rows)
  order = np.random.default_rng(0).permutation(len(rows))
  for score in (pairwise_f, bcubed):
    found = score(identity_n, cluster_n)
    assert found == pytest.approx(score((identity_n * 7 - 3)[order], cluster_n[order].astype(str)), abs=1e-12)
    assert found == pytest.approx(score(cluster_n, identity_n)[::-1], abs=1e-12)
    assert score(identity_n, identity_n) == (1, 1)


def test_by_hand():
  """Identities a a a b b; clusters {a a b} {a b}. Pairs: 1 right of 4 together and of 4 of one identity."""
  identity_n, cluster_n = np.array(list("aaabb")), np.array([0, 0, 1, 0, 1])
  assert pairwise_f(identity_n, cluster_n) == (0.25, 0.25)
  assert pairwise_f(identity_n, cluster_n).f == 0.25
  found = bcubed(identity_n, cluster_n)
  # Precision: 2/3, 2/3, 1/2, 1/3, 1/2. Recall: 2/3, 2/3, 1/3, 1/2, 1/2.
  assert found == (pytest.approx(8 / 15, abs=1e-15), pytest.approx(8 / 15, abs=1e-15))


def test_everything_together_and_everything_apart():
  identity_n = np.array([0, 0, 1, 2])
  together, apart = np.zeros(4, int), np.arange(4)
  assert pairwise_f(identity_n, together) == (1 / 6, 1)
  assert pairwise_f(identity_n, apart) == (1, 0)
  assert pairwise_f(identity_n, apart).f == 0
  assert bcubed(identity_n, together) == (6 / 16, 1)
  assert bcubed(identity_n, apart) == (1, 3 / 4)
  assert pairwise_f(np.array([0, 1]), np.array([0, 0])) == (0, 1)


def test_wrong_input():
  for score in (pairwise_f, bcubed):
    with pytest.raises(ValueError, match="2 cluster labels: there must be 3"):
      score(np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match=r"identity labels \(0,\): they must be \[N\], at least one"):
      score(np.empty(0, int), np.empty(0, int))
    with pytest.raises(ValueError, match="cluster labels are float64"):
      score(np.arange(2), np.array([0.0, np.nan]))
