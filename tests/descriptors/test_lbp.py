"""Local binary patterns and their histograms against slow loops from their definition and scikit-image's labels."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.descriptors import lbp_histograms, local_binary_patterns, uniform_labels


def slow_label(grey_hw, y, x, radius, neighbours):
  """Of one pixel; values between pixels as the linear interpolation of four, those outside zero."""

  def at(row, column):
    inside = 0 <= row < grey_hw.shape[0] and 0 <= column < grey_hw.shape[1]
    return float(grey_hw[row, column]) if inside else 0.0

  bits = []
  for p in range(neighbours):
    row = y + round(-radius * np.sin(2 * np.pi * p / neighbours), 5)
    column = x + round(radius * np.cos(2 * np.pi * p / neighbours), 5)
    top, left = int(np.floor(row)), int(np.floor(column))
    down, right = row - top, column - left
    value = (1 - down) * ((1 - right) * at(top, left) + right * at(top, left + 1))
    value += down * ((1 - right) * at(top + 1, left) + right * at(top + 1, left + 1))
    bits.append(value >= float(grey_hw[y, x]))
  ones, changes = sum(bits), sum(bits[p] != bits[p - 1] for p in range(neighbours))
  if changes > 2:
    return neighbours * (neighbours - 1) + 2
  if ones in (0, neighbours):
    return 0 if ones == 0 else neighbours * (neighbours - 1) + 1
  (begin,) = (p for p in range(neighbours) if bits[p] and not bits[p - 1])
  return 1 + (ones - 1) * neighbours + (neighbours - begin) % neighbours


def slow_labels(grey_hw, radius, neighbours):
  height, width = grey_hw.shape
  return np.array([[slow_label(grey_hw, y, x, radius, neighbours) for x in range(width)] for y in range(height)])


@pytest.mark.parametrize(("radius", "neighbours"), [(1.0, 8), (2.0, 8), (1.5, 5), (3.0, 12)])
def test_labels_against_a_loop(radius, neighbours):
  # Real numbers, so that no neighbour equals its pixel.
  grey_bhw = np.random.default_rng(0).uniform(1, 255, (2, 7, 9)).astype(np.float32)
  got = local_binary_patterns(grey_bhw, radius=radius, neighbours=neighbours)
  for image, labels in zip(grey_bhw, got):
    np.testing.assert_array_equal(labels, slow_labels(image, radius, neighbours))


def test_labels_are_scikit_images():
  """`local_binary_pattern(grey_hw, 8, 2, "nri_uniform")` of scikit-image 0.26.0."""
  grey_hw = np.arange(36).reshape(6, 6) * 37 % 251
  np.testing.assert_array_equal(local_binary_patterns(grey_hw[None], radius=2.0)[0], [
    [57, 28, 58, 10, 0, 0], [0, 36, 45, 58, 0, 0], [2, 0, 57, 53, 58, 7],
    [58, 2, 0, 57, 58, 58], [17, 58, 0, 0, 40, 58], [17, 17, 7, 0, 32, 23],
  ])


def test_labels_of_whole_numbers_by_hand():
  # Pixel 5, neighbours from the right counter-clockwise: 6 9 2 1 4 3 8 7, radius 1 with four neighbours: 6, 2, 4, 8.
  grey_bhw = np.array([[[1, 2, 9], [4, 5, 6], [3, 8, 7]]], np.uint8)
  # Bits 1, 0, 0, 1: a run of two that begins at neighbour 3: 1 + (2 - 1) · 4 + (4 - 3) % 4.
  assert local_binary_patterns(grey_bhw, neighbours=4)[0, 1, 1] == 6
  # In a flat image all neighbours inside are as bright; outside is zero, which is as bright only where the image is.
  flat = np.asarray(local_binary_patterns(np.full((1, 5, 5), 100, np.uint8)))
  assert (flat[0, 1:-1, 1:-1] == 57).all() and (flat[0, 0] != 57).all()
  assert (np.asarray(local_binary_patterns(np.zeros((1, 5, 5)))) == 57).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 4), st.floats(-30, 30))
def test_brightness_and_contrast_do_not_count_inside(seed, contrast, brightness):
  grey_bhw = np.random.default_rng(seed).uniform(50, 200, (1, 8, 8)).astype(np.float32)
  inside = (slice(None), slice(3, -3), slice(3, -3))
  changed = np.asarray(local_binary_patterns(contrast * grey_bhw + brightness, radius=2.0))[inside]
  np.testing.assert_array_equal(changed, np.asarray(local_binary_patterns(grey_bhw, radius=2.0))[inside])


def test_histograms_count_each_cell():
  grey_bhw = np.random.default_rng(1).integers(0, 256, (3, 10, 11))
  label_bhw = np.asarray(local_binary_patterns(grey_bhw, radius=2.0))
  got = lbp_histograms(grey_bhw, cells=(3, 2))
  chex.assert_shape(got, (3, 3 * 2 * uniform_labels(8)))
  rows, columns = np.arange(10) * 3 // 10, np.arange(11) * 2 // 11
  for labels, found in zip(label_bhw, np.asarray(got).reshape(3, 6, 59)):
    for cell in range(6):
      inside = labels[np.ix_(rows == cell // 2, columns == cell % 2)].ravel()
      np.testing.assert_allclose(found[cell], np.bincount(inside, minlength=59) / len(inside), rtol=1e-6)


def test_a_batch_is_its_images_and_uint8_is_float():
  grey_bhw = np.random.default_rng(2).integers(0, 256, (3, 12, 12), dtype=np.uint8)
  whole = jax.jit(lbp_histograms)(grey_bhw)
  np.testing.assert_array_equal(whole[1:2], lbp_histograms(grey_bhw[1:2].astype(np.float32)))


def test_parts_of_a_batch_do_not_count():
  # Images are counted a few at a time, here three and two.
  grey_bhw = np.random.default_rng(3).integers(0, 256, (5, 200, 200), dtype=np.uint8)
  whole = np.asarray(lbp_histograms(grey_bhw))
  np.testing.assert_array_equal(whole, np.concatenate([lbp_histograms(grey_hw[None]) for grey_hw in grey_bhw]))


def test_mistakes_are_named():
  with pytest.raises(AssertionError, match="rank"):
    lbp_histograms(np.zeros((8, 8)))
  with pytest.raises(ValueError, match="9 × 7 cells in images of 8 × 8 pixels"):
    lbp_histograms(np.zeros((1, 8, 8)), cells=(9, 7))
  with pytest.raises(ValueError, match="positive radius"):
    local_binary_patterns(np.zeros((1, 8, 8)), radius=0.0)
