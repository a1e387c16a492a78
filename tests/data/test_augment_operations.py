"""Each operation of augmentation against a NumPy oracle or its law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from jaxface.data import augment_colour as colour
from jaxface.data import augment_geometry as geometry
from jaxface.data import augment_optics as optics

B, H, W = 6, 12, 16


@pytest.fixture(scope="module")
def image_bhwc():
  return np.random.default_rng(0).uniform(0, 255, (B, H, W, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def key_b():
  return jax.random.split(jax.random.key(0), B)


def test_mirror_twice_is_the_identity(image_bhwc, key_b):
  once = geometry.mirror(image_bhwc, key_b, 1.0)
  np.testing.assert_array_equal(once, image_bhwc[:, :, ::-1])
  np.testing.assert_array_equal(geometry.mirror(once, key_b, 1.0), image_bhwc)


def test_shift_is_a_move_by_whole_pixels_with_the_border_continued(image_bhwc):
  most = 2
  key_b = jax.random.split(jax.random.key(1), 60)
  out = np.asarray(jax.jit(geometry.shift, static_argnums=2)(np.repeat(image_bhwc[:1], 60, 0), key_b, most))
  y, x = np.mgrid[:H, :W]
  found = set()
  for shifted in out:
    for dy in range(-most, most + 1):
      for dx in range(-most, most + 1):
        if np.array_equal(shifted, image_bhwc[0][np.clip(y + dy, 0, H - 1), np.clip(x + dx, 0, W - 1)]):
          found.add((dy, dx))
          break
      else:
        continue
      break
    else:
      pytest.fail("an image that no shift explains")
  assert len(found) > 15, "of 25 possible shifts"


def test_rotation_by_a_right_angle():
  """Positive angles turn from x to y, which is clockwise where y points down."""
  image = np.random.default_rng(3).uniform(0, 255, (1, 9, 9, 3)).astype(np.float32)
  out = jax.jit(geometry.rotate)(image, jnp.array([jnp.pi / 2]), geometry.whole_window(1))
  np.testing.assert_allclose(out[0], np.rot90(image[0], -1), atol=1e-2)


def test_a_plain_image_stays_plain_when_rotated():
  # The weights of a pixel's neighbours add up to one; see `affine_positions`.
  draw, image = np.random.default_rng(0), np.full((64, 112, 112, 1), 200.0, np.float32)
  for _ in range(5):
    window = geometry.Window(*(jnp.asarray(draw.uniform(low, high, len(image)), jnp.float32) for low, high in ((0.5, 1), (0, 20), (0, 20))))
    np.testing.assert_allclose(jax.jit(geometry.rotate)(image, jnp.asarray(draw.uniform(-0.5, 0.5, len(image)), jnp.float32), window), 200, atol=1e-3)


@given(angle=st.floats(-3, 3), scale=st.floats(0.3, 1), top=st.floats(0, 1), left=st.floats(0, 1))
def test_rotated_window_against_scipy(angle, scale, top, left):
  image = np.random.default_rng(4).uniform(0, 255, (1, H, W, 3)).astype(np.float32)
  top, left = top * (1 - scale) * H, left * (1 - scale) * W
  window = geometry.Window(*(jnp.array([value], jnp.float32) for value in (scale, top, left)))
  out = np.asarray(jax.jit(geometry.rotate)(image, jnp.array([angle], jnp.float32), window))[0]
  i, j = np.mgrid[:H, :W]
  y, x = (i + 0.5) * scale + top - 0.5 - (H - 1) / 2, (j + 0.5) * scale + left - 0.5 - (W - 1) / 2
  cos, sin = np.cos(angle), np.sin(angle)
  place = np.stack([cos * y - sin * x + (H - 1) / 2, cos * x + sin * y + (W - 1) / 2])
  for channel in range(3):
    expected = ndimage.map_coordinates(image[0, ..., channel], place, order=1, mode="nearest")
    np.testing.assert_allclose(out[..., channel], expected, atol=0.05)


def test_window_as_matrices_equals_the_window_as_a_gather(image_bhwc, key_b):
  window = geometry.crop_window(key_b, 1.0, 0.4, (H, W))
  assert (window.scale_b >= 0.4).all() and (window.scale_b < 1).all()
  assert (window.top_b + window.scale_b * H <= H + 1e-4).all() and (window.left_b + window.scale_b * W <= W + 1e-4).all()
  rows = geometry.window_matrix(window.scale_b, window.top_b, H)
  columns = geometry.window_matrix(window.scale_b, window.left_b, W)
  np.testing.assert_allclose(
    optics.apply_matrices(image_bhwc, rows, columns), geometry.rotate(image_bhwc, jnp.zeros(B), window), atol=0.01
  )


def test_blur_against_scipy():
  deviation_b = np.float32([0.0, 0.5, 1.3])
  image = np.random.default_rng(5).uniform(0, 255, (3, 30, 30, 3)).astype(np.float32)
  matrix = optics.blur_matrix(deviation_b, 30)
  np.testing.assert_allclose(matrix.sum(2), 1, atol=1e-5)
  out = np.asarray(optics.apply_matrices(image, matrix, matrix))
  np.testing.assert_allclose(out[0], image[0], atol=1e-3)
  for b in (1, 2):
    expected = ndimage.gaussian_filter(image[b], (deviation_b[b], deviation_b[b], 0), truncate=8)
    np.testing.assert_allclose(out[b, 8:-8, 8:-8], expected[8:-8, 8:-8], atol=0.01)


def test_low_resolution_of_half_is_the_mean_of_four():
  image = np.random.default_rng(6).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
  few = image.reshape(1, 4, 2, 4, 2, 3).mean((2, 4))
  expected = ndimage.zoom(few, (1, 2, 2, 1), order=1, mode="nearest", grid_mode=True)
  matrix = optics.low_resolution_matrix(jnp.array([0.5]), 8)
  np.testing.assert_allclose(optics.apply_matrices(image, matrix, matrix), expected, atol=0.01)


@given(share=st.floats(0.05, 1))
def test_low_resolution_keeps_flat_images(share):
  matrix = np.asarray(optics.low_resolution_matrix(jnp.array([share], jnp.float32), 13))
  np.testing.assert_allclose(matrix.sum(2), 1, atol=1e-4)
  assert (matrix >= -1e-6).all()
  assert np.linalg.matrix_rank(matrix[0], tol=1e-3) <= max(2, round(share * 13) + 1)


def test_full_resolution_is_the_identity():
  np.testing.assert_allclose(optics.low_resolution_matrix(jnp.ones(1), 9)[0], np.eye(9), atol=1e-6)


def test_brightness_and_contrast(image_bhwc, key_b):
  """Contrast scales differences within ±30 % and leaves middle grey; brightness alone adds one number within ±51."""
  scaled = np.asarray(colour.brightness_contrast(image_bhwc, key_b, 1.0, 0.0, 0.3))
  gain_b = (scaled[:, 0, 0, 0] - 127.5) / (image_bhwc[:, 0, 0, 0] - 127.5)
  assert ((gain_b >= 0.7) & (gain_b <= 1.3)).all() and len(np.unique(gain_b)) == B
  np.testing.assert_allclose(scaled, (image_bhwc - 127.5) * gain_b[:, None, None, None] + 127.5, atol=0.1)
  added = np.asarray(colour.brightness_contrast(image_bhwc, key_b, 1.0, 0.2, 0.0)) - image_bhwc
  assert np.abs(added).max() <= 51.01 and np.ptp(added, (1, 2, 3)).max() < 1e-3


def test_saturation_and_hue_keep_the_luma(image_bhwc, key_b):
  out = np.asarray(colour.saturation_hue(image_bhwc, key_b, 1.0, 0.5, 0.5))
  np.testing.assert_allclose(out @ colour.LUMA, image_bhwc @ colour.LUMA, atol=0.2)
  assert np.abs(out - image_bhwc).max() > 10
  grey = np.full_like(image_bhwc, 90)
  np.testing.assert_allclose(colour.saturation_hue(grey, key_b, 1.0, 0.5, 0.5), grey, atol=0.2)


def test_grey_against_the_definition(image_bhwc, key_b):
  out = np.asarray(colour.grey(image_bhwc, key_b, 1.0))
  r, g, b = np.moveaxis(image_bhwc, 3, 0)
  for channel in range(3):
    np.testing.assert_allclose(out[..., channel], 0.299 * r + 0.587 * g + 0.114 * b, atol=0.01)


def test_inverting_twice_is_the_identity(image_bhwc, key_b):
  once = colour.invert(image_bhwc, key_b, 1.0)
  np.testing.assert_allclose(once, 255 - image_bhwc)
  np.testing.assert_allclose(colour.invert(once, key_b, 1.0), image_bhwc, atol=1e-4)


def test_noise_is_centred_and_as_strong_as_asked(key_b):
  grey = np.full((B, 64, 64, 3), 127.5, np.float32)
  rest = np.asarray(colour.noise(grey, key_b, 1.0, 20.0)) - grey
  deviation_b = rest.std((1, 2, 3))
  assert (deviation_b <= 20.5).all() and len(np.unique(deviation_b)) == B
  assert (np.abs(rest.mean((1, 2, 3))) < 4 * deviation_b / np.sqrt(64 * 64 * 3)).all()
  # Normal: the fourth moment is three times the squared second.
  np.testing.assert_allclose((rest**4).mean((1, 2, 3)) / deviation_b**4, 3, atol=0.3)


def test_cut_out_is_one_grey_rectangle_of_the_size_asked(key_b):
  black = np.zeros((B, 40, 40, 3), np.float32)
  out = np.asarray(colour.cut_out(black, key_b, 1.0, 0.5))
  assert set(np.unique(out)) == {0.0, 127.5}
  for hole in out[..., 0] > 0:
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    assert hole.sum() == len(rows) * len(columns)
    for line in (rows, columns):
      assert 10 - 1 <= len(line) <= 20 + 1 and np.ptp(line) == len(line) - 1
