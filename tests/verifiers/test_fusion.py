"""Fusion: against scikit-learn, normalisation by a cohort against a loop, groups of features, and one file."""

from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from jaxface.evaluation import auc, roc
from jaxface.formats.errors import DamagedData
from jaxface.verifiers import (
  L2,
  Cosine,
  Fusion,
  FusionPart,
  InnerProduct,
  JointBayesian,
  RowPairs,
  draw_pairs,
  read_verifier,
  write_verifier,
)

NORMS = ("none", "z", "t", "s")


def people(seed=0, identities=40, each=3, size=8):
  random = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(identities), each)
  return random.normal(size=(identities, size))[label_n] + random.normal(0, 0.8, (len(label_n), size)), label_n


def halves(kind=L2, seed=9, **options):
  """A verifier of each half of an embedding, fitted on other people."""
  row_nd, label_n = people(seed)
  return [FusionPart(kind.fit(row_nd[:, part], label_n, **options), np.arange(8)[part]) for part in (slice(0, 4), slice(4, 8))]


@cache
def fitted(norm="none", method="logistic"):
  row_nd, label_n = people()
  return Fusion.fit(row_nd, label_n, parts=[*halves(), Cosine.fit(row_nd)], norm=norm, method=method, cohort=10)


@pytest.mark.parametrize("method", ["logistic", "svm"])
def test_weights_equal_scikit_learns_on_the_scores(method):
  row_nd, label_n = people()
  drawn, parts = draw_pairs(label_n, seed=4), [*halves(), Cosine.fit(row_nd)]
  found = Fusion.fit(row_nd, drawn, parts=parts, method=method, penalty=0.1)
  a_pd, b_pd = row_nd[drawn.left_p], row_nd[drawn.right_p]
  score_ps = np.column_stack([
    -np.linalg.norm(a_pd[:, :4] - b_pd[:, :4], axis=1), -np.linalg.norm(a_pd[:, 4:] - b_pd[:, 4:], axis=1), parts[2].score(a_pd, b_pd),
  ])
  mean_s, scale_s = score_ps.mean(0), score_ps.std(0)
  strength = 1 / (0.1 * len(drawn.same_p))
  theirs = LogisticRegression(C=strength, tol=1e-10) if method == "logistic" else LinearSVC(C=strength, dual=False, tol=1e-9)
  theirs.fit((score_ps - mean_s) / scale_s, drawn.same_p)
  np.testing.assert_allclose(found.linear.weight_k, theirs.coef_[0] / scale_s, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(found.score(a_pd, b_pd), theirs.decision_function((score_ps - mean_s) / scale_s), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_normalised_scores_equal_a_loop_over_the_cohort(norm):
  verifier, (row_nd, _) = fitted(norm), people(1)
  for a_d, b_d in zip(row_nd[:4], row_nd[4:8]):
    total = verifier.linear.bias
    for one, weight in zip(verifier.parts, verifier.linear.weight_k):
      score = lambda left_d, right_d, one=one: one.verifier.score(one.of(left_d[None]), one.of(right_d[None]))[0]  # noqa: E731
      normal = []
      for side in {"none": [], "z": ["left"], "t": ["right"], "s": ["left", "right"]}[norm]:
        cohort = [score(a_d, c_d) if side == "left" else score(c_d, b_d) for c_d in verifier.cohort_cd]
        mean = sum(cohort) / len(cohort)
        normal.append((score(a_d, b_d) - mean) / (sum((one - mean) ** 2 for one in cohort) / len(cohort)) ** 0.5)
      total += weight * (sum(normal) / len(normal) if normal else score(a_d, b_d))
    assert verifier.score(a_d[None], b_d[None])[0] == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_a_matrix_has_the_scores_of_its_pairs_and_two_norms_are_symmetric(norm):
  verifier, (row_nd, _) = fitted(norm), people(1)
  score_nm = verifier.score_matrix(row_nd[:4], row_nd[4:7])
  for row in range(4):
    np.testing.assert_allclose(score_nm[row], verifier.score(np.tile(row_nd[row], (3, 1)), row_nd[4:7]), rtol=1e-9)
  away = np.abs(verifier.score(row_nd[:9], row_nd[9:18]) - verifier.score(row_nd[9:18], row_nd[:9])).max()
  assert away < 1e-9 if norm in ("none", "s") else away > 1e-3
  assert verifier.score_matrix(row_nd[:0], row_nd[:3]).shape == (0, 3) and verifier.score(row_nd[:0], row_nd[:0]).shape == (0,)


def test_norms_do_not_depend_on_the_scale_of_a_verifiers_scores():
  row_nd, label_n = people()
  options = {"norm": "s", "cohort": 10, "penalty": 0.01}
  found = Fusion.fit(row_nd, label_n, parts=[InnerProduct.fit(row_nd)], **options)
  tripled = Fusion.fit(3 * row_nd, label_n, parts=[InnerProduct.fit(row_nd)], **options)
  np.testing.assert_allclose(found.score(row_nd[:9], row_nd[9:18]), tripled.score(3 * row_nd[:9], 3 * row_nd[9:18]), rtol=1e-6)


def test_two_groups_of_joint_bayesian_together_beat_each():
  parts = halves(JointBayesian, unit=False)
  row_nd, label_n = people(2, 80)
  found = Fusion.fit(*people(), parts=parts)
  held = draw_pairs(label_n)
  left_pd, right_pd = row_nd[held.left_p], row_nd[held.right_p]
  alone = [auc(roc(one.verifier.score(one.of(left_pd), one.of(right_pd)), held.same_p)) for one in parts]
  assert auc(roc(found.score(left_pd, right_pd), held.same_p)) > max(alone) + 0.03


@pytest.mark.parametrize("target", ["labels", "pairs"])
def test_the_cohort_is_of_people_or_rows_in_no_pair(target, monkeypatch):
  row_nd, label_n = people()
  seen = []
  score = L2.score
  monkeypatch.setattr(L2, "score", lambda self, left_pd, right_pd: seen.append((left_pd, right_pd)) or score(self, left_pd, right_pd))
  given = label_n if target == "labels" else draw_pairs(label_n[:60])
  found = Fusion.fit(row_nd, given, parts=[L2.fit(row_nd)], norm="t", cohort=10)
  row_of = {row_d.tobytes(): row for row, row_d in enumerate(row_nd)}
  cohort = [row_of[row_d.tobytes()] for row_d in found.cohort_cd]
  paired = {row_of[row_d.tobytes()] for row_d in np.concatenate(seen[0])}
  assert len(set(cohort)) == 10 and not paired & set(cohort)
  if target == "labels":
    assert len(set(label_n[cohort])) == 10 and not set(label_n[sorted(paired)]) & set(label_n[cohort])


@pytest.mark.parametrize("norm, method", [("none", "svm"), ("s", "logistic")])
def test_one_file_has_all_and_gives_the_same_scores(norm, method, through_a_file, tmp_path):
  row_nd, _ = people(1)
  again = through_a_file(fitted(norm, method), row_nd[:9], row_nd[9:18])
  assert again.name == "fusion of l2 + l2 + cosine" + (", s-norm" if norm == "s" else "")
  with np.load(tmp_path / "a.npz") as archive:
    array = dict(archive)
  for parts in ({"weight": np.ones(2)}, {"part1_columns": np.array([0.0, 1.0, 2.0, 8.0])}, {"cohort": np.zeros((3, 7))}):
    np.savez(tmp_path / "bad.npz", **{**array, **parts})
    with pytest.raises(DamagedData):
      read_verifier(tmp_path / "bad.npz")


def test_verifiers_can_be_files_and_fusions(tmp_path):
  row_nd, label_n = people()
  write_verifier(tmp_path / "l2.npz", L2.fit(row_nd))
  found = Fusion.fit(row_nd, label_n, parts=[str(tmp_path / "l2.npz"), fitted()])
  write_verifier(tmp_path / "a.npz", found)
  np.testing.assert_array_equal(read_verifier(tmp_path / "a.npz").score(row_nd[:9], row_nd[9:18]), found.score(row_nd[:9], row_nd[9:18]))


def test_what_cannot_be_fitted_is_named():
  row_nd, label_n = people()
  nan_nd = row_nd.copy()
  nan_nd[3, 1] = np.nan
  parts = [L2.fit(row_nd)]
  for embedding_nd, target, options, message in [
    (row_nd, label_n, {"parts": []}, "no verifiers to fuse"),
    (row_nd, None, {}, "fusion learns from pairs: give labels"),
    (row_nd, None, {"norm": "t"}, "fusion learns from pairs: give labels"),
    (nan_nd, label_n, {}, "embedding 3 is not finite"),
    (np.ones_like(row_nd), label_n, {}, "have the same features: there is nothing to learn from"),
    (np.ones_like(row_nd), label_n, {"norm": "t", "cohort": 10}, "the scores of right embedding 0 with the cohort by l2 are all equal"),
    (row_nd, np.arange(120), {}, "0 of them with two rows or more"),
    (row_nd, RowPairs(np.array([0]), np.array([1]), np.array([True])), {}, "1 pairs of one kind"),
    (row_nd, label_n, {"norm": "z", "cohort": 39}, "a cohort of 39: it takes from 2 to 38 of these 40 people"),
    (row_nd, draw_pairs(label_n), {"norm": "z"}, "a cohort of 100: [0-9]+ embeddings are in no pair"),
    (row_nd, label_n, {"parts": [L2.fit(row_nd[:, :4])]}, r"verifier 0 \(l2\) compares 4 numbers, 8 were given"),
    (row_nd, label_n, {"parts": [FusionPart(parts[0], np.array([8] * 8))]}, "its columns must be indices"),
    (row_nd, label_n, {"method": "vote"}, "method = 'vote' is unknown"),
    (row_nd, label_n, {"norm": "x"}, "norm = 'x' is unknown"),
  ]:
    with pytest.raises(ValueError, match=message):
      Fusion.fit(embedding_nd, target, **{"parts": parts, **options})
