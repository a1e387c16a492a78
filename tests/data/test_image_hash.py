"""Perceptual hashes against an independent transform, and what they must and must not change with."""

import functools

import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxface.data import SyntheticSource
from jaxface.data.image_hash import near_hashes, perceptual_hash
from jaxface.formats.images import decode_image, encode_jpeg


@functools.cache
def faces():
  """Rendered faces [12, 96, 96, 3] of as many people."""
  source = SyntheticSource(12, 1, size=96)
  out = np.empty((12, 96, 96, 3), np.uint8)
  assert not source.read(np.arange(12), out)
  return out


def oracle(image_hwc):
  grey = np.asarray(Image.fromarray(image_hwc).convert("L").convert("F").resize((64, 64), Image.Resampling.BOX), np.float64)
  wave = scipy.fft.dctn(grey, type=2)[:16, :16].ravel()
  return wave > np.median(wave[1:])


def differ(one, other):
  return int(np.bitwise_count(one ^ other).sum())


@given(st.integers(0, 10**6), st.integers(65, 150), st.integers(65, 150))
def test_a_bit_is_a_frequency_above_the_median(seed, height, width):
  image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
  np.testing.assert_array_equal(np.unpackbits(perceptual_hash(image)[0]).astype(bool), oracle(image))


@given(st.integers(0, 10**6), st.sampled_from([64, 128, 192]))
def test_the_second_hash_is_that_of_the_mirror_image(seed, width):
  # Of a width that is reduced by whole pixels: others are cut at different places from the left and from the right.
  image = np.random.default_rng(seed).integers(0, 256, (70, width, 3), np.uint8)
  mirror = np.ascontiguousarray(image[:, ::-1])
  # Rounding may turn the bit of a frequency at the median.
  assert differ(perceptual_hash(image)[1], perceptual_hash(mirror)[0]) <= 2


@pytest.mark.parametrize("change", [
  lambda image: decode_image(encode_jpeg(image, quality=40), where="test"),
  lambda image: np.asarray(Image.fromarray(image).resize((80, 80), Image.Resampling.BICUBIC)),
  lambda image: np.clip(image * 0.8 + 10, 0, 255).astype(np.uint8),
], ids=["jpeg", "size", "brightness"])
def test_a_changed_copy_is_near_and_another_picture_is_not(change):
  hashes = [perceptual_hash(face)[0] for face in faces()]
  for face, own in zip(faces(), hashes):
    near = perceptual_hash(change(face))[0]
    assert differ(own, near) <= 20
    assert min(differ(near, other) for other in hashes if other is not own) > 40


@given(st.integers(0, 10**6), st.integers(0, 80), st.integers(0, 140), st.integers(0, 128))
def test_near_hashes_are_all_pairs_within_the_distance(seed, n, m, distance):
  random = np.random.default_rng(seed)
  left, right = (random.integers(0, 256, (count, 32), np.uint8) for count in (n, m))
  if n and m:
    right[0] = left[-1]
  every = np.bitwise_count(left[:, None] ^ right[None]).sum(axis=2) if n and m else np.zeros((n, m), int)
  expected = [(row, column, every[row, column]) for row, column in np.argwhere(every <= distance)]
  assert near_hashes(left, right, distance).tolist() == [list(map(int, one)) for one in expected]
