"""Warps against OpenCV and a slow loop; laws, gradients, reduction, and crops of photos."""

import functools
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxface.alignment import (
  align,
  align_faces,
  align_matrix,
  invert,
  template_points,
  transform_points,
  warp,
  warp_photos,
)
from jaxface.formats.images import decode_image
from jaxface.geometry import TEMPLATES

CV_BORDERS = {"constant": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE}


def turn(degrees, scale=1.0, move=(0.0, 0.0)):
  cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
  return np.array([[cos, -sin, move[0]], [sin, cos, move[1]]], np.float32)


def noise(seed=0, height=30, width=36, channels=3):
  return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def smooth(height=64, width=64, waves=2.0):
  y, x = np.mgrid[:height, :width] / max(height, width)
  return (128 + 60 * np.sin(6.28 * waves * x)[..., None] + 50 * np.cos(5 * waves * y)[..., None] * np.ones(3)).astype(np.float32)


def slow_warp(image_hwc, matrix_23, size, border, value):
  """Bilinear interpolation pixel by pixel, float64."""
  back = np.linalg.inv(np.vstack([matrix_23.astype(np.float64), (0, 0, 1)]))
  height, width, channels = image_hwc.shape
  out = np.zeros((*size, channels))
  for i in range(size[0]):
    for j in range(size[1]):
      x, y, _ = back @ (j, i, 1)
      for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
          share = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
          if border == "replicate":
            pixel = image_hwc[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
          else:
            pixel = image_hwc[row, column] if 0 <= row < height and 0 <= column < width else value
          out[i, j] += share * np.asarray(pixel, np.float64)
  return out


matrices = st.builds(
  lambda seed, scale: np.random.default_rng(seed).normal(0, 0.3, (2, 3)) * (1, 1, 12) + turn(0, scale),
  st.integers(0, 10**6), st.floats(1.2, 3),
)


@settings(max_examples=10)
@given(matrices, st.sampled_from(["constant", "replicate"]), st.booleans())
def test_a_warp_is_bilinear_interpolation(matrix, border, antialias):
  image, size = noise(), (14, 17)
  if antialias and np.linalg.norm(np.linalg.inv(matrix[:, :2]), axis=1).max() > 1:
    return  # it reduces along some axis, and is smoothed
  found = warp(image[None], matrix[None], size, border=border, value=9.0, antialias=antialias)[0]
  expected = slow_warp(image, matrix.astype(np.float32), size, border, 9.0)
  # Positions are float32: 2e-5 pixels × 255.
  np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("border", CV_BORDERS)
@pytest.mark.parametrize("degrees", [0, 17, -130])
def test_a_warp_is_that_of_opencv(border, degrees):
  image, matrix = noise(height=50, width=60), turn(degrees, 1.3, (20, -7))
  found = np.asarray(warp(image[None], matrix[None], (40, 44), border=border)[0])
  expected = cv2.warpAffine(image, matrix, (44, 40), flags=cv2.INTER_LINEAR, borderMode=CV_BORDERS[border])
  # OpenCV before 5 rounds positions to 1/32 pixel: half of that × 255 × 2 axes, and half a level of rounding.
  most = 0.6 if int(cv2.__version__.split(".")[0]) >= 5 else 0.5 + 255 * 2 / 64
  assert np.abs(found - expected).max() <= most


def test_identity_and_shifts_by_whole_pixels_are_exact():
  image = noise()[None]
  np.testing.assert_array_equal(warp(image, turn(0)[None], image.shape[1:3]), image)
  moved = warp(image, turn(0, 1, (3, -2))[None], (28, 33), value=7.0)
  np.testing.assert_array_equal(moved[:, :, 3:], image[:, 2:, :30])
  np.testing.assert_array_equal(moved[:, :, :3], np.full((1, 28, 3, 3), 7.0))


def test_a_plain_image_stays_plain_however_positions_are_rounded():
  # As tests/conftest.py compiles this folder, a position may be rounded otherwise for its pixel than for its weight: such pixels were black or twice
  # as bright, 4 in 2 million.
  draw, image = np.random.default_rng(0), np.full((64, 100, 120, 1), 200, np.uint8)
  for _ in range(5):
    matrix = np.stack([turn(draw.uniform(-30, 30), draw.uniform(0.5, 2), draw.integers(-20, 20, 2)) for _ in image])
    np.testing.assert_allclose(warp(image, matrix, (112, 112), border="replicate", antialias=False), 200, atol=1e-3)


@settings(max_examples=8)
@given(st.floats(-180, 180), st.floats(1.0, 1.5), st.floats(-4, 4))
def test_a_warp_and_its_inverse_give_the_image_back(degrees, scale, move):
  image = smooth()[None]
  centre = turn(0, 1, (63.5, 63.5)) @ np.vstack([turn(degrees, scale), (0, 0, 1)]) @ np.vstack([turn(0, 1, (-31.5, -31.5)), (0, 0, 1)])
  matrix = (centre + np.array([[0, 0, move], [0, 0, -move]])).astype(np.float32)[None]
  there = warp(image, matrix, (128, 128), border="replicate")
  back = warp(there, invert(matrix), (64, 64), border="replicate", antialias=False)
  inner = np.s_[:, 12:-12, 12:-12]
  # Two linear interpolations of a wave of 32 pixels flatten it by up to 2 × (π/32)²/2 of its 60 levels.
  assert np.abs(back - image)[inner].max() < 1.5


@settings(max_examples=8)
@given(st.floats(-8, 8), st.floats(-8, 8), st.floats(0.4, 2))
def test_the_result_follows_translation_and_scale(x, y, scale):
  # The same scene, once more as a photo that is moved and scaled: points move along, the aligned crop stays.
  def scene(matrix):
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))
    j, i = np.meshgrid(np.arange(160), np.arange(160))
    u, v = (back[row, 0] * j + back[row, 1] * i + back[row, 2] for row in (0, 1))
    return (128 + 60 * np.sin(u / 9) + 50 * np.cos(v / 7))[..., None].astype(np.float32)

  move = turn(0, scale, (x + 80 * (1 - scale), y + 80 * (1 - scale)))
  still, moved = scene(turn(0)), scene(move)
  matrix = turn(10, 0.9, (24, 24)) @ np.array([[1, 0, -80], [0, 1, -80], [0, 0, 1]], np.float32)
  follow = (np.vstack([matrix, (0, 0, 1)]) @ np.linalg.inv(np.vstack([move, (0, 0, 1)])))[:2].astype(np.float32)
  first = warp(still[None], matrix[None], (48, 48), antialias=False)
  second = warp(moved[None], follow[None], (48, 48), antialias=False)
  # Linear interpolation between pixels of the scaled scene: (1/(7·scale))²/8 of 50 levels and the same in x.
  assert np.abs(first - second).max() < 1.0 + 0.3 / min(scale, 1) ** 2


def test_reduction_does_not_alias():
  # Stripes of one pixel are grey at a third of the size; without smoothing they are waves of full height.
  stripes = np.zeros((1, 96, 96, 1), np.float32)
  stripes[:, :, ::2] = 255
  for scale in (0.45, 0.4, 1 / 3, 0.2):
    matrix = turn(3, scale)[None]
    calm, wild = (
      np.asarray(warp(stripes, matrix, (16, 16), border="replicate", antialias=on, halvings=2))[:, 2:-2, 2:-2] for on in (True, False)
    )
    assert np.abs(calm - 127.5).max() < 8 and np.abs(wild - 127.5).max() > 60
  # A slow wave passes.
  wave = smooth(96, 96, 1.0)[None]
  small = warp(wave, turn(0, 0.25, (-0.375, -0.375))[None], (24, 24), halvings=2)
  expected = wave.reshape(1, 24, 4, 24, 4, 3).mean((2, 4))
  assert np.abs(small - expected)[:, 2:-2, 2:-2].max() < 2


def test_gradients_are_those_of_finite_differences():
  with jax.enable_x64(True):
    image = jnp.asarray(smooth(12, 12)[None, :, :, :1], jnp.float64)
    matrix = jnp.asarray(turn(13, 1.4, (1.23, -0.71))[None], jnp.float64)
    apply = functools.partial(warp, size=(7, 6), border="replicate", halvings=0)
    check_grads(lambda image, matrix: apply(image, matrix), (image, matrix), order=1, modes=["rev"], rtol=1e-3, eps=1e-5)
    check_grads(lambda image: apply(image, matrix * 0.4), (image,), order=1, modes=["rev"], rtol=1e-3)


def test_a_batch_is_compiled_once_and_rows_do_not_mix():
  images, matrices = np.stack([noise(seed) for seed in range(4)]), np.stack([turn(20 * seed, 0.5 + seed / 4) for seed in range(4)])
  together = np.asarray(warp(images, matrices, (16, 15), halvings=1))
  before = warp._cache_size()
  for row in range(4):
    alone = warp(np.stack([images[row]] * 4), np.stack([matrices[row]] * 4), (16, 15), halvings=1)
    np.testing.assert_allclose(alone[2], together[row], atol=1e-4)
  assert warp._cache_size() == before


def test_an_extent_is_a_smaller_image():
  image, matrix = noise(height=20, width=26), turn(12, 0.6, (2, 1))
  frame = np.pad(image, ((0, 12), (0, 6), (0, 0)), mode="edge")
  found = warp(frame[None], matrix[None], (20, 22), extent_b2=np.array([[20, 26]]), halvings=1)
  np.testing.assert_allclose(found, warp(image[None], matrix[None], (20, 22), halvings=1), atol=1e-3)


def test_wrong_arguments_are_named():
  with pytest.raises(ValueError, match="border is 'wrap'"):
    warp(noise()[None], turn(0)[None], (4, 4), border="wrap")
  with pytest.raises(ValueError, match=r"matrices \(2, 3\)"):
    warp(noise()[None], turn(0), (4, 4))


# --- photos


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_crop_of_a_photo_is_that_of_opencv(name):
  photo = cv2.GaussianBlur(noise(3, 150, 170), (0, 0), 3)
  face = template_points(name, 5)
  for scale, tolerance in ((1.4, 0.51), (1.0, 0.51)):
    point = np.asarray(transform_points(turn(9, scale, (20, -15)), face))[:, :] / scale
    matrix = align_matrix(point, name)
    height, width = TEMPLATES[name].size
    expected = cv2.warpAffine(photo, matrix, (width, height), flags=cv2.INTER_LINEAR)
    # The photo is blurred: where the crop reduces by up to 1.0001 there is nothing to smooth.
    assert np.abs(align(photo, point, template=name).astype(float) - expected).max() <= tolerance + 1


@pytest.mark.parametrize("scale, border", [(0.9, "constant"), (0.47, "replicate"), (0.19, "constant")])
def test_a_crop_of_a_photo_is_the_warp_of_the_photo(scale, border):
  # The host averages before the device sees the photo; the whole pyramid on the device gives the same.
  photo = cv2.GaussianBlur(noise(4, 192, 208), (0, 0), 2)
  matrix = turn(-21, scale, (-17, 9))
  found = warp_photos([photo], [matrix], (32, 40), border=border)
  expected = warp(photo[None], matrix[None], (32, 40), border=border, halvings=3)
  # Half a level of rounding.
  assert np.abs(found - np.asarray(expected)).max() < 0.51


def test_photos_of_many_sizes_keep_their_order():
  photos = [noise(seed, 60 + 31 * seed, 300 - 40 * seed) for seed in range(5)]
  points = [template_points("arcface112", count) * 0.4 + 10 for count in (2, 5, 6, 21, 68)]
  together = align_faces(photos, points)
  assert together.shape == (5, 112, 112, 3) and together.dtype == np.uint8
  for photo, point, crop in zip(photos, points, together):
    np.testing.assert_array_equal(align(photo, point), crop)


def test_faults_of_a_face_are_named():
  photo, point = noise(), template_points("arcface112", 5)
  with pytest.raises(ValueError, match="face 1: points are not finite"):
    align_faces([photo, photo], [point / 4, point * np.nan])
  with pytest.raises(ValueError, match="face 0: all 5 points coincide"):
    align(photo, np.full((5, 2), 3.0))
  with pytest.raises(ValueError, match="face 0: 4 points per face"):
    align(photo, point[:4])
  with pytest.raises(ValueError, match="photo 0: the crop lies outside of the 36×30 pixels"):
    align(photo, point + 500)
  with pytest.raises(ValueError, match=r"photo 0 has shape \(30, 36\)"):
    align(photo[..., 0], point)
  with pytest.raises(KeyError, match="no template 'arcface'"):
    align(photo, point, template="arcface")


@pytest.mark.real_data
def test_lfw_photos_give_the_crops_of_opencv(face_data):
  photos, points = [], []
  for entry in json.loads((face_data / "photos/lfw_raw.json").read_text())[:24]:
    if entry["faces"]:
      path = face_data / "photos/lfw_raw" / entry["file"]
      photos.append(decode_image(path.read_bytes(), where=str(path)))
      points.append(np.array(entry["faces"][0]["points5"]))
  crops = align_faces(photos, points)
  expected = [cv2.warpAffine(photo, align_matrix(point), (112, 112)) for photo, point in zip(photos, points)]
  # OpenCV does not smooth where the crop reduces, here by up to 1.6.
  assert np.abs(crops.astype(float) - np.stack(expected)).mean() < 0.5
