"""Joint Bayesian: EM against one that forms every covariance, the ratio against densities, and planted covariances."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from jaxface.evaluation import auc, roc
from jaxface.formats.images import decode_image
from jaxface.verifiers import L2, Cosine, JointBayesian, RowPairs, read_verifier, write_verifier
from jaxface.verifiers.joint_bayesian_em import run_em, statistics

seeds = st.integers(0, 2**32 - 1)


def covariance(random, size, scale):
  mixed = random.normal(size=(size, 2 * size))
  return scale * mixed @ mixed.T / (2 * size)


def people(seed=0, size=3, counts=(1, 2, 2, 5, 3, 1, 4, 2)):
  """Images [N, D], identities [N] in mixed order, and the covariances that made them."""
  random = np.random.default_rng(seed)
  between_dd, within_dd = covariance(random, size, 1.5), covariance(random, size, 0.7)
  identity_n = np.repeat(np.arange(len(counts)), counts)
  mean_id = random.multivariate_normal(np.zeros(size), between_dd, len(counts))
  row_nd = mean_id[identity_n] + random.multivariate_normal(np.zeros(size), within_dd, len(identity_n))
  order = random.permutation(len(identity_n))
  return row_nd[order], identity_n[order], between_dd, within_dd


def slow_step(row_nd, identity_n, between_dd, within_dd, update):
  """An iteration by the definition: the joint Gaussian of all hidden variables and images of an identity, one identity at a time."""
  size = row_nd.shape[1]
  hidden, noise, likelihood = [], [], 0.0
  more_between_dd, more_within_dd = np.zeros((size, size)), np.zeros((size, size))
  for identity in range(identity_n.max() + 1):
    x = row_nd[identity_n == identity].reshape(-1)
    count = len(x) // size
    prior = np.kron(np.diag([1.0] + [0.0] * count), between_dd) + np.kron(np.diag([0.0] + [1.0] * count), within_dd)
    way = np.hstack([np.kron(np.ones((count, 1)), np.eye(size)), np.eye(count * size)])
    total = way @ prior @ way.T
    likelihood += multivariate_normal(np.zeros(len(x)), total).logpdf(x)
    expected = prior @ way.T @ np.linalg.inv(total) @ x
    left = prior - prior @ way.T @ np.linalg.inv(total) @ way @ prior
    hidden.append(expected[:size])
    noise += list(expected[size:].reshape(count, size))
    if update == "exact":
      more_between_dd += left[:size, :size]
      for image in range(1, count + 1):
        more_within_dd += left[image * size : (image + 1) * size, image * size : (image + 1) * size]
  hidden, noise = np.array(hidden), np.array(noise)
  return (hidden.T @ hidden + more_between_dd) / len(hidden), (noise.T @ noise + more_within_dd) / len(noise), likelihood / len(noise)


@pytest.mark.parametrize("update", ["exact", "published"])
@pytest.mark.parametrize("block", [4096, 3])
def test_em_equals_one_that_forms_every_covariance(update, block, monkeypatch):
  monkeypatch.setattr("jaxface.verifiers.joint_bayesian_em.BLOCK", block)
  row_nd, identity_n, *_ = people()
  given_ = statistics(row_nd, identity_n)
  between_dd, within_dd = given_.mean_id.T @ given_.mean_id / 8, given_.within_dd / (len(row_nd) - 8)
  found = run_em(given_, update=update, iterations=4, tolerance=0)
  for step in found[2]:
    between_dd, within_dd, likelihood = slow_step(row_nd, identity_n, between_dd, within_dd, update)
    assert step.log_likelihood == pytest.approx(likelihood, rel=1e-10)
  np.testing.assert_allclose(found[0], between_dd, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(found[1], within_dd, rtol=1e-9, atol=1e-12)


@settings(max_examples=8)
@given(seed=seeds, counts=st.lists(st.integers(1, 5), min_size=4, max_size=9).filter(lambda counts: sum(counts) - len(counts) >= 4))
def test_the_likelihood_never_decreases(seed, counts):
  row_nd, identity_n, *_ = people(seed, 2, tuple(counts))
  likelihood = [step.log_likelihood for step in run_em(statistics(row_nd, identity_n), iterations=15, tolerance=0)[2]]
  assert (np.diff(likelihood) >= -1e-10 * np.abs(likelihood[1:])).all()


def test_planted_covariances_are_recovered():
  row_nd, identity_n, between_dd, within_dd = people(3, 3, (1, 2, 3, 4, 6) * 800)
  given_ = statistics(row_nd, identity_n)
  away = lambda found, true: np.linalg.norm(found - true) / np.linalg.norm(true)  # noqa: E731
  exact = run_em(given_, tolerance=1e-7, iterations=500)
  assert away(exact[0], between_dd) < 0.05 and away(exact[1], within_dd) < 0.03  # 4,000 people: a standard error of about 0.03


def test_equal_numbers_of_images_give_the_estimates_of_the_analysis_of_variance():
  row_nd, identity_n, *_ = people(1, 2, (3,) * 400)
  given_ = statistics(row_nd, identity_n)
  between_dd, within_dd, _ = run_em(given_, tolerance=1e-12, iterations=2000)
  np.testing.assert_allclose(within_dd, given_.within_dd / 800, rtol=1e-7)
  np.testing.assert_allclose(between_dd, given_.mean_id.T @ given_.mean_id / 400 - given_.within_dd / 2400, rtol=1e-6)


@pytest.mark.parametrize("ratio, ends", [(0.3, "positive"), (0.55, "positive"), (0.58, "zero")])
def test_the_published_update_ends_where_its_equations_say(ratio, ends):
  # Three images of everybody, one dimension, B the variance of the means, w = scatter within / (N B): s = B / (1 + r)² and
  # e = B (w + r² / (1 + r)²) with r = e / 3 s give (w + 1) r² + (2 w - 3) r + w = 0. Beyond w = 9/16 it has no root: s vanishes.
  apart = np.sqrt(ratio * 3 / 2)
  row_nd = np.array([[sign + shift] for sign in (1.0, -1.0) for shift in (-apart, 0.0, apart)])
  between, within, history = run_em(statistics(row_nd, np.repeat([0, 1], 3)), update="published", tolerance=1e-13, iterations=5000)
  if ends == "zero":
    assert between.item() < 1e-12 and within.item() == pytest.approx(ratio + 1)
    return
  r = (3 - 2 * ratio - np.sqrt(9 - 16 * ratio)) / (2 * (ratio + 1))
  assert between.item() == pytest.approx(1 / (1 + r) ** 2, rel=1e-6)
  assert within.item() == pytest.approx(ratio + (r / (1 + r)) ** 2, rel=1e-6)
  assert history[-1].log_likelihood < history[0].log_likelihood
  assert between.item() < 1 - ratio / 2  # the maximum of the likelihood


def test_covariances_that_vanish_are_an_error():
  row_nd, identity_n, *_ = people(0, 2, (2,) * 40)
  noise_nd = np.random.default_rng(0).normal(size=row_nd.shape)
  with pytest.raises(ValueError, match="the covariance between people vanished"):
    JointBayesian.fit(noise_nd, identity_n, unit=False, update="published", iterations=1000)


def test_a_step_by_hand_in_one_dimension():
  # Two people with two images each: means 2 and -2, images one away from them. S_μ = 4 and S_ε = 4 / 2 to begin with:
  # E[μ] = 2 · 4 / (2 · 4 + 2) · ±2 = ±1.6, covariance 4 · 2 / 10 = 0.8, ε = ±1 ± 0.4.
  given_ = statistics(np.array([[1.0], [3.0], [-1.0], [-3.0]]), np.array([0, 0, 1, 1]))
  between, within, _ = run_em(given_, update="published", iterations=1)
  assert between.item() == pytest.approx(2.56) and within.item() == pytest.approx((1.4**2 + 0.6**2) / 2)
  between, within, _ = run_em(given_, update="exact", iterations=1)
  assert between.item() == pytest.approx(2.56 + 0.8) and within.item() == pytest.approx((1.4**2 + 0.6**2) / 2 + 0.8)


def fitted(seed=0, size=4, **options):
  row_nd, identity_n, *_ = people(seed, size, (1, 2, 3, 4) * 6)
  return JointBayesian.fit(row_nd, identity_n, unit=False, **options), row_nd


def densities(verifier, a_k, b_k):
  """The ratio by densities of both embeddings together, and of each."""
  total_kk, both = verifier.between_kk + verifier.within_kk, np.concatenate([a_k, b_k]) - np.tile(verifier.mean_k, 2)
  joint = np.block([[total_kk, verifier.between_kk], [verifier.between_kk, total_kk]])
  alone = multivariate_normal(verifier.mean_k, total_kk)
  return multivariate_normal(np.zeros(len(both)), joint).logpdf(both) - alone.logpdf(a_k) - alone.logpdf(b_k)


@settings(max_examples=8)
@given(seed=seeds)
def test_the_score_is_the_log_ratio_of_densities_and_that_of_the_paper(seed):
  verifier, row_nd = fitted(seed)
  a_pd, b_pd = row_nd[:6], row_nd[6:12]
  score_p = verifier.score(a_pd, b_pd)
  np.testing.assert_allclose(score_p, [densities(verifier, a, b) for a, b in zip(a_pd, b_pd)], rtol=1e-8, atol=1e-9)
  a_kk, g_kk = verifier.ratio_matrices()
  a, b = a_pd - verifier.mean_k, b_pd - verifier.mean_k
  form = lambda x, m, y: np.einsum("pk,kl,pl->p", x, m, y)  # noqa: E731
  ratio_p = form(a, a_kk, a) + form(b, a_kk, b) - 2 * form(a, g_kk, b)
  np.testing.assert_allclose(np.ptp(score_p - ratio_p / 2), 0, atol=1e-8)
  np.testing.assert_array_equal(score_p, verifier.score(b_pd, a_pd))
  np.testing.assert_allclose(np.diag(verifier.score_matrix(a_pd, b_pd)), score_p, rtol=1e-9, atol=1e-9)


@settings(max_examples=8)
@given(seed=seeds)
def test_scores_do_not_depend_on_the_coordinates_or_the_order_of_images_and_labels(seed):
  row_nd, identity_n, *_ = people(seed, 3, (1, 2, 3, 4) * 4)
  random = np.random.default_rng(seed)
  options = {"unit": False, "iterations": 6, "tolerance": 0.0}
  score_p = JointBayesian.fit(row_nd, identity_n, **options).score(row_nd[:5], row_nd[5:10])
  turned_dd = random.normal(size=(3, 3)) + 3 * np.eye(3)
  moved_nd = row_nd @ turned_dd + 7
  found_p = JointBayesian.fit(moved_nd, identity_n, **options).score(moved_nd[:5], moved_nd[5:10])
  np.testing.assert_allclose(found_p, score_p, rtol=1e-5, atol=1e-6)
  order, names = random.permutation(len(row_nd)), random.permutation(16)
  again = JointBayesian.fit(row_nd[order], np.array([f"n{names[one]}" for one in identity_n[order]]), **options)
  np.testing.assert_allclose(again.score(row_nd[:5], row_nd[5:10]), score_p, rtol=1e-7, atol=1e-8)
  whitened = JointBayesian.fit(row_nd, identity_n, components=3, whiten=True, **options)
  np.testing.assert_allclose(whitened.score(row_nd[:5], row_nd[5:10]), score_p, rtol=1e-5, atol=1e-6)


def test_convergence_is_said_and_a_file_gives_the_same_scores(tmp_path):
  lines = []
  verifier, row_nd = fitted(components=3, say=lines.append)
  assert lines[0].startswith("EM 1: log-likelihood ") and len(lines) == len(verifier.likelihood_t)
  short = []
  fitted(iterations=2, say=short.append)
  assert short[-1] == "EM ended after 2 iterations before it converged (tolerance 0.0001)"
  write_verifier(tmp_path / "jb.npz", verifier)
  again = read_verifier(tmp_path / "jb.npz")
  assert again.name == "joint-bayesian, 3 components"
  np.testing.assert_array_equal(again.score(row_nd[:9], row_nd[9:18]), verifier.score(row_nd[:9], row_nd[9:18]))
  np.testing.assert_array_equal(again.likelihood_t, verifier.likelihood_t)


def test_what_cannot_be_fitted_is_named():
  row_nd, identity_n, *_ = people(0, 4)
  for target, message in [
    (None, "Joint Bayesian learns from identities, nothing was given"),
    (RowPairs(identity_n, identity_n, identity_n > 0), "identities, pairs was given"),
    (identity_n[:-1], "19 training labels: there must be 20"),
    (np.arange(20), "20 images of 20 people leave 0 differences within people: embeddings of 4 numbers need at least as many"),
  ]:
    with pytest.raises(ValueError, match=message):
      JointBayesian.fit(row_nd, target, unit=False)
  twice_nd = np.concatenate([row_nd, row_nd[:, :1]], 1)
  with pytest.raises(ValueError, match="do not vary along all 5 numbers"):
    JointBayesian.fit(twice_nd, identity_n, unit=False)
  with pytest.raises(ValueError, match="update = 'other' is unknown: choose one of published, exact"):
    JointBayesian.fit(row_nd, identity_n, unit=False, update="other")
  with pytest.raises(ValueError, match="0 iterations"):
    JointBayesian.fit(row_nd, identity_n, unit=False, iterations=0)


@pytest.mark.real_data
def test_on_grey_pixels_it_beats_the_plain_scores_for_people_it_never_saw(face_data):
  folders = sorted((face_data / "orl_faces").glob("s*"), key=lambda folder: int(folder.name[1:]))
  pixel_nd = np.array([decode_image(file.read_bytes(), where=file.name)[::8, ::8, 0].reshape(-1) for folder in folders for file in sorted(folder.glob("*.pgm"))])
  person_n = np.repeat(np.arange(len(folders)), 10)
  train_n = person_n < 28
  left_p, right_p = np.array(list(itertools.combinations(np.flatnonzero(~train_n), 2))).T
  same_p = person_n[left_p] == person_n[right_p]
  figure = {}
  for kind, options in ((L2, {}), (Cosine, {"components": 40}), (JointBayesian, {"components": 40})):
    verifier = kind.fit(pixel_nd[train_n].astype(np.float64), person_n[train_n], unit=True, **options)
    figure[kind] = auc(roc(verifier.score(pixel_nd[left_p], pixel_nd[right_p]), same_p))
  assert figure[JointBayesian] > max(figure[L2], figure[Cosine]) + 0.01
