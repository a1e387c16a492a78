"""Tallies: blocks merge to the whole, and the loss keeps its digits where the obvious formula loses them."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.losses.tally import Tally, cross_entropy, merge, tally

ROWS, CLASSES = 4, 12
LABEL = jnp.array([0, 5, 11, 7])
OWN = LABEL[:, None] == jnp.arange(CLASSES)


def draw(seed, dropped=0.2):
  rng = np.random.default_rng(seed)
  logit = rng.normal(size=(ROWS, CLASSES)).astype(np.float32) * 20
  logit[rng.random(logit.shape) < dropped] = -np.inf
  return jnp.asarray(logit)


@jax.jit
def whole(logit_bc):
  return tally(logit_bc, logit_bc, OWN)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), cut=st.sampled_from([1, 5, 11]), dropped=st.sampled_from([0.0, 0.3, 1.0]))
def test_blocks_merge_to_the_whole_in_either_order(seed, cut, dropped):
  logit = draw(seed, dropped)
  left, right = (tally(logit[:, part], logit[:, part], OWN[:, part]) for part in (slice(cut), slice(cut, None)))
  for merged in (merge(left, right), merge(right, left)):
    for found, expected in zip(merged, whole(logit), strict=True):
      np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 1000), smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_loss_is_the_definition(seed, smoothing):
  logit = np.array(draw(seed), np.float64)
  target = np.linspace(-3.0, 3.0, ROWS)
  expected = []
  for row in range(ROWS):
    kept = [value for column, value in enumerate(logit[row]) if column != LABEL[row] and value > -np.inf]
    every = np.array([*kept, target[row]])
    lse = np.log(np.sum(np.exp(every - every.max()))) + every.max()
    expected.append(lse - (1 - smoothing) * target[row] - smoothing * every.mean())
  with jax.enable_x64(True):
    loss = cross_entropy(whole(jnp.asarray(logit)), jnp.asarray(target), label_smoothing=smoothing)
    np.testing.assert_allclose(loss, expected, rtol=1e-9, atol=1e-12)


def test_a_sure_row_keeps_its_digits():
  # lse − target in float32 is 0 here; the loss is log(1 + 11·e^-60).
  logit = jnp.full((ROWS, CLASSES), -30.0)
  loss = cross_entropy(whole(logit), jnp.full(ROWS, 30.0))
  np.testing.assert_allclose(loss, np.full(ROWS, 11 * np.exp(-60.0)), rtol=1e-4)


def test_no_other_class_costs_nothing_and_has_a_gradient():
  def loss(logit, target):
    return cross_entropy(tally(logit, logit, OWN), target, label_smoothing=0.1).sum()

  logit = jnp.full((ROWS, CLASSES), -jnp.inf)
  value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(logit, jnp.ones(ROWS))
  assert value == 0.0
  assert all(np.array_equal(g, np.zeros_like(g)) for g in gradients)


def test_broken_logits_show():
  for broken in (jnp.nan, jnp.inf):
    loss = cross_entropy(whole(jnp.zeros((ROWS, CLASSES)).at[0, 3].set(broken)), jnp.zeros(ROWS))
    assert not np.isfinite(loss[0]) and np.isfinite(loss[1:]).all()


def test_own_column_is_left_out():
  logit = draw(1, dropped=0.0)
  spoiled = jnp.where(OWN, 1e6, logit)
  for found, expected in zip(whole(spoiled), whole(logit), strict=True):
    np.testing.assert_array_equal(found, expected)
  assert isinstance(whole(logit), Tally)
