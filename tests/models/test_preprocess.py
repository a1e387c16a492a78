"""Input conventions."""

import jax
import numpy as np
import pytest

from jaxface.models.preprocess import PREPROCESS, Preprocess, get_preprocess


def test_unit_maps_the_byte_range_to_minus_one_and_one():
  image_bhwc = np.stack([np.zeros((112, 112, 3)), np.full((112, 112, 3), 255)]).astype(np.uint8)
  x_bhwc = jax.jit(PREPROCESS["unit"].apply)(image_bhwc)
  assert x_bhwc.dtype == np.float32
  np.testing.assert_allclose(x_bhwc[0], -1)
  np.testing.assert_allclose(x_bhwc[1], 1)


def test_imagenet_is_the_published_formula():
  image_bhwc = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
  expected = (image_bhwc / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  np.testing.assert_allclose(PREPROCESS["imagenet"].apply(image_bhwc), expected, atol=1e-5)
  np.testing.assert_allclose(PREPROCESS["imagenet"].apply(image_bhwc.astype(np.float32)), expected, atol=1e-5)


def test_larger_images_are_cropped_around_their_centre():
  preprocess = Preprocess("raw", size=(2, 4), channels=1, mean=(0.0,), std=(1.0,))
  image_bhwc = np.arange(6 * 6, dtype=np.float32).reshape(1, 6, 6, 1)
  np.testing.assert_array_equal(
    preprocess.apply(image_bhwc)[0, :, :, 0], [[13, 14, 15, 16], [19, 20, 21, 22]]
  )


@pytest.mark.parametrize(
  ("shape", "dtype", "word"),
  [
    ((1, 111, 112, 3), np.uint8, "111x112"),
    ((1, 112, 112, 1), np.uint8, "(1, 112, 112, 1)"),
    ((112, 112, 3), np.uint8, "(112, 112, 3)"),
    ((1, 112, 112, 3), np.int32, "int32"),
  ],
)
def test_a_wrong_image_is_refused_by_name_of_the_convention(shape, dtype, word):
  with pytest.raises(ValueError, match="'imagenet'") as error:
    PREPROCESS["imagenet"].apply(np.zeros(shape, dtype))
  assert word in str(error.value)


def test_names_sizes_and_json():
  assert get_preprocess("unit", size=64).size == (64, 64)
  assert get_preprocess("unit", size=(112, 96), template="sphereface96x112").template == "sphereface96x112"
  with pytest.raises(ValueError, match=r"'imagnet'.*'imagenet'.*unit"):
    get_preprocess("imagnet")
  for preprocess in (*PREPROCESS.values(), get_preprocess("unit", size=64)):
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
  with pytest.raises(ValueError, match="expected"):
    Preprocess.from_json({"name": "unit"})
  with pytest.raises(ValueError, match="mean"):
    Preprocess("odd", channels=1)
