"""Boxes: areas by counting pixels, overlap, regression round trips, squares, clipping; NumPy and JAX alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface import detection
from jaxface.geometry.rectangles import box_areas, box_sizes

seeds = st.integers(0, 2**32 - 1)


def random_boxes(count, seed, size=20):
  """Integer boxes inside a size×size image; some empty."""
  corner = np.random.default_rng(seed).integers(0, size + 1, (count, 2, 2))
  return np.concatenate([corner.min(1), corner.max(1)], -1).astype(np.float64)


def pixels(box, size=20):
  """The pixels of an integer box, as a mask."""
  mask = np.zeros((size, size), bool)
  x0, y0, x1, y1 = box.astype(int)
  mask[y0:y1, x0:x1] = True
  return mask


@given(st.integers(0, 8), st.integers(1, 8), seeds)
def test_overlaps_equal_counted_pixels(first, second, seed):
  a_n4, b_m4 = random_boxes(first, seed), random_boxes(second, seed + 1)
  for of in ("union", "smaller"):
    expected = np.zeros((first, second))
    for i, a in enumerate(a_n4):
      for j, b in enumerate(b_m4):
        shared = (pixels(a) & pixels(b)).sum()
        whole = (pixels(a) | pixels(b)).sum() if of == "union" else min(pixels(a).sum(), pixels(b).sum())
        expected[i, j] = shared / whole if whole else 0
    np.testing.assert_allclose(detection.overlaps(a_n4, b_m4, of=of), expected, atol=1e-12)


@given(st.integers(1, 6), seeds)
def test_inclusive_boxes_are_one_pixel_larger(count, seed):
  a_n4, b_m4 = random_boxes(count, seed), random_boxes(4, seed + 1)
  grown = [0, 0, 1, 1]
  np.testing.assert_allclose(
    detection.overlaps(a_n4, b_m4, inclusive=True), detection.iou(a_n4 + grown, b_m4 + grown), atol=1e-12)


@given(st.integers(1, 6), seeds, st.floats(-50, 50), st.floats(0.1, 9))
def test_iou_is_symmetric_and_ignores_moves_and_scales(count, seed, move, scale):
  a_n4, b_m4 = random_boxes(count, seed), random_boxes(5, seed + 1)
  value = detection.iou(a_n4, b_m4)
  np.testing.assert_allclose(value, detection.iou(b_m4, a_n4).T, atol=1e-12)
  np.testing.assert_allclose(value, detection.iou(scale * (a_n4 + move), scale * (b_m4 + move)), atol=1e-9)
  assert ((value >= 0) & (value <= 1)).all()
  some = a_n4[box_areas(a_n4) > 0]
  np.testing.assert_allclose(np.diag(detection.iou(some, some)), 1)


@given(st.integers(1, 6), seeds, st.booleans())
def test_decoding_inverts_encoding(count, seed, inclusive):
  box_n4, target_n4 = random_boxes(count, seed) + np.array([0, 0, 1, 1]), random_boxes(count, seed + 1)
  offset_n4 = detection.encode_boxes(box_n4, target_n4, inclusive=inclusive)
  np.testing.assert_allclose(detection.decode_boxes(box_n4, offset_n4, inclusive=inclusive), target_n4, atol=1e-9)
  scale, move = 3.0, np.array([5, -2, 5, -2])
  if not inclusive:  # offsets are in units of the box, so both may be moved and scaled
    np.testing.assert_allclose(detection.encode_boxes(scale * box_n4 + move, scale * target_n4 + move), offset_n4, atol=1e-9)


def test_offsets_by_hand():
  box, target = np.array([[10.0, 20.0, 20.0, 40.0]]), np.array([[11.0, 18.0, 22.0, 41.0]])
  np.testing.assert_allclose(detection.encode_boxes(box, target), [[0.1, -0.1, 0.2, 0.05]])
  np.testing.assert_allclose(detection.decode_boxes(box, np.full((1, 4), 1.0), inclusive=True), [[21, 41, 31, 61]])


@given(st.integers(1, 6), seeds)
def test_squares_keep_centre_and_longer_side(count, seed):
  box_n4 = random_boxes(count, seed)
  square_n4 = detection.square_boxes(box_n4)
  size_n2 = box_sizes(square_n4)
  np.testing.assert_allclose(size_n2[:, 0], size_n2[:, 1], atol=1e-12)
  np.testing.assert_allclose(size_n2[:, 0], box_sizes(box_n4).max(-1), atol=1e-12)
  np.testing.assert_allclose(square_n4[:, :2] + square_n4[:, 2:], box_n4[:, :2] + box_n4[:, 2:], atol=1e-12)


@given(st.integers(1, 6), seeds)
def test_clipping_keeps_the_pixels_inside(count, seed):
  box_n4 = random_boxes(count, seed)
  for box, clipped in zip(box_n4, detection.clip_boxes(box_n4, 12, 15)):
    inside = pixels(box)
    inside[12:] = inside[:, 15:] = False
    assert (pixels(clipped) == inside).all()


def test_jax_and_numpy_agree_inside_jit():
  a_n4, b_m4 = random_boxes(7, 1), random_boxes(5, 2)
  for function in (detection.iou, lambda a, b: detection.clip_boxes(a, 9, 8), lambda a, b: detection.square_boxes(a),
                   lambda a, b: detection.decode_boxes(a, 0.1 * a)):
    np.testing.assert_allclose(jax.jit(function)(jnp.asarray(a_n4), jnp.asarray(b_m4)), function(a_n4, b_m4), rtol=1e-6)


def test_wrong_arguments_are_named():
  with pytest.raises(ValueError, match=r"first_n4 has shape \(2, 3\), expected"):
    detection.iou(np.zeros((2, 3)), np.zeros((2, 4)))
  with pytest.raises(ValueError, match="overlap of 'area': takes union, smaller"):
    detection.overlaps(np.zeros((2, 4)), np.zeros((2, 4)), of="area")
