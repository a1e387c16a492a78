"""The registry of alignment templates against the published numbers."""

import numpy as np
import pytest

from jaxface.geometry.templates import TEMPLATES, template


def test_published_points():
  np.testing.assert_allclose(template("arcface112").point_k2[0], [38.2946, 51.6963])
  np.testing.assert_allclose(template("arcface112").point_k2[4], [70.7299, 92.2041])
  # SphereFace's own alignment code prints these.
  np.testing.assert_allclose(
    template("sphereface96x112").point_k2,
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]],
  )
  np.testing.assert_allclose(template("lightcnn128").point_k2, template("arcface112").point_k2 * 128 / 112)


@pytest.mark.parametrize("name", TEMPLATES)
def test_points_lie_inside_and_in_order(name):
  found = template(name)
  assert found.name == name
  height, width = found.size
  x, y = found.point_k2.T
  assert ((x > 0) & (x < width) & (y > 0) & (y < height)).all()
  assert x[0] < x[2] < x[1] and x[3] < x[2] < x[4]
  assert max(y[:2]) < y[2] < min(y[3:])


def test_unknown_name_lists_the_valid_ones():
  with pytest.raises(KeyError, match="arcface112, lightcnn128, sphereface96x112"):
    template("arcface")
