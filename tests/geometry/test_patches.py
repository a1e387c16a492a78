"""Patches of DeepID: their number, their places, their mirror images, and cutting out against a slow loop."""

from collections import Counter
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.geometry.patches import (
  OPPOSITE,
  boxes,
  crop,
  deepid2_patches,
  deepid_patches,
  symmetric_points,
)
from jaxface.geometry.templates import TEMPLATES, template

FACE = template("arcface112")
cut = jax.jit(crop, static_argnums=2)


def slow_crop(image_hwc, box, size):
  """Bilinear, the triangle as wide as a step where steps are wider than pixels; edges repeated."""
  lines = []
  for axis in (0, 1):
    center, length, steps, pixels = box[axis], box[2 + axis], size[axis], image_hwc.shape[axis]
    line = np.zeros((steps, pixels))
    for step in range(steps):
      at = min(max(center + ((step + 0.5) / steps - 0.5) * length, 0.0), pixels - 1.0)
      for pixel in range(pixels):
        line[step, pixel] = max(0.0, 1 - abs(at - pixel) / max(length / steps, 1.0))
    lines.append(line / line.sum(1, keepdims=True))
  return np.einsum("ih,jw,hwc->ijc", *lines, np.asarray(image_hwc, np.float64))


def faces(count=2, height=112, width=112, seed=0):
  return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (count, height, width, 3)), jnp.float32)


def test_the_numbers_of_the_paper():
  patches = deepid_patches(FACE)
  assert len(patches) == 60 and len({patch.name for patch in patches}) == 60
  assert len({patch.region for patch in patches}) == 10
  assert Counter(patch.input_shape for patch in patches) == {
    (39, 31, 3): 15, (39, 31, 1): 15, (31, 31, 3): 15, (31, 31, 1): 15
  }
  # Those of one shape stand together: each stack is a slice.
  shapes = [patch.input_shape for patch in patches]
  assert sum(a != b for a, b in pairwise(shapes)) == 3
  assert patches[0].name == "face_080_rgb" and patches[-1].name == "right_mouth_125_grey"


def test_the_crops_of_deepid2():
  patches = deepid2_patches(FACE)
  assert len(patches) == 200 and len({patch.name for patch in patches}) == 200
  assert {patch.input_shape for patch in patches} == {(55, 47, 3), (55, 47, 1)}
  assert len({patch.center for patch in patches}) == 25


@pytest.mark.parametrize("name", TEMPLATES)
def test_squares_lie_around_the_landmarks(name):
  face = template(name)
  assert np.abs(symmetric_points(face) - face.point_k2).max() < 0.75
  regions = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
  for patch in deepid_patches(face, regions=regions, scales=(1.0,), colours=("rgb",)):
    point = face.point_k2[regions.index(patch.region)]
    assert np.abs(np.array(patch.center) - point).max() < 0.75
    assert patch.size[0] == patch.size[1]
    assert patch.partner.startswith(regions[OPPOSITE[regions.index(patch.region)]])


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("make", [deepid_patches, deepid2_patches])
def test_a_mirrored_face_shows_the_mirrored_patch_of_the_opposite_landmark(name, make):
  face = template(name)
  patches = make(face)
  index = {patch.name: number for number, patch in enumerate(patches)}
  partner_n = np.array([index[patch.partner] for patch in patches])
  assert (partner_n[partner_n] == np.arange(len(patches))).all()
  box_n4 = boxes(patches, face, face.size)
  image_bhwc = faces(1, *face.size)
  found = cut(image_bhwc[:, :, ::-1], box_n4, (31, 31))
  expected = cut(image_bhwc, box_n4[partner_n], (31, 31))[:, :, :, ::-1]
  np.testing.assert_allclose(found, expected, atol=3e-5)
  assert (partner_n != np.arange(len(patches))).any()


@settings(max_examples=15)
@given(
  st.tuples(st.floats(-5, 40), st.floats(-5, 30)), st.tuples(st.floats(2, 60), st.floats(2, 50)),
  st.sampled_from([(9, 5), (7, 20)]),
)
def test_crop_is_the_slow_loop(center, length, size):
  image_bhwc = faces(2, 34, 27)
  box = np.array([*center, *length], np.float32)
  found = cut(image_bhwc, jnp.asarray(box[None]), size)
  expected = [slow_crop(image, box, size) for image in image_bhwc]
  np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_a_box_of_whole_pixels_is_a_slice():
  image_bhwc = faces()
  box = np.array([[20 + 15 - 0.5, 30 + 10 - 0.5, 30, 20]], np.float32)
  np.testing.assert_allclose(cut(image_bhwc, box, (30, 20))[0], image_bhwc[:, 20:50, 30:50], atol=1e-5)


def test_scaling_inside_of_the_image_is_that_of_jax():
  image_bhwc = faces()
  box = np.array([[55.0, 60.0, 62.0, 46.5]], np.float32)
  scale = np.array([31 / 62, 31 / 46.5])
  corner = box[0, :2] + 0.5 - box[0, 2:] / 2
  expected = jax.image.scale_and_translate(
    image_bhwc, (2, 31, 31, 3), (1, 2), scale, -corner * scale, "linear", antialias=True
  )
  np.testing.assert_allclose(cut(image_bhwc, box, (31, 31))[0], expected, atol=1e-4)


def test_boxes_stay_inside_and_grow_with_the_image():
  patches = deepid_patches(FACE)
  box_n4 = boxes(patches, FACE, (112, 112))
  low, high = box_n4[:, :2] - box_n4[:, 2:] / 2, box_n4[:, :2] + box_n4[:, 2:] / 2
  assert (low >= -0.51).all() and (high <= 111.51).all()
  double_n4 = boxes(patches, FACE, (224, 224))
  np.testing.assert_allclose(double_n4, np.concatenate([2 * box_n4[:, :2] + 0.5, 2 * box_n4[:, 2:]], 1), rtol=1e-5)
  # Larger than the image: around the middle.
  small_n4 = boxes([patch for patch in patches if patch.name == "face_125_rgb"], FACE, (112, 40))
  assert small_n4[0, 1] == pytest.approx(19.5)


def test_crops_map_over_an_axis_and_keep_the_type():
  image_mbhwc = jnp.stack([faces(seed=1), faces(seed=2)]).astype(jnp.bfloat16)
  box_n4 = boxes(deepid_patches(FACE, scales=(1.0,), colours=("grey",)), FACE, (112, 112))
  found = jax.vmap(lambda image: crop(image, box_n4, (8, 8)))(image_mbhwc)
  assert found.dtype == jnp.bfloat16
  exact = [crop(image.astype(jnp.float32), box_n4, (8, 8)) for image in image_mbhwc]
  np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.02)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"regions": ("ear",)}, r"regions \['ear'\]: takes some of face, upper"),
    ({"colours": ("red",)}, "takes some of rgb, grey"),
    ({"scales": ()}, "distinct and positive"),
    ({"scales": (1.0, 1.0)}, "distinct"),
  ],
)
def test_a_wrong_choice_says_what_would_be_right(options, message):
  with pytest.raises(ValueError, match=message):
    deepid_patches(FACE, **options)
