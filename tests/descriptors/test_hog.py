"""Histograms of oriented gradients against a slow loop from their definition and scikit-image's numbers."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.descriptors import hog


def slow_hog(image_hwc, orientations, cell, block):
  height, width, channels = image_hwc.shape
  rows, columns = height // cell, width // cell
  cells = np.zeros((rows, columns, orientations))
  for y in range(rows * cell):
    for x in range(columns * cell):
      slopes = []
      for c in range(channels):
        dy = image_hwc[y + 1, x, c] - image_hwc[y - 1, x, c] if 0 < y < height - 1 else 0.0
        dx = image_hwc[y, x + 1, c] - image_hwc[y, x - 1, c] if 0 < x < width - 1 else 0.0
        slopes.append((np.hypot(dx, dy), np.rad2deg(np.arctan2(dy, dx)) % 180))
      size, angle = max(slopes, key=lambda slope: slope[0])
      cells[y // cell, x // cell, int(angle // (180 / orientations))] += size / cell**2
  found = []
  for y in range(rows - block + 1):
    for x in range(columns - block + 1):
      one = cells[y : y + block, x : x + block]
      one = np.minimum(one / np.sqrt((one**2).sum() + 1e-10), 0.2)
      found.append(one / np.sqrt((one**2).sum() + 1e-10))
  return np.array(found).reshape(rows - block + 1, columns - block + 1, block, block, orientations)


@pytest.mark.parametrize(("shape", "options"), [
  ((2, 17, 13), {"orientations": 9, "cell": 4, "block": 2}),
  ((2, 12, 12, 3), {"orientations": 8, "cell": 3, "block": 3}),
  ((1, 9, 10), {"orientations": 1, "cell": 5, "block": 1}),
])
def test_numbers_against_a_loop(shape, options):
  image = np.random.default_rng(0).uniform(0, 255, shape)
  got = jax.jit(lambda x: hog(x, **options))(image)
  whole = image if image.ndim == 4 else image[..., None]
  for expected, found in zip(whole, got):
    np.testing.assert_allclose(found, slow_hog(expected, **options), atol=2e-5)


def test_numbers_are_scikit_images():
  """`hog(image_hw, 4, (4, 4), (2, 2))` of scikit-image 0.26.0."""
  image_hw = np.arange(64).reshape(8, 8) * 37 % 251
  np.testing.assert_allclose(hog(image_hw[None], orientations=4, cell=4).ravel(), [
    0.277714, 0.312523, 0.269239, 0.0, 0.312523, 0.280601, 0.162558, 0.0,
    0.312523, 0.312523, 0.312523, 0.0, 0.312523, 0.312523, 0.248051, 0.0,
  ], atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 45, 90, 135])
def test_directions_on_the_edge_of_a_bin_go_to_the_upper_one(degrees):
  y, x = np.mgrid[:16, :16]
  ramp = {0: x, 45: x + y, 90: y, 135: y - x}[degrees]
  for image in (ramp, -ramp):  # a direction has no sign
    got = np.asarray(hog(image[None].astype(np.float32), orientations=4, cell=4, block=1))
    assert (got[0, 1:-1, 1:-1, 0, 0].argmax(-1) == degrees // 45).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4), st.floats(-50, 50))
def test_brightness_and_contrast_do_not_count(seed, contrast, brightness):
  image = np.random.default_rng(seed).uniform(0, 255, (1, 16, 16)).astype(np.float32)
  np.testing.assert_allclose(hog(contrast * image + brightness, cell=4), hog(image, cell=4), atol=2e-3)


def test_blocks_have_at_most_unit_length_and_flat_ones_none():
  image = np.random.default_rng(1).integers(0, 256, (2, 24, 32))
  got = hog(image)
  chex.assert_shape(got, (2, 2, 3, 2, 2, 9))
  np.testing.assert_allclose(np.square(got).sum((-3, -2, -1)), 1, rtol=1e-5)
  assert not np.asarray(hog(np.full((1, 16, 16), 7.0))).any()


def test_mistakes_are_named():
  with pytest.raises(AssertionError, match="rank"):
    hog(np.zeros((16, 16)))
  with pytest.raises(ValueError, match="need 16 pixels"):
    hog(np.zeros((1, 16, 15)))
