"""Shorter embeddings: truncation, and principal components that never see the images that they judge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation import fit_components, verify_components, verify_pairs, verify_truncated
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs

PEOPLE, IMAGES, SIZE = 18, 3, 6


def people(seed=0, prefix="p"):
  random = np.random.default_rng(seed)
  center_nd = np.repeat(random.normal(size=(PEOPLE, SIZE)), IMAGES, axis=0)
  embedding_nd = (center_nd + random.normal(size=center_nd.shape)).astype(np.float32)
  return Embeddings(embedding_nd, [f"{prefix}{row // IMAGES}/{row % IMAGES}" for row in range(len(embedding_nd))])


def pair_list(folds=3):
  """Pairs within each fold's own people."""
  left, right, same, fold = [], [], [], []
  for number in range(folds):
    own = np.array_split(np.arange(PEOPLE), folds)[number].tolist()
    for at, person in enumerate(own):
      for image in (1, 2):
        left += [f"p{person}/0"] * 2
        right += [f"p{person}/{image}", f"p{own[(at + image) % len(own)]}/{image}"]
        same += [True, False]
        fold += [number] * 2
  return Pairs(left, right, np.array(same), np.array(fold))


def unit(row_d):
  return row_d / np.sqrt((row_d * row_d).sum())


def oracle(embeddings, pairs, size):
  """Scores and accuracy from the definition: covariance of the people outside the fold, eigenvectors, every threshold tried."""
  vector = {name: unit(row.astype(np.float64)) for name, row in zip(embeddings.names, embeddings.embedding_nd)}
  score, accuracy = np.zeros(len(pairs)), []
  for number in np.unique(pairs.fold):
    judged = {name.split("/")[0] for pair in range(len(pairs)) if pairs.fold[pair] == number for name in (pairs.left[pair], pairs.right[pair])}
    listed = {*pairs.left, *pairs.right}
    other = np.array([vector[name] for name in sorted(listed) if name.split("/")[0] not in judged])
    mean = other.mean(0)
    covariance = sum(np.outer(row - mean, row - mean) for row in other)
    value, axis = np.linalg.eigh(covariance)
    best = axis[:, np.argsort(-value)[:size]]
    all_scores = [float(unit((vector[a] - mean) @ best) @ unit((vector[b] - mean) @ best)) for a, b in zip(pairs.left, pairs.right)]
    inside = [pair for pair in range(len(pairs)) if pairs.fold[pair] == number]
    outside = [pair for pair in range(len(pairs)) if pairs.fold[pair] != number]
    score[inside] = np.array(all_scores)[inside]
    tried = np.sort([all_scores[pair] for pair in outside])
    candidates = [*(tried[1:] + tried[:-1]) / 2, tried[0], tried[-1] + 1e-9]
    right = [sum((all_scores[pair] >= one) == pairs.same[pair] for pair in outside) for one in candidates]
    best_right = {one for one, count in zip(candidates, right) if count == max(right)}
    accuracy.append({np.mean([(all_scores[pair] >= one) == pairs.same[pair] for pair in inside]) for one in best_right})
  return score, accuracy


# Not 1: there all cosines are 1 or -1, and rounding breaks the ties.
@pytest.mark.parametrize("size", [2, 4, 5])
def test_components_by_folds_are_those_of_the_definition(size):
  embeddings, pairs = people(), pair_list()
  found = verify_components(embeddings, pairs, [size])[size]
  score, accuracy = oracle(embeddings, pairs, size)
  np.testing.assert_allclose(found.score_p, score, atol=1e-9)
  # Several thresholds may be equally good on the other folds.
  assert all(any(abs(one - each) < 1e-9 for each in allowed) for one, allowed in zip(found.folds.accuracy, accuracy))
  assert found.folds.threshold_from == "other folds" and found.folds.pairs.tolist() == [24, 24, 24]


@given(st.integers(0, 99), st.integers(0, 2))
def test_the_images_of_a_fold_do_not_move_its_components(seed, fold):
  embeddings, pairs = people(seed), pair_list()
  inside = {name.split("/")[0] for pair in np.flatnonzero(pairs.fold == fold) for name in (pairs.left[pair], pairs.right[pair])}
  changed = embeddings.embedding_nd.copy()
  rows = [row for row, name in enumerate(embeddings.names) if name.split("/")[0] in inside]
  changed[rows[0]] = np.random.default_rng(seed + 1).normal(size=SIZE)
  kept = np.array([embeddings.names[rows[0]] not in both for both in zip(pairs.left, pairs.right)]) & (pairs.fold == fold)
  one, other = (
    verify_components(Embeddings(array, embeddings.names), pairs, [3])[3] for array in (embeddings.embedding_nd, changed)
  )
  np.testing.assert_array_equal(one.score_p[kept], other.score_p[kept])
  assert one.folds.threshold[fold] == other.folds.threshold[fold]


def test_all_components_keep_the_angles_about_the_mean_and_all_numbers_keep_the_figures():
  embeddings, pairs, other = people(), pair_list(), people(1, "q")
  found = verify_components(embeddings, pairs, [SIZE], fit=other)[SIZE]
  unit_nd = np.array([unit(row.astype(np.float64)) for row in embeddings.embedding_nd])
  mean_d = np.array([unit(row.astype(np.float64)) for row in other.embedding_nd]).mean(0)
  expected = verify_pairs(unit_nd - mean_d, embeddings.names, pairs)
  np.testing.assert_allclose(found.score_p, expected.score_p, atol=1e-12)
  np.testing.assert_array_equal(
    verify_truncated(embeddings, pairs, SIZE).score_p, verify_pairs(embeddings.embedding_nd, embeddings.names, pairs).score_p
  )
  np.testing.assert_array_equal(
    verify_truncated(embeddings, pairs, 2).score_p, verify_pairs(embeddings.embedding_nd[:, :2], embeddings.names, pairs).score_p
  )


def test_components_are_orthonormal_and_in_the_order_of_their_variance():
  row_nd = np.random.default_rng(0).normal(size=(50, 4)) * [1, 3, 2, 0.5] + [5, 0, 0, 0]
  found = fit_components(row_nd)
  np.testing.assert_allclose(found.axis_kd @ found.axis_kd.T, np.eye(4), atol=1e-12)
  variance_k = found.apply(row_nd, 4).var(0)
  assert (np.diff(variance_k) < 0).all() and abs(found.axis_kd[0, 1]) > 0.9
  np.testing.assert_allclose(found.apply(row_nd, 4).mean(0), 0, atol=1e-12)


def test_a_list_may_set_the_threshold_with_components_of_other_images():
  embeddings, pairs, other = people(), pair_list(), people(1, "q")
  first = Pairs(pairs.left[:24], pairs.right[:24], pairs.same[:24], pairs.fold[:24])
  rest = Pairs(pairs.left[24:], pairs.right[24:], pairs.same[24:], pairs.fold[24:])
  found = verify_components(embeddings, rest, [4], fit=other, train=first)[4]
  assert found.folds.threshold_from == "train pairs" and len(set(found.folds.threshold)) == 1
  with pytest.raises(ValueError, match="needs embeddings to fit on"):
    verify_components(embeddings, rest, [4], train=first)


def test_what_would_see_the_judged_images_is_refused():
  embeddings, pairs = people(), pair_list()
  one_fold = Pairs(pairs.left, pairs.right, pairs.same, np.zeros(len(pairs), int))
  with pytest.raises(ValueError, match="has one fold: components fitted on its own images"):
    verify_components(embeddings, one_fold, [2])
  with pytest.raises(ValueError, match=r"54 of the 54 images to fit components on are in the pair list \(first: 'p0/0'\)"):
    verify_components(embeddings, pairs, [2], fit=embeddings)
  mixed = Pairs(pairs.left, pairs.right, pairs.same, np.arange(len(pairs)) % 2)
  with pytest.raises(ValueError, match="fewer than two images show nobody of fold 0"):
    verify_components(embeddings, mixed, [2])


@pytest.mark.parametrize("size", [0, 7, 2.5])
def test_sizes_out_of_range_name_the_right_ones(size):
  with pytest.raises(ValueError, match="whole numbers from 1 to 6"):
    verify_truncated(people(), pair_list(), size)
  with pytest.raises(ValueError, match="whole numbers from 1 to 6"):
    verify_components(people(), pair_list(), [size])
