"""χ² similarity: against a loop and a scikit-learn pipeline, pairs drawn from labels, and features that it cannot compare."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from jaxface.evaluation import auc, roc
from jaxface.verifiers import ChiSquare, RowPairs, draw_pairs, write_verifier
from jaxface.verifiers.linear import fit_svm

seeds = st.integers(0, 2**32 - 1)


def people(seed=0, identities=30, each=4, size=8):
  """Rectified features [N, D] of which the first half tells identities apart, and labels [N]."""
  random = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(identities), each)
  center_id = random.normal(0.3, 1, (identities, size))
  center_id[:, size // 2 :] = 0.3
  return np.maximum(center_id[label_n] + random.normal(0, 0.5, (len(label_n), size)), 0), label_n


def loop(a_k, b_k, weight_k):
  return sum(w * (a - b) ** 2 / (a + b) for a, b, w in zip(a_k, b_k, weight_k) if a + b > 0)


def normalised(train_nd, row_nd, epsilon=0.05):
  share_nd = row_nd / np.maximum(train_nd.max(0), epsilon)
  return share_nd / np.linalg.norm(share_nd, axis=1, keepdims=True)


def test_equal_weights_equal_a_loop_and_a_case_by_hand():
  row_nd, _ = people()
  plain = ChiSquare.fit(row_nd, weights="equal", normalise=False)
  np.testing.assert_allclose(plain.score(row_nd[:9], row_nd[9:18]), [loop(a, b, [-1] * 8) for a, b in zip(row_nd[:9], row_nd[9:18])], rtol=1e-12)
  # (3 - 1)² / 4 + 0 + 2² / 2 = 3
  three = ChiSquare.fit(np.ones((1, 3)), weights="equal", normalise=False)
  assert three.score(np.array([[3.0, 0.0, 2.0]]), np.array([[1.0, 0.0, 0.0]])).tolist() == [-3.0]
  scaled = ChiSquare.fit(row_nd, weights="equal")
  a_nd, b_nd = normalised(row_nd, row_nd[:9]), normalised(row_nd, row_nd[9:18])
  np.testing.assert_allclose(scaled.score(row_nd[:9], row_nd[9:18]), [loop(a, b, [-1] * 8) for a, b in zip(a_nd, b_nd)], rtol=1e-5)


def test_features_whose_largest_value_is_small_are_divided_by_epsilon():
  row_nd = np.array([[0.01, 1.0], [0.02, 0.5]])
  a_nd = normalised(row_nd, row_nd, epsilon=0.05)
  assert a_nd[0, 0] / a_nd[0, 1] == pytest.approx(0.2)
  found = ChiSquare.fit(row_nd, weights="equal").score(row_nd[:1], row_nd[1:])
  np.testing.assert_allclose(found, loop(a_nd[0], a_nd[1], [-1, -1]), rtol=1e-5)


@pytest.mark.parametrize("penalty", [0.01, 0.3])
def test_weights_equal_those_of_a_scikit_learn_pipeline(penalty):
  row_nd, label_n = people()
  drawn = draw_pairs(label_n, seed=3)
  found = ChiSquare.fit(row_nd, drawn, penalty=penalty)
  a_nd, b_nd = (normalised(row_nd, row_nd[part]) for part in (drawn.left_p, drawn.right_p))
  term_pk = np.array([[(a - b) ** 2 / (a + b) if a + b else 0.0 for a, b in zip(*both)] for both in zip(a_nd, b_nd)])
  pipeline = make_pipeline(StandardScaler(), LinearSVC(C=1 / (penalty * len(drawn.same_p)), dual=False, tol=1e-8)).fit(term_pk, drawn.same_p)
  weight_k = pipeline[1].coef_[0] / pipeline[0].scale_
  np.testing.assert_allclose(found.linear.weight_k, weight_k, rtol=1e-3, atol=1e-3 * np.abs(weight_k).max())
  np.testing.assert_allclose(found.score(row_nd[drawn.left_p], row_nd[drawn.right_p]), pipeline.decision_function(term_pk), rtol=1e-3, atol=1e-3)


def test_features_that_tell_people_apart_get_the_weight_and_beat_equal_weights():
  row_nd, label_n = people()
  found = ChiSquare.fit(row_nd, label_n)
  assert (found.linear.weight_k[:4] < 0).all()
  assert np.abs(found.linear.weight_k[:4]).min() > 2 * np.abs(found.linear.weight_k[4:]).max()
  test_nd, test_n = people(1)
  held = draw_pairs(test_n)
  learnt, equal = (
    auc(roc(verifier.score(test_nd[held.left_p], test_nd[held.right_p]), held.same_p))
    for verifier in (found, ChiSquare.fit(row_nd, weights="equal"))
  )
  assert learnt > equal + 0.05


@given(seed=seeds)
def test_scores_are_symmetric_and_a_matrix_has_those_of_its_pairs(seed):
  row_nd, label_n = people(seed % 5)
  random = np.random.default_rng(seed)
  left_nd, right_nd = random.uniform(0, 2, (4, 8)), random.uniform(0, 2, (3, 8))
  left_nd[0, :3] = right_nd[0, :3] = 0
  for verifier in (ChiSquare.fit(row_nd, weights="equal", normalise=False), ChiSquare.fit(row_nd, label_n)):
    score_nm = verifier.score_matrix(left_nd, right_nd)
    for row in range(4):
      pair_m = verifier.score(np.tile(left_nd[row], (3, 1)), right_nd)
      np.testing.assert_allclose(score_nm[row], pair_m, rtol=1e-12, atol=1e-12)
      np.testing.assert_array_equal(pair_m, verifier.score(right_nd, np.tile(left_nd[row], (3, 1))))
    assert verifier.score_matrix(left_nd[:0], right_nd).shape == (0, 3)


def test_split_compares_positive_and_negative_parts():
  random = np.random.default_rng(0)
  row_nd = random.normal(size=(20, 5))
  found = ChiSquare.fit(row_nd, weights="equal", normalise=False, split=True)
  parts = [np.concatenate([np.maximum(one, 0), np.maximum(-one, 0)]) for one in row_nd]
  np.testing.assert_allclose(found.score(row_nd[:9], row_nd[9:18]), [loop(a, b, [-1] * 10) for a, b in zip(parts[:9], parts[9:18])], rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"weights": "equal", "normalise": False}, {"split": True, "unit": True, "epsilon": 0.2}])
def test_a_file_gives_the_same_scores(options, through_a_file):
  row_nd, label_n = people()
  through_a_file(ChiSquare.fit(row_nd, label_n, **options), row_nd[:9], row_nd[9:18])


def test_drawn_pairs_are_mated_and_non_mated_without_repeats_and_repeat_with_the_seed():
  label_n = np.array(["b", "a", "b", "c", "a", "b", "d"])
  drawn = draw_pairs(label_n, seed=1)
  assert len(drawn.same_p) == 8 and drawn.same_p.sum() == 4  # b has three pairs, a one
  np.testing.assert_array_equal(label_n[drawn.left_p] == label_n[drawn.right_p], drawn.same_p)
  assert len({frozenset(pair) for pair in zip(drawn.left_p.tolist(), drawn.right_p.tolist())}) == 8
  np.testing.assert_array_equal(drawn.left_p, draw_pairs(label_n, seed=1).left_p)
  assert any((drawn.left_p != draw_pairs(label_n, seed=other).left_p).any() for other in range(2, 6))
  assert len(draw_pairs(np.repeat(np.arange(300), 20)).same_p) == 20_000


@pytest.mark.parametrize("target, message", [
  (None, "chi-square learns from pairs: give labels of identities"),
  (np.arange(120), "120 rows of 120 identities, 0 of them with two rows or more"),
  (np.repeat([0, 1], [119, 1]), "120 rows of 2 identities, 1 of them with two rows or more"),
  (np.zeros(120, int), "120 rows of 1 identities"),
  (np.arange(5), "5 training labels: there must be 120"),
  (RowPairs(np.array([0, 1]), np.array([2, 3]), np.array([True, True])), "2 pairs of one kind"),
  (RowPairs(np.array([0, 1]), np.array([2, 120]), np.array([True, False])), "row 120: there are 120 embeddings"),
])
def test_pairs_that_cannot_be_learnt_from_are_named(target, message):
  with pytest.raises(ValueError, match=message):
    ChiSquare.fit(people()[0], target)


def test_two_identities_suffice():
  row_nd, label_n = people(identities=2, each=3)
  assert ChiSquare.fit(row_nd, label_n).linear.weight_k.shape == (8,)


def test_what_cannot_be_compared_or_fitted_is_named():
  row_nd, label_n = people()
  negative_nd, nan_nd = row_nd.copy(), row_nd.copy()
  negative_nd[5, 2], nan_nd[7, 1] = -0.25, np.nan
  with pytest.raises(ValueError, match=r"embedding 5: feature 2 is -0\.25: χ² compares features that are not negative"):
    ChiSquare.fit(negative_nd, label_n)
  with pytest.raises(ValueError, match="embedding 7 is not finite"):
    ChiSquare.fit(nan_nd, label_n)
  verifier = ChiSquare.fit(row_nd, label_n)
  with pytest.raises(ValueError, match="right embedding 5: feature 2"):
    verifier.score(row_nd, negative_nd)
  with pytest.raises(ValueError, match="left embedding 5: feature 2"):
    verifier.score_matrix(negative_nd, row_nd)
  with pytest.raises(ValueError, match="have the same features: there is nothing to learn from"):
    ChiSquare.fit(np.ones_like(row_nd), label_n)
  with pytest.raises(ValueError, match="the penalty is 0: it must be a positive number"):
    ChiSquare.fit(row_nd, label_n, penalty=0)
  with pytest.raises(ValueError, match="weights = 'other' is unknown"):
    ChiSquare.fit(row_nd, label_n, weights="other")
  with pytest.raises(ValueError, match="even numbers from 2 to 360"):
    ChiSquare.fit(row_nd, label_n, pairs=400)
  with pytest.raises(ValueError, match="pairs=10 is the number to draw from labels"):
    ChiSquare.fit(row_nd, draw_pairs(label_n), pairs=10)


def test_without_scikit_learn_a_message_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn.svm", None)
  with pytest.raises(ModuleNotFoundError, match=r"need scikit-learn: pip install 'jaxface\[verifiers\]'"):
    fit_svm(np.eye(4), np.array([True, False, True, False]), penalty=0.1)


def test_a_fitted_verifier_scores_without_scikit_learn(tmp_path):
  row_nd, label_n = people()
  write_verifier(tmp_path / "a.npz", ChiSquare.fit(row_nd, label_n))
  code = (
    "import sys; sys.modules['sklearn'] = None; from jaxface.verifiers import read_verifier; import numpy as np\n"
    f"print(read_verifier({str(tmp_path / 'a.npz')!r}).score(np.ones((1, 8)), np.ones((1, 8))))"
  )
  subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
