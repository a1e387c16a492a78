"""Descriptors at points against a slow loop from their definition, and their laws."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.descriptors import point_descriptors


def slow_cell(grey_hw, row, column, cell, orientations):
  """The histogram about a whole pixel."""
  height, width = grey_hw.shape
  found = np.zeros(orientations)
  for y in range(height):
    for x in range(width):
      weight = max(1 - abs(y - row) / cell, 0) * max(1 - abs(x - column) / cell, 0)
      if not weight:
        continue
      dx = grey_hw[y, min(x + 1, width - 1)] - grey_hw[y, max(x - 1, 0)]
      dy = grey_hw[min(y + 1, height - 1), x] - grey_hw[max(y - 1, 0), x]
      turn = np.arctan2(dy, dx) / (2 * np.pi) * orientations % orientations
      low = int(turn)
      found[low % orientations] += weight * np.hypot(dx, dy) * (1 - turn + low)
      found[(low + 1) % orientations] += weight * np.hypot(dx, dy) * (turn - low)
  return found


def slow_descriptor(grey_hw, point, cell, cells, orientations):
  parts = []
  for i in range(cells):
    for j in range(cells):
      y, x = (at + (k - (cells - 1) / 2) * cell for at, k in ((point[1], i), (point[0], j)))
      top, left, total = int(np.floor(y)), int(np.floor(x)), np.zeros(orientations)
      for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
          if 0 <= row < grey_hw.shape[0] and 0 <= column < grey_hw.shape[1]:
            total += row_weight * column_weight * slow_cell(grey_hw, row, column, cell, orientations)
      parts.append(total)
  one = np.concatenate(parts)
  if not one.any():
    return one
  one = np.minimum(one / np.linalg.norm(one), 0.2)
  return one / np.linalg.norm(one)


@pytest.mark.parametrize("options", [{"cell": 3, "cells": 4, "orientations": 8}, {"cell": 2, "cells": 3, "orientations": 5}, {"cell": 4, "cells": 1, "orientations": 1}])
def test_numbers_against_a_loop(options):
  draw = np.random.default_rng(0)
  grey_bhw = draw.uniform(0, 255, (2, 14, 17))
  point_bk2 = np.concatenate([draw.uniform(0, 14, (2, 2, 2)), np.full((2, 1, 2), [5.0, 6.0]), np.full((2, 1, 2), [-1.5, 13.0])], 1)  # the last one is partly outside
  got = jax.jit(lambda grey, point: point_descriptors(grey, point, **options))(grey_bhw, point_bk2)
  for grey_hw, point_k2, found_kd in zip(grey_bhw, point_bk2, got):
    for point, found in zip(point_k2, found_kd):
      np.testing.assert_allclose(found, slow_descriptor(grey_hw, point, **options), atol=2e-4)


@given(st.integers(0, 2**32 - 1), st.integers(-3, 3), st.integers(-3, 3), st.floats(0.5, 3), st.floats(-50, 50))
def test_moved_points_see_what_moved_images_show(seed, right, down, contrast, brightness):
  draw = np.random.default_rng(seed)
  grey_hw, point_k2 = draw.uniform(0, 255, (40, 40)), draw.uniform(18, 21, (3, 2))
  moved_hw = contrast * np.roll(grey_hw, (down, right), (0, 1)) + brightness
  got = point_descriptors(np.stack([grey_hw, moved_hw]), np.stack([point_k2, point_k2 + np.array([right, down])]), cell=3)
  np.testing.assert_allclose(got[0], got[1], atol=2e-3)


def test_a_mirrored_image_has_mirrored_cells_and_directions():
  draw = np.random.default_rng(1)
  grey_hw, point = draw.uniform(0, 255, (32, 32)), np.array([[14.3, 16.8]])
  got = np.asarray(point_descriptors(np.stack([grey_hw, grey_hw[:, ::-1]]), np.stack([point, [[31 - 14.3, 16.8]]]))).reshape(2, 4, 4, 8)
  # Direction o becomes 180 degrees − o.
  np.testing.assert_allclose(got[1], got[0][:, ::-1, (4 - np.arange(8)) % 8], atol=1e-4)


def test_points_without_contrast_and_far_outside_have_zeros():
  got = np.asarray(point_descriptors(np.full((1, 16, 16), 9.0), np.array([[[8.0, 8.0], [1e12, np.nan]]])))
  assert not got.any()
  ramp = np.tile(np.arange(32.0), (1, 32, 1))
  found = np.asarray(point_descriptors(ramp, np.array([[[16.0, 16.0], [-1e9, 16.0]]]))).reshape(2, 4, 4, 8)
  np.testing.assert_allclose(found[0], np.broadcast_to(np.eye(8)[0] / 4, (4, 4, 8)), atol=1e-6)  # sixteen equal cells, one direction: 1 / √16 each
  assert not found[1].any()


def test_mistakes_are_named():
  with pytest.raises(AssertionError):
    point_descriptors(np.zeros((2, 8, 8)), np.zeros((1, 3, 2)))
  with pytest.raises(ValueError, match="each must be at least 1"):
    point_descriptors(np.zeros((1, 8, 8)), np.zeros((1, 3, 2)), cell=0)
