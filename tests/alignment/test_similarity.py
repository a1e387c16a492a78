"""Transforms from points: against Umeyama's singular value decomposition, laws, gradients, degenerate points."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.alignment import (
  MIRROR_ORDER,
  POINT_SETS,
  compose,
  fit_affine,
  fit_similarity,
  invert,
  mirror_points,
  reduce_points,
  scale_of,
  template_points,
  transform_points,
)
from jaxface.alignment.mean_shape import MEAN_SHAPE_68
from jaxface.geometry import TEMPLATES

fit = jax.jit(fit_similarity)
affine = jax.jit(fit_affine)
seeds = st.integers(0, 10**6)


def umeyama(source_k2, target_k2, weight_k):
  """Umeyama 1991 by singular values, one set of points, float64."""
  share_k = weight_k / weight_k.sum()
  source_mean, target_mean = share_k @ source_k2, share_k @ target_k2
  source, target = source_k2 - source_mean, target_k2 - target_mean
  covariance = sum(w * np.outer(t, s) for w, s, t in zip(share_k, source, target))
  left, values, right = np.linalg.svd(covariance)
  sign = np.diag([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])
  rotation = left @ sign @ right
  scale = np.trace(np.diag(values) @ sign) / sum(w * s @ s for w, s in zip(share_k, source))
  return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def draw(seed, count, batch=3):
  rng = np.random.default_rng(seed)
  source, target = rng.uniform(0, 100, (2, batch, count, 2))
  return source, target, rng.uniform(0.1, 2, (batch, count))


@given(seeds, st.sampled_from(POINT_SETS))
def test_a_similarity_is_umeyamas(seed, count):
  source, target, weight = draw(seed, count)
  found = fit(source, target, weight)
  for index in range(len(source)):
    expected = umeyama(source[index], target[index], weight[index])
    np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-3)


def test_points_in_mirror_order_are_not_reflected():
  # The best transform with reflection would be exact; a face must not be mirrored.
  source = template_points("arcface112", 5)
  target = np.array([[112 - x, y] for x, y in source])
  matrix = np.asarray(fit(source, target))
  np.testing.assert_allclose(matrix, umeyama(source, target, np.ones(5)), atol=1e-3)
  assert np.linalg.det(matrix[:, :2]) > 0


@given(seeds, st.integers(3, 21))
def test_an_affine_transform_is_that_of_lstsq(seed, count):
  source, target, weight = draw(seed, count, batch=1)
  root = np.sqrt(weight[0])[:, None]
  expected = np.linalg.lstsq(root * np.column_stack([source[0], np.ones(count)]), root * target[0], rcond=None)[0].T
  if np.linalg.cond(np.cov(source[0].T)) < 100:
    np.testing.assert_allclose(affine(source, target, weight)[0], expected, rtol=2e-3, atol=2e-2)


@given(seeds, st.sampled_from(POINT_SETS))
def test_a_similarity_is_recovered_and_follows_other_similarities(seed, count):
  rng = np.random.default_rng(seed)
  source = jnp.asarray(rng.uniform(0, 100, (count, 2)))
  angle, scale = rng.uniform(-3, 3), rng.uniform(0.3, 3)
  cos, sin = scale * np.cos(angle), scale * np.sin(angle)
  matrix = jnp.asarray([[cos, -sin, rng.uniform(-50, 50)], [sin, cos, rng.uniform(-50, 50)]])
  np.testing.assert_allclose(fit(source, transform_points(matrix, source)), matrix, rtol=1e-3, atol=2e-2)
  assert abs(scale_of(matrix) - scale) < 1e-4
  # Equivariance: points of a moved photo give the transform after the inverse of that move.
  target = jnp.asarray(rng.uniform(0, 100, (count, 2)))
  moved = fit(transform_points(matrix, source), target)
  np.testing.assert_allclose(moved, compose(fit(source, target), invert(matrix)), rtol=2e-3, atol=5e-2)


def test_composition_and_inverse():
  rng = np.random.default_rng(0)
  first, second = (jnp.asarray(rng.normal(size=(4, 2, 3))) for _ in range(2))
  point = jnp.asarray(rng.normal(size=(4, 7, 2)))
  np.testing.assert_allclose(
    transform_points(compose(second, first), point), transform_points(second, transform_points(first, point)), rtol=1e-4, atol=1e-4
  )
  np.testing.assert_allclose(transform_points(invert(first), transform_points(first, point)), point, rtol=1e-3, atol=1e-3)


def test_a_point_of_weight_zero_has_no_effect():
  source, target, weight = draw(1, 6)
  weight[:, 4] = 0
  rest = [0, 1, 2, 3, 5]
  np.testing.assert_allclose(
    fit(source, target, weight), fit(source[:, rest], target[:, rest], weight[:, rest]), rtol=1e-4, atol=1e-3
  )


def test_gradients_are_those_of_finite_differences():
  source, target, weight = draw(2, 5, batch=1)
  for function in (fit_similarity, fit_affine):
    with jax.enable_x64(True):
      check_grads(function, (source, target, weight), order=1, modes=["rev"], rtol=1e-4)


def test_coinciding_points_give_nan_without_harm_to_others():
  source, target, _ = draw(3, 5, batch=2)
  source[0] = 7.0
  found = np.asarray(fit(source, target))
  assert not np.isfinite(found[0]).any() and np.isfinite(found[1]).all()


@pytest.mark.parametrize(
  "shapes, says",
  [(((5, 3), (5, 2)), "shape"), (((1, 2), (1, 2)), "at least 2"), (((5, 2), (6, 2)), "same number")],
)
def test_wrong_shapes_are_named(shapes, says):
  with pytest.raises(ValueError, match=says):
    fit_similarity(*(np.zeros(shape) for shape in shapes))
  with pytest.raises(ValueError, match="one for each"):
    fit_similarity(np.zeros((5, 2)), np.zeros((5, 2)), np.ones(4))


# --- point sets


def test_a_set_by_hand():
  point = np.zeros((68, 2))
  point[36:42], point[42:48] = (10, 20), (30, 20)
  point[36] = (16, 20)  # one of six: moves the mean by 1
  point[30], point[48], point[54], point[62], point[66] = (20, 30), (12, 40), (28, 40), (20, 39), (20, 43)
  expected = [(11, 20), (30, 20), (20, 30), (12, 40), (28, 40), (20, 41)]
  np.testing.assert_allclose(reduce_points(point, 6), expected, rtol=1e-6)
  np.testing.assert_allclose(reduce_points(point, 2), expected[:2], rtol=1e-6)
  np.testing.assert_allclose(reduce_points(reduce_points(point, 21), 6), expected, rtol=1e-6)


@pytest.mark.parametrize("count", POINT_SETS)
def test_sets_follow_from_each_other_and_mirror(count):
  point = np.random.default_rng(count).uniform(0, 100, (2, count, 2))
  np.testing.assert_allclose(mirror_points(mirror_points(point, 112), 112), point, rtol=1e-5, atol=1e-4)
  assert sorted(MIRROR_ORDER[count]) == list(range(count))
  for smaller in (number for number in POINT_SETS if number <= count):
    # Reducing and mirroring commute: each set's order is right.
    np.testing.assert_allclose(
      reduce_points(mirror_points(point, 112), smaller), mirror_points(reduce_points(point, smaller), 112), atol=1e-3
    )


def test_a_larger_set_is_refused():
  with pytest.raises(ValueError, match="21 points cannot be derived from 6"):
    reduce_points(np.zeros((6, 2)), 21)
  with pytest.raises(ValueError, match="7 points per face: needs 2, 5, 6, 21 or 68"):
    reduce_points(np.zeros((7, 2)), 5)


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_points_of_all_sets_agree(name):
  five = TEMPLATES[name].point_k2
  np.testing.assert_array_equal(template_points(name, 5), five)
  np.testing.assert_array_equal(template_points(name, 2), five[:2])
  np.testing.assert_array_equal(template_points(name, 6)[:5], five)
  # The mean face fits the template's five points to within 2.5 of 112 pixels; nose length differs most.
  assert np.abs(np.asarray(reduce_points(template_points(name, 68), 5)) - five).max() < 2.5
  np.testing.assert_allclose(reduce_points(template_points(name, 68), 21), template_points(name, 21), rtol=1e-5)
  # A face at the template's points stays where it is, whatever the set.
  for count in POINT_SETS:
    point = template_points(name, count)
    np.testing.assert_allclose(fit(point, point), [[1, 0, 0], [0, 1, 0]], atol=1e-3)


@pytest.mark.real_data
def test_the_mean_shape_is_that_of_helen(face_data):
  photos = json.loads((face_data / "photos/helen_train.json").read_text())
  faces = np.array([face["points68"] for photo in photos for face in photo["faces"] if "points68" in face])
  five = template_points("arcface112", 5)
  mean = np.asarray(transform_points(fit(reduce_points(faces, 5), five), faces), np.float64).mean(0)
  mirrored = np.asarray(mirror_points(mean, five[0, 0] + five[1, 0] + 1))
  np.testing.assert_allclose((mean + mirrored) / 2, MEAN_SHAPE_68, atol=0.01)
