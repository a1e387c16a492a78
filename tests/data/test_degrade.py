"""Images made worse by a known amount."""

import numpy as np
import pytest

from jaxface.data import DEGRADATIONS, DegradedSource, SyntheticSource
from jaxface.formats.images import decode_image, encode_jpeg


@pytest.fixture(scope="module")
def faces():
  return SyntheticSource(5, 2, size=64)


def read(source, record_n=None):
  record_n = np.arange(source.num_records) if record_n is None else np.asarray(record_n)
  out = np.empty((len(record_n), *source.image_shape), np.uint8)
  assert not source.read(record_n, out)
  return out


def degraded(faces, name, level, **given):
  return read(DegradedSource(faces, np.arange(10), name, level, **given))


@pytest.mark.parametrize(("name", "level"), [("pixels", 64 * 64), ("blur", 0), ("noise", 0), ("occlusion", 0), ("", 0)])
def test_the_least_level_changes_nothing(faces, name, level):
  np.testing.assert_array_equal(degraded(faces, name, level), read(faces))


@pytest.mark.parametrize(("name", "mild", "strong"), [
  ("jpeg", 90, 5), ("pixels", 1024, 64), ("blur", 0.5, 3), ("noise", 5, 50), ("occlusion", 0.05, 0.5),
])
def test_a_stronger_level_changes_more_and_the_same_records_alike(faces, name, mild, strong):
  whole = read(faces).astype(float)
  change = [np.abs(degraded(faces, name, level) - whole).mean() for level in (mild, strong)]
  assert 0 < change[0] < change[1]
  few = DegradedSource(faces, np.array([7, 3]), name, strong)
  np.testing.assert_array_equal(read(few, [1, 0]), degraded(faces, name, strong)[[3, 7]])
  assert few.names() == [faces.names()[7], faces.names()[3]] and few.label_n.tolist() == [3, 1]


def test_jpeg_is_that_of_the_codec(faces):
  expected = [decode_image(encode_jpeg(image, quality=30), where="test") for image in read(faces)]
  np.testing.assert_array_equal(degraded(faces, "jpeg", 30), expected)


def test_noise_and_occlusion_have_their_size(faces):
  grey = np.full((64, 64, 3), 127, np.uint8)
  noise = DEGRADATIONS["noise"].change(grey, 20, np.random.default_rng(0)).astype(float) - 127
  assert noise.std() == pytest.approx(20, rel=0.03) and abs(noise.mean()) < 1
  black = np.zeros((64, 64, 3), np.uint8)
  for seed in range(20):
    covered = DEGRADATIONS["occlusion"].change(black, 0.25, np.random.default_rng(seed))[..., 0] > 0
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert covered.mean() == 0.25 and len(rows) == len(columns) == 32 and np.ptp(rows) == np.ptp(columns) == 31


def test_places_depend_on_the_name_and_the_seed_alone(faces):
  one, again, other = (degraded(faces, "occlusion", 0.2, seed=seed) for seed in (1, 1, 2))
  np.testing.assert_array_equal(one, again)
  assert (one != other).any(axis=(1, 2, 3)).sum() >= 8


@pytest.mark.parametrize(("name", "level", "message"), [
  ("rain", 1, "degradation = 'rain' is unknown"), ("jpeg", 0, "jpeg = 0: JPEG quality is from 1 to 100"), ("occlusion", 1.5, "from 0 to 1"),
])
def test_wrong_levels_name_the_right_ones(faces, name, level, message):
  with pytest.raises(ValueError, match=message):
    DegradedSource(faces, np.arange(2), name, level)
