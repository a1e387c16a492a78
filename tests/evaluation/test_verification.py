"""Verification of pairs: independent of order and chunks, with clear errors for names that do not match."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation.pairs import pair_score
from jaxface.evaluation.pairs.pair_score import cosine_of_pairs
from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats.pairs import Pairs, read_pairs


def made(identities=12, images=4, size=16, noise=1.5, seed=0):
  """Embeddings around identities, and all mated with as many non-mated pairs in four folds."""
  rng = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(identities), images)
  centre_cd = rng.normal(size=(identities, size))
  embedding_nd = (centre_cd[label_n] + noise * rng.normal(size=(len(label_n), size))).astype(np.float32)
  names = [f"p{label}/p{label}_{index:04d}" for index, label in enumerate(label_n)]
  mated = [(i, j) for i in range(len(names)) for j in range(i) if label_n[i] == label_n[j]]
  other = [(i, j) for i in range(len(names)) for j in range(i) if label_n[i] != label_n[j]]
  chosen = mated + [other[index] for index in rng.choice(len(other), len(mated), replace=False)]
  pairs = Pairs(
    [names[i] for i, _ in chosen],
    [names[j] for _, j in chosen],
    np.arange(len(chosen)) < len(mated),
    np.arange(len(chosen)) % 4,
  )
  return embedding_nd, names, pairs


def test_figures_by_hand():
  """Directions at 0°, 60°, 90°, 180°: cosines .5 and 0 for mated, 0 and -1 for non-mated pairs, one fold."""
  embedding_nd = np.array([[2, 0], [0.5, 0.75**0.5], [0, 5], [-1, 0]], np.float32)
  pairs = Pairs(
    ["a", "a", "a", "a"], ["b", "c", "c", "d"], np.array([True, True, False, False]), np.zeros(4, int)
  )
  found = verify_pairs(embedding_nd, ["a", "b", "c", "d"], pairs)
  np.testing.assert_allclose(found.score_p, [0.5, 0, 0, -1], atol=1e-7)
  assert found.auc == 0.875  # of four comparisons three are won, one is tied
  assert found.accuracy == 0.75
  # Best thresholds: -.5 (one false accept) and .25 (one false reject); the lower of the two is taken.
  assert found.threshold_cosine == pytest.approx(-0.5, abs=1e-7)
  assert found.threshold_l2_squared == pytest.approx(3, abs=1e-7)
  assert (
    found.eer == 0.25
  )  # on the piece of the ROC from (0, 1/2) to (1/2, 1), TAR = 1/2 + FAR meets TAR = 1 − FAR
  assert found.tar_at_far == {"1e-1": 0.5, "1e-2": 0.5, "1e-3": 0.5}
  assert found.hardest(5, same=False) == [2]
  assert found.hardest(5, same=True) == []


def test_cosine_is_the_definition():
  embedding_nd, *_ = made()
  rng = np.random.default_rng(1)
  left_p, right_p = rng.integers(len(embedding_nd), size=(2, 200))
  slow = [
    float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
    for a, b in zip(embedding_nd[left_p].astype(np.float64), embedding_nd[right_p].astype(np.float64))
  ]
  np.testing.assert_allclose(cosine_of_pairs(embedding_nd, left_p, right_p), slow, rtol=0, atol=1e-14)
  np.testing.assert_array_equal(cosine_of_pairs(embedding_nd, left_p, left_p), np.ones(200))
  np.testing.assert_array_equal(
    cosine_of_pairs(embedding_nd, left_p, right_p), cosine_of_pairs(embedding_nd, right_p, left_p)
  )


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 50, 10**6])
@pytest.mark.parametrize("size", [1, 3, 16, 513])
def test_chunks_change_no_bit(monkeypatch, chunk, size):
  embedding_nd, names, pairs = made(size=size)
  whole = verify_pairs(embedding_nd, names, pairs)
  monkeypatch.setattr(pair_score, "CHUNK", chunk)
  np.testing.assert_array_equal(verify_pairs(embedding_nd, names, pairs).score_p, whole.score_p)


@given(st.integers(0, 2**31))
def test_order_of_embeddings_and_of_pairs_changes_no_figure(seed):
  embedding_nd, names, pairs = made()
  rng = np.random.default_rng(seed)
  row, pair = rng.permutation(len(names)), rng.permutation(len(pairs))
  shuffled = Pairs(
    [pairs.left[p] for p in pair], [pairs.right[p] for p in pair], pairs.same[pair], pairs.fold[pair]
  )
  one = verify_pairs(embedding_nd, names, pairs)
  other = verify_pairs(embedding_nd[row], [names[index] for index in row], shuffled)
  np.testing.assert_array_equal(one.score_p[pair], other.score_p)
  for figure in ("accuracy", "accuracy_se", "auc", "eer", "tar_at_far", "threshold_cosine"):
    assert getattr(one, figure) == getattr(other, figure)


def test_lengths_of_embeddings_do_not_matter_and_float64_is_taken():
  embedding_nd, names, pairs = made()
  scale_n1 = 2.0 ** np.random.default_rng(0).integers(-20, 20, size=(len(names), 1))
  one, other = verify_pairs(embedding_nd, names, pairs), verify_pairs(embedding_nd * scale_n1, names, pairs)
  np.testing.assert_allclose(one.score_p, other.score_p, rtol=0, atol=1e-15)


def test_noise_takes_it_from_perfect_to_chance():
  assert verify_pairs(*made(noise=0.01)).to_json()["accuracy"] == 1
  assert abs(verify_pairs(*made(identities=40, noise=100.0)).auc - 0.5) < 0.1


def test_json_has_the_figures_and_is_plain():
  found = verify_pairs(*made()).to_json()
  assert json.loads(json.dumps(found, allow_nan=False)) == found
  assert {
    "accuracy",
    "accuracy_se",
    "auc",
    "eer",
    "tar_at_far",
    "threshold_cosine",
    "threshold_l2_squared",
    "pairs",
    "folds",
  } <= set(found)
  assert list(found["tar_at_far"]) == ["1e-1", "1e-2", "1e-3"]
  assert found["threshold_l2_squared"] == 2 - 2 * found["threshold_cosine"]
  assert found["accuracy"] == pytest.approx(np.mean([fold["accuracy"] for fold in found["folds"]]), abs=1e-15)
  for name, (low, high) in found["tar_at_far_interval"].items():
    assert 0 <= low <= found["tar_at_far"][name] <= high <= 1


def test_the_squared_distance_decides_as_the_cosine_does():
  embedding_nd, names, pairs = made()
  found = verify_pairs(embedding_nd, names, pairs)
  unit_nd = embedding_nd / np.linalg.norm(embedding_nd.astype(np.float64), axis=1, keepdims=True)
  row_of = {name: row for row, name in enumerate(names)}
  distance_p = [
    np.sum((unit_nd[row_of[left]] - unit_nd[row_of[right]]) ** 2)
    for left, right in zip(pairs.left, pairs.right)
  ]
  by_distance = np.array(distance_p) <= found.threshold_l2_squared
  np.testing.assert_array_equal(by_distance, found.score_p >= found.threshold_cosine)


def test_train_pairs_set_the_threshold():
  embedding_nd, names, pairs = made()
  one_fold = Pairs(pairs.left, pairs.right, pairs.same, np.zeros(len(pairs), int))
  trained = verify_pairs(embedding_nd, names, one_fold, train=pairs)
  assert trained.folds.threshold_from == "train pairs"
  assert trained.threshold_cosine == verify_pairs(embedding_nd, names, one_fold).threshold_cosine


def test_hardest_are_wrong_and_worst_first():
  found = verify_pairs(*made(noise=2.5))
  for same in (True, False):
    hardest = found.hardest(10**6, same=same)
    assert hardest
    depth = [abs(found.score_p[pair] - found.threshold_p[pair]) for pair in hardest]
    assert depth == sorted(depth, reverse=True)
    for pair in hardest:
      assert found.pairs.same[pair] == same
      assert (found.score_p[pair] >= found.threshold_p[pair]) != same
    assert found.hardest(2, same=same) == hardest[:2]
  wrong = sum(len(found.hardest(10**6, same=same)) for same in (True, False))
  accuracy = np.average(found.folds.accuracy, weights=found.folds.pairs)
  assert wrong == pytest.approx(len(found.pairs) * (1 - accuracy))


def test_a_missing_name_is_named_with_its_line_and_with_what_there_is(tmp_path):
  path = tmp_path / "pairs.txt"
  path.write_text("Ann\t1\t2\nAnn\t1\tBob\t7\nBob\t7\tCy\t1\n")
  names = ["Ann/Ann_0001.jpg", "Ann/Ann_0001", "Ann/Ann_0002", "Cy/Cy_0001"]
  with pytest.raises(
    ValueError, match=r"pairs.txt, line 2: no embedding is named 'Bob/Bob_0007' \(2 of 3 pairs"
  ) as caught:
    verify_pairs(np.ones((4, 2), np.float32), names, read_pairs(path))
  assert "The 4 embeddings are named like 'Ann/Ann_0001.jpg', 'Ann/Ann_0001', 'Ann/Ann_0002'" in str(
    caught.value
  )
  with pytest.raises(ValueError, match="The 0 embeddings are named like none at all"):
    verify_pairs(np.ones((0, 2), np.float32), [], read_pairs(path))


def test_a_name_twice_matters_only_where_pairs_use_it():
  embedding_nd, names, pairs = made()
  more_nd = np.concatenate([embedding_nd, embedding_nd[:2]])
  verify_pairs(more_nd, [*names, "unused", "unused"], pairs)
  with pytest.raises(ValueError, match=f"two embeddings are named '{names[3]}'"):
    verify_pairs(more_nd, [*names, "unused", names[3]], pairs)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_named(value):
  embedding_nd, names, pairs = made()
  embedding_nd[5] = value
  with pytest.raises(ValueError, match=f"embedding 5 \\('{names[5]}'\\) is zero or not finite"):
    verify_pairs(embedding_nd, names, pairs)


def test_one_kind_of_pairs_and_wrong_sizes():
  embedding_nd, names, pairs = made()
  mated = np.flatnonzero(pairs.same)
  only = Pairs(
    [pairs.left[p] for p in mated], [pairs.right[p] for p in mated], pairs.same[mated], pairs.fold[mated]
  )
  with pytest.raises(ValueError, match="0 non-mated pairs"):
    verify_pairs(embedding_nd, names, only)
  with pytest.raises(ValueError, match="with 47 names"):
    verify_pairs(embedding_nd, names[1:], pairs)


@pytest.mark.real_data
def test_lfw_view_2_on_names_that_are_there(face_data):
  """Embeddings drawn around each person: the 6,000 pairs find their images in ten folds of 600."""
  names = [
    f"{image.parent.name}/{image.stem}" for image in sorted((face_data / "lfw_aligned112").glob("*/*.jpg"))
  ]
  person = {name: index for index, name in enumerate(sorted({name.split("/")[0] for name in names}))}
  rng = np.random.default_rng(0)
  centre_cd = rng.normal(size=(len(person), 64))
  embedding_nd = centre_cd[[person[name.split("/")[0]] for name in names]] + 0.5 * rng.normal(
    size=(len(names), 64)
  )
  found = verify_pairs(embedding_nd, names, read_pairs(face_data / "protocols" / "pairs.txt"))
  np.testing.assert_array_equal(found.folds.pairs, [600] * 10)
  assert (found.roc.mated, found.roc.nonmated) == (3000, 3000)
  assert found.accuracy > 0.995
