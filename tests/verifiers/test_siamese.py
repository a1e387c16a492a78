"""The Siamese verifier: finite differences, scikit-learn's logistic regression, planted weights, and a network trained with its term."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from jaxface.evaluation import auc, roc
from jaxface.losses import PairLoss, SiameseLogistic
from jaxface.verifiers import RowPairs, Siamese, draw_pairs
from jaxface.verifiers.linear import fit_logistic, logistic_loss

seeds = st.integers(0, 2**32 - 1)


def people(seed=0, identities=30, each=4, size=6):
  """Embeddings [N, D] of which the first half tells identities apart, and labels [N]."""
  random = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(identities), each)
  center_id = random.normal(size=(identities, size))
  center_id[:, size // 2 :] = 0
  return center_id[label_n] + random.normal(0, 0.5, (len(label_n), size)), label_n


def slow_loss(weight_k, bias, feature_pk, same_p, penalty):
  """Cross-entropy from probabilities, pair by pair."""
  total = 0.0
  for feature_k, same in zip(feature_pk, same_p):
    probability = 1 / (1 + np.exp(-(sum(w * f for w, f in zip(weight_k, feature_k)) + bias)))
    total -= np.log(probability if same else 1 - probability)
  return total / len(same_p) + 0.5 * penalty * sum(w * w for w in weight_k)


@settings(max_examples=8)
@given(seed=seeds)
def test_the_loss_is_that_of_a_loop_and_its_slope_that_of_finite_differences(seed):
  random = np.random.default_rng(seed)
  feature_pk, same_p, point = np.abs(random.normal(size=(12, 3))), random.random(12) < 0.5, random.normal(size=4)
  with jax.enable_x64(True):
    found, slope_k = jax.jit(jax.value_and_grad(logistic_loss))(point, feature_pk, same_p, 0.2)
  at = lambda point: slow_loss(point[:3], point[3], feature_pk, same_p, 0.2)  # noqa: E731
  assert float(found) == pytest.approx(at(point), rel=1e-10)
  step = 1e-6 * np.eye(4)
  differences = [(at(point + one) - at(point - one)) / 2e-6 for one in step]
  np.testing.assert_allclose(slope_k, differences, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_weights_equal_those_of_scikit_learns_logistic_regression(penalty):
  row_nd, label_n = people()
  drawn = draw_pairs(label_n, seed=2)
  found = Siamese.fit(row_nd, drawn, unit=False, penalty=penalty)
  feature_pk = np.abs(row_nd[drawn.left_p] - row_nd[drawn.right_p])
  scale_k = feature_pk.std(0)
  theirs = LogisticRegression(C=1 / (penalty * len(drawn.same_p)), tol=1e-10, max_iter=10_000).fit(feature_pk / scale_k, drawn.same_p)
  np.testing.assert_allclose(found.alpha_k, -theirs.coef_[0] / scale_k, rtol=1e-4, atol=1e-5)
  assert found.bias == pytest.approx(theirs.intercept_[0], rel=1e-4)
  np.testing.assert_allclose(found.score(row_nd[drawn.left_p], row_nd[drawn.right_p]), theirs.decision_function(feature_pk / scale_k), atol=1e-4)


def test_planted_weights_are_recovered():
  random = np.random.default_rng(0)
  alpha_k, bias = np.array([2.0, 0.0, -1.0, 0.5]), 1.0
  feature_pk = np.abs(random.normal(size=(40_000, 4)))
  same_p = random.random(40_000) < 1 / (1 + np.exp(feature_pk @ alpha_k - bias))
  found = fit_logistic(feature_pk, same_p, penalty=1e-9)
  # Standard errors from the information matrix.
  probability_p = 1 / (1 + np.exp(-found(feature_pk)))
  with_one = np.column_stack([feature_pk, np.ones(len(same_p))])
  error_k = np.sqrt(np.diag(np.linalg.inv(with_one.T * (probability_p * (1 - probability_p)) @ with_one)))
  assert (np.abs(np.append(found.weight_k, found.bias) - np.append(-alpha_k, bias)) < 4 * error_k).all()
  assert error_k.max() < 0.05


@cache
def fitted(unit, components):
  return Siamese.fit(*people(), unit=unit, components=components)


@given(seed=seeds, unit=st.booleans(), components=st.sampled_from([None, 4]))
def test_scores_are_symmetric_and_a_matrix_has_those_of_its_pairs(seed, unit, components):
  verifier = fitted(unit, components)
  left_nd, right_nd = people(seed, 4, 1)[0], people(seed + 1, 3, 1)[0]
  score_nm = verifier.score_matrix(left_nd, right_nd)
  for row in range(4):
    pair_m = verifier.score(np.tile(left_nd[row], (3, 1)), right_nd)
    np.testing.assert_allclose(score_nm[row], pair_m, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(pair_m, verifier.score(right_nd, np.tile(left_nd[row], (3, 1))))
  np.testing.assert_allclose(np.diag(verifier.score_matrix(left_nd, left_nd)), verifier.bias)


def test_features_that_tell_people_apart_get_the_weight():
  apart_d = np.array([1, 1, 1, 3, 3, 3])
  row_nd, label_n = people()
  row_nd = row_nd * apart_d
  verifier = Siamese.fit(row_nd, label_n, unit=False, penalty=0.01)
  assert verifier.alpha_k[:3].min() > 3 * np.abs(verifier.alpha_k[3:]).max()
  test_nd, test_n = people(1)
  test_nd = test_nd * apart_d
  held = draw_pairs(test_n)
  score_p, plain_p = verifier.score(test_nd[held.left_p], test_nd[held.right_p]), -np.abs(test_nd[held.left_p] - test_nd[held.right_p]).sum(1)
  assert auc(roc(score_p, held.same_p)) > auc(roc(plain_p, held.same_p)) + 0.05


def test_two_copies_of_a_network_are_trained_by_the_term_and_scored_by_it():
  """Pixels in which people differ only in a hidden mixture: a frozen random network cannot weight it, the trained one can."""
  random = np.random.default_rng(0)
  label_n = np.repeat(np.arange(40), 4)
  hidden_nd = random.normal(size=(40, 2))[label_n] + 0.2 * random.normal(size=(160, 2))
  image_nd = (np.concatenate([hidden_nd, 2 * random.normal(size=(160, 8))], 1) @ np.linalg.qr(random.normal(size=(10, 10)))[0]).astype(np.float32)
  form = SiameseLogistic(unit=False)
  term = PairLoss(form)
  net = {"matrix": jnp.asarray(random.normal(0, 0.3, (10, 6)), jnp.float32)}
  params = {"net": net, "term": term.init(jax.random.key(0), 6, 40)[0]}
  train, held = label_n < 30, label_n >= 30
  batch = {"label_b": jnp.asarray(label_n[train]), "weight_b": jnp.ones(int(train.sum()))}
  method = optax.adam(0.02)

  def embed(net, image_nd):
    return jnp.tanh(image_nd @ net["matrix"])

  def loss(params):
    loss_b, *_ = term(params["term"], {"embedding_bd": embed(params["net"], image_nd[train]), **batch}, state={}, step=0, key=None)
    return loss_b.mean()

  @jax.jit
  def step(params, state):
    value, slope = jax.value_and_grad(loss)(params)
    update, state = method.update(slope, state, params)
    return optax.apply_updates(params, update), state, value

  def figure(verifier, net):
    row_nd = np.asarray(embed(net, image_nd[held]))
    pairs = draw_pairs(label_n[held])
    return auc(roc(verifier.score(row_nd[pairs.left_p], row_nd[pairs.right_p]), pairs.same_p))

  frozen = Siamese.fit(np.asarray(embed(net, image_nd[train])), label_n[train], unit=False)
  before, state, losses = figure(frozen, net), method.init(params), []
  for _ in range(300):
    params, state, value = step(params, state)
    losses.append(float(value))
  assert losses[-1] < 0.6 * losses[0]
  tuned = Siamese.of_term(params["term"], unit=False)
  assert figure(tuned, params["net"]) > before + 0.1
  # The verifier's score is the logit of the term.
  row_nd = np.asarray(embed(params["net"], image_nd[:6]))
  same_bb = jnp.asarray(label_n[:6, None] == label_n[None, :6], jnp.float32)
  cost_bb, _ = form(params["term"], row_nd, same_bb, 1 - same_bb)
  score_bb = tuned.score_matrix(row_nd, row_nd)
  np.testing.assert_allclose(np.logaddexp(0, np.where(same_bb > 0, -score_bb, score_bb)), cost_bb, rtol=1e-4, atol=1e-5)
  # On the trained network, frozen, the convex fit is as good.
  assert figure(Siamese.fit(np.asarray(embed(params["net"], image_nd[train])), label_n[train], unit=False), params["net"]) > before + 0.1


@pytest.mark.parametrize("options", [{}, {"components": 3, "whiten": True}])
def test_a_file_gives_the_same_scores(options, through_a_file):
  row_nd, label_n = people()
  through_a_file(Siamese.fit(row_nd, label_n, **options), row_nd[:9], row_nd[9:18])


def test_pairs_that_can_be_separated_have_a_solution_and_constant_features_no_weight():
  separated_pk, same_p = np.array([[0.0, 3.0], [0.1, 3.0], [5.0, 3.0], [6.0, 3.0]]), np.array([True, True, False, False])
  found = fit_logistic(separated_pk, same_p, penalty=1e-3)
  assert ((found(separated_pk) > 0) == same_p).all() and found.weight_k[1] == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_fitted_is_named():
  row_nd, label_n = people()
  nan_nd = row_nd.copy()
  nan_nd[3, 1] = np.nan
  for embedding_nd, target, options, message in [
    (row_nd, None, {}, "siamese learns from pairs: give labels"),
    (nan_nd, label_n, {}, "embedding 3 is zero or not finite"),
    (np.ones_like(row_nd), label_n, {}, "have the same features: there is nothing to learn from"),
    (row_nd, np.arange(120), {}, "0 of them with two rows or more"),
    (row_nd, RowPairs(np.array([0]), np.array([1]), np.array([False])), {}, "1 pairs of one kind"),
    (row_nd, label_n, {"penalty": -1.0}, "the penalty is -1.0"),
  ]:
    with pytest.raises(ValueError, match=message):
      Siamese.fit(embedding_nd, target, **options)
  with pytest.raises(ValueError, match="did not converge in 2 iterations"):
    fit_logistic(row_nd, label_n < 15, penalty=1e-6, iterations=2)
  with pytest.raises(ValueError, match=r"those of SiameseLogistic are bias and weight_d"):
    Siamese.of_term({"scale": 1.0})


def test_two_identities_with_two_images_each_suffice():
  row_nd, _ = people(identities=2, each=2)
  assert np.isfinite(Siamese.fit(row_nd, np.array(["a", "a", "b", "b"])).alpha_k).all()
