"""Errors of face points by hand, against slow loops, and their faults."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.evaluation import error_auc, error_curve, failure_rate, landmark_errors

errors = st.lists(st.floats(0, 0.3), min_size=1, max_size=30).map(np.array)


def face(eyes=((0, 0), (10, 0))):
  """68 points with all of each eye at one place, but for the outer corners, 2 further out."""
  point = np.zeros((68, 2))
  point[36:42], point[42:48] = eyes
  point[36, 0] -= 2
  point[45, 0] += 2
  return point


def test_an_error_by_hand():
  true = face()[None]
  found = true.copy()
  found[0, 8] += (3, 4)  # one of 68 points, 5 pixels off
  # Outer corners are 14 apart; centres, the means of six points, 10 + 2·2/6.
  np.testing.assert_allclose(landmark_errors(found, true), [5 / 68 / 14])
  np.testing.assert_allclose(landmark_errors(found, true, normaliser="interpupil"), [5 / 68 / (10 + 4 / 6)])
  assert landmark_errors(found, true, per_point=True)[0, 8] == pytest.approx(5 / 14)
  five = np.array([[[0, 0], [4, 0], [2, 2], [0, 4], [4, 4.0]]])
  np.testing.assert_allclose(landmark_errors(five + np.array([0, 1]), five, normaliser="interpupil"), [0.25])


def test_curve_area_and_failures_by_hand():
  error = np.array([0.02, 0.08, 0.04, 0.1, np.inf])
  curve = error_curve(error)
  np.testing.assert_allclose(curve.threshold_m, [0.02, 0.04, 0.08, 0.1])
  np.testing.assert_allclose(curve.share_m, [0.2, 0.4, 0.6, 0.8])
  # The staircase from 0 to 0.08: 0.2 from 0.02 on, 0.2 more from 0.04 on.
  assert error_auc(error) == pytest.approx((0.2 * 0.06 + 0.2 * 0.04) / 0.08)
  assert failure_rate(error) == pytest.approx(0.4) and failure_rate(error, 0.1) == pytest.approx(0.2)


@given(errors, st.floats(0.01, 0.2))
def test_the_area_is_the_integral_of_the_curve(error, limit):
  curve = error_curve(error)
  edges = np.concatenate([[0], curve.threshold_m[curve.threshold_m < limit], [limit]])
  area = sum(
    (right - left) * np.mean(error <= left) for left, right in itertools.pairwise(edges)
  )
  assert error_auc(error, limit) == pytest.approx(area / limit, abs=1e-9)
  assert failure_rate(error, limit) == pytest.approx(1 - np.mean(error <= limit))


@given(st.integers(0, 10**6), st.floats(0.1, 5), st.floats(-180, 180))
def test_errors_do_not_depend_on_the_frame(seed, scale, degrees):
  rng = np.random.default_rng(seed)
  true, found = rng.uniform(0, 100, (2, 3, 68, 2))
  turn = scale * np.array([[np.cos(degrees), -np.sin(degrees)], [np.sin(degrees), np.cos(degrees)]])
  np.testing.assert_allclose(landmark_errors(found @ turn + 5, true @ turn + 5), landmark_errors(found, true), rtol=1e-6)


def test_a_face_that_was_not_found_is_a_failure():
  true = np.stack([face(), face()])
  found = true.copy()
  found[1] = np.nan
  error = landmark_errors(found, true)
  assert error[0] == 0 and np.isinf(error[1]) and failure_rate(error) == 0.5


@pytest.mark.parametrize(
  "change, says",
  [
    (lambda true: (true[:, :5], true[:, :5], "interocular"), "not defined for 5 points, only for 68, 21"),
    (lambda true: (true, true[:, :6], "interocular"), "same"),
    (lambda true: (true, true, "pupils"), "interocular, interpupil"),
    (lambda true: (true, true * np.nan, "interocular"), "face 0 are not finite"),
    (lambda true: (true, true * 0, "interocular"), "face 0 has the interocular distance 0"),
  ],
)
def test_faults_are_named(change, says):
  found, true, normaliser = change(face()[None])
  with pytest.raises(ValueError, match=says):
    landmark_errors(found, true, normaliser=normaliser)


def test_faulty_errors_are_named():
  with pytest.raises(ValueError, match="error 1 is nan"):
    error_curve(np.array([0.1, np.nan]))
  with pytest.raises(ValueError, match="at least one face"):
    failure_rate(np.array([]))
  with pytest.raises(ValueError, match="limit is 0"):
    error_auc(np.array([0.1]), 0)
