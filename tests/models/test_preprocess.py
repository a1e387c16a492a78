"""Input conventions."""

import jax
import numpy as np
import pytest

from jaxface.models.preprocess import PREPROCESS, Preprocess, changed, get_preprocess


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
  preprocess = Preprocess("raw", size=(2, 4), colour="grey", mean=(0.0,), std=(1.0,))
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
    Preprocess("odd", mean=(1.0, 2.0))
  with pytest.raises(ValueError, match=r"colour 'grb'.*'rgb'.*bgr, grey"):
    get_preprocess("unit", colour="grb")
  with pytest.raises(ValueError, match="crop, resize"):
    get_preprocess("unit", fit="stretch")


def test_resize_takes_the_middle_of_the_right_aspect_and_scales_it():
  image_bhwc = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
  same = Preprocess("raw", (12, 8), mean=(0.0,), std=(1.0,), fit="resize")
  np.testing.assert_array_equal(same.apply(image_bhwc), image_bhwc[:, :, 2:10])
  # A plane stays the plane it is, at the pixels' centres, away from the border.
  x = np.broadcast_to(10.0 * np.arange(12), (1, 12, 12))[..., None].repeat(3, -1).astype(np.float32)
  double = jax.jit(Preprocess("raw", (24, 24), mean=(0.0,), std=(1.0,), fit="resize").apply)(x)
  np.testing.assert_allclose(double[0, 5, 1:-1, 0], 10 * ((np.arange(24) + 0.5) / 2 - 0.5)[1:-1], atol=1e-3)


def test_order_of_colours():
  image_bhwc = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
  plain = Preprocess("raw", (4, 4), mean=(0.0,), std=(1.0,))
  np.testing.assert_array_equal(changed(plain, colour="bgr").apply(image_bhwc), image_bhwc[..., ::-1])
  grey = changed(plain, colour="grey").apply(image_bhwc)
  np.testing.assert_allclose(grey[..., 0], image_bhwc @ [0.299, 0.587, 0.114], rtol=1e-5)
  np.testing.assert_array_equal(changed(plain, colour="grey").apply(image_bhwc[..., :1]), image_bhwc[..., :1])
  # The means are in the order of the colours that the network takes.
  named = Preprocess("raw", (4, 4), mean=(1.0, 2.0, 3.0), std=(1.0,), colour="bgr")
  np.testing.assert_array_equal(named.apply(image_bhwc), image_bhwc[..., ::-1] - np.array([1.0, 2, 3], np.float32))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-127.5, 127.5), (0, 65535)])
def test_floats_of_another_range_are_refused_outside_jit(low, high):
  image_bhwc = np.linspace(low, high, 112 * 112 * 3, dtype=np.float32).reshape(1, 112, 112, 3)
  with pytest.raises(ValueError, match=r"'unit' takes .* 0\.\.255; got numbers in"):
    PREPROCESS["unit"].apply(image_bhwc)
