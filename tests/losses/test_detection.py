"""The terms of the trainings of detectors against slow loops, by hand, in `jit`, and their gradients."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.losses import BoxOffsets, FacePoints, FaceScore, PartScores
from jaxface.losses.detection import NEGATIVE, PART, POINTS, POSITIVE, hardest_rows


def slow_terms(output_bd, target_bt, weight_b, hardest):
  """Values of the three terms by loops; weights are 0 or 1."""
  entropy, offset, point = [], [], []
  for output, target, weight in zip(output_bd.astype(np.float64), target_bt.astype(np.float64), weight_b):
    if not weight:
      continue
    kind = int(target[0])
    if kind in (NEGATIVE, POSITIVE):
      scores = np.exp(output[:2] - output[:2].max())
      entropy.append(-math.log(scores[kind] / scores.sum()))
    if kind in (POSITIVE, PART):
      offset.append(sum((a - b) ** 2 for a, b in zip(output[2:6], target[1:5])))
    if kind == POINTS:
      point.append(sum((a - b) ** 2 for a, b in zip(output[6:], target[5:])))
  kept = sorted(entropy, reverse=True)[: math.ceil(round(hardest * len(entropy), 6))]
  return [sum(each) / len(each) if each else 0.0 for each in (kept, offset, point)]


def batch(seed, rows=24):
  draw = np.random.default_rng(seed)
  output_bd, target_bt = draw.normal(size=(rows, 16)).astype(np.float32), draw.normal(size=(rows, 15)).astype(np.float32)
  target_bt[:, 0] = draw.integers(0, 4, rows)
  return output_bd, target_bt, (draw.random(rows) < 0.9).astype(np.float32)


@jax.jit
def terms_of(output_bd, target_bt, weight_b):
  inputs = {"embedding_bd": output_bd, "target_bt": target_bt, "weight_b": weight_b, "label_b": jnp.zeros(len(weight_b), int)}
  return [term({}, inputs, state={}, step=0, key=None)[0].sum() / weight_b.sum() for term in (FaceScore(), BoxOffsets(), FacePoints())]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_the_terms_equal_loops(seed):
  output_bd, target_bt, weight_b = batch(seed)
  weight_b[0] = 1
  expected = slow_terms(output_bd, target_bt, weight_b, 0.7)
  # What rows of weight 0 hold does not matter.
  output_bd[weight_b == 0], target_bt[weight_b == 0] = np.nan, np.nan
  np.testing.assert_allclose(terms_of(output_bd, target_bt, weight_b), expected, rtol=2e-5, atol=1e-6)


def test_the_hardest_rows_by_hand():
  loss_b = jnp.array([5.0, 1, 3, 3, 9, 2])
  own_b = jnp.array([True, True, True, True, False, True])
  for share, kept in ((0.2, [0]), (0.6, [0, 2, 3]), (0.5, [0, 2, 3]), (0.4, [0, 2]), (1.0, [0, 1, 2, 3, 5])):
    assert np.flatnonzero(hardest_rows(loss_b, own_b, share)).tolist() == kept, share
  assert not hardest_rows(loss_b, jnp.zeros(6, bool), 0.7).any()
  assert int(hardest_rows(jnp.arange(10.0), jnp.ones(10, bool), 0.7).sum()) == 7


def test_easy_rows_have_no_gradient_and_padding_none():
  output_bd, target_bt, weight_b = batch(3)
  output_bd[-1], weight_b[-1] = np.nan, 0
  gradient_bd = np.asarray(jax.grad(lambda output: sum(terms_of(output, target_bt, weight_b)))(jnp.asarray(output_bd)))
  assert np.isfinite(gradient_bd).all() and not gradient_bd[weight_b == 0].any()
  scored = (target_bt[:, 0] <= POSITIVE) & (weight_b > 0)
  assert (gradient_bd[:, :2] != 0).any(-1).sum() == math.ceil(0.7 * scored.sum())
  assert not gradient_bd[target_bt[:, 0] == NEGATIVE, 2:].any() and not gradient_bd[target_bt[:, 0] != POINTS, 6:].any()


def test_metrics_and_refusals():
  output_bd = np.zeros((2, 16), np.float32)
  output_bd[:, 1] = 1, 2
  output_bd[0, 2:6] = 0.1
  target_bt = np.zeros((2, 15), np.float32)
  target_bt[:, 0] = POSITIVE, NEGATIVE
  inputs = {"embedding_bd": output_bd, "target_bt": target_bt, "weight_b": np.ones(2, np.float32)}
  assert float(FaceScore()({}, inputs, state={}, step=0, key=None)[2]["accuracy"].value()) == 0.5
  assert float(BoxOffsets()({}, inputs, state={}, step=0, key=None)[2]["distance"].value()) == pytest.approx(0.1)
  assert math.isnan(FacePoints()({}, inputs, state={}, step=0, key=None)[2]["distance"].value())
  with pytest.raises(ValueError, match="FaceScore: the batch has no targets"):
    FaceScore()({}, {"embedding_bd": output_bd, "weight_b": np.ones(2)}, state={}, step=0, key=None)
  alone = {**inputs, "embedding_bd": output_bd[:, :2]}  # of a network that gives scores only
  (loss_b, _, metrics), (all_b, _, _) = (FaceScore()({}, each, state={}, step=0, key=None) for each in (alone, inputs))
  np.testing.assert_array_equal(loss_b, all_b)
  assert float(metrics["accuracy"].value()) == 0.5
  boxes = {**inputs, "embedding_bd": output_bd[:, :6]}  # of one that gives no points
  for term in (FaceScore(), BoxOffsets()):
    np.testing.assert_array_equal(term({}, boxes, state={}, step=0, key=None)[0], term({}, inputs, state={}, step=0, key=None)[0])
  with pytest.raises(ValueError, match="outputs of 5 and targets of 15 numbers: needs 2 or 6 or 16 and 15"):
    FaceScore()({}, {**inputs, "embedding_bd": output_bd[:, :5]}, state={}, step=0, key=None)
  with pytest.raises(ValueError, match="outputs of 2 and targets of 15 numbers: needs 6 or 16 and 15"):
    BoxOffsets()({}, alone, state={}, step=0, key=None)
  with pytest.raises(ValueError, match="hardest"):
    FaceScore(hardest=0)


@jax.jit
def part_terms(logit_bp, target_bt, weight_b):
  inputs = {"embedding_bd": logit_bp, "target_bt": target_bt, "weight_b": weight_b}
  loss_b, _, metrics = PartScores()({}, inputs, state={}, step=0, key=None)
  return loss_b, metrics["accuracy"].value()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_the_scores_of_parts_equal_a_loop(seed):
  draw = np.random.default_rng(seed)
  logit_bp, target_bt, weight_b = draw.normal(0, 3, (9, 5)).astype(np.float32), np.zeros((9, 15), np.float32), np.ones(9, np.float32)
  target_bt[:, 0], weight_b[4] = draw.integers(0, 6, 9), 0
  expected, right = np.zeros(9), []
  for row in (row for row in range(9) if weight_b[row]):
    for part in range(5):
      probability = 1 / (1 + math.exp(-float(logit_bp[row, part])))
      shown = target_bt[row, 0] == 1 + part
      expected[row] -= math.log(probability if shown else 1 - probability)
      right.append((probability > 0.5) == shown)
  logit_bp[4], target_bt[4] = np.nan, np.nan
  loss_b, accuracy = part_terms(logit_bp, target_bt, weight_b)
  np.testing.assert_allclose(loss_b, expected, rtol=2e-5)
  assert float(accuracy) == pytest.approx(np.mean(right))
  with jax.enable_x64(True):
    live = slice(0, 4)

    def total(logit):
      return PartScores()({}, {"embedding_bd": logit, "target_bt": target_bt[live], "weight_b": weight_b[live]}, state={}, step=0, key=None)[0].sum()

    chex.assert_numerical_grads(total, (logit_bp[live].astype(np.float64),), order=1, atol=1e-5)


def test_mistakes_of_the_scores_of_parts():
  inputs = {"embedding_bd": np.zeros((2, 4), np.float32), "target_bt": np.zeros((2, 15), np.float32), "weight_b": np.ones(2, np.float32)}
  with pytest.raises(ValueError, match="PartScores: outputs of 4 and targets of 15 numbers: needs 5 and 15"):
    PartScores()({}, inputs, state={}, step=0, key=None)
  with pytest.raises(ValueError, match="parts"):
    PartScores(parts=0)
