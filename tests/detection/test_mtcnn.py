"""The cascade: against a slow one from the published code, and its laws: batches, padding, compilations, any size of photo."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import slow_mtcnn
from hypothesis import given
from hypothesis import strategies as st

from jaxface import detection
from jaxface.detection import mtcnn
from jaxface.detection.area import area_means, bins, crops, integral
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.detection.pyramid import layout
from jaxface.detection.size_classes import row_class, side_class

CONFIG = MtcnnConfig(smallest=14, thresholds=(0.55, 0.42, 0.28))


def photo(height, width, seed=0):
  """Smooth noise."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3))
  return np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)


@pytest.fixture(scope="module")
def detector(random_params):
  return Mtcnn(random_params, CONFIG)


def assert_same(a, b, atol=1e-3):
  assert len(a) == len(b)
  np.testing.assert_allclose(a.box_n4, b.box_n4, atol=atol)
  np.testing.assert_allclose(a.score_n, b.score_n, atol=1e-5)
  np.testing.assert_allclose(a.point_n52, b.point_n52, atol=atol)


@pytest.mark.parametrize(("border", "points_in"), [("zeros", "crop"), ("crop", "crop"), ("crop", "box")])
def test_the_cascade_equals_the_slow_one(random_params, border, points_in):
  size = 41, 57
  image = photo(*size)
  expected = slow_mtcnn.detect(random_params, image, CONFIG.smallest, CONFIG.thresholds, border, points_in)
  assert len(expected) > 3  # something to compare
  found = detection.detect([image], Mtcnn(random_params, replace(CONFIG, border=border, points_in=points_in)))[0]
  assert found.size == size
  np.testing.assert_allclose(found.score_n, [score for _, score, _ in expected], atol=1e-5)
  np.testing.assert_allclose(found.box_n4, [box for box, _, _ in expected], atol=1e-3)
  np.testing.assert_allclose(found.point_n52, [point for _, _, point in expected], atol=1e-3)


def test_photos_of_a_class_share_programs(detector):
  sizes = [(41, 57), (44, 60), (48, 64)]  # one size class
  assert len({(side_class(height), side_class(width)) for height, width in sizes}) == 1
  one = jax.local_devices()[:1]  # each device compiles its own programs
  detection.detect([photo(*sizes[0])], detector, devices=one)
  before = mtcnn.propose._cache_size()
  detection.detect([photo(*size, seed) for seed, size in enumerate(sizes)], detector, devices=one)
  assert mtcnn.propose._cache_size() == before
  # crops and networks are compiled per class of counts: up to 256 for R-Net and 64 for O-Net
  classes = sum(len({row_class(count, most) for count in range(most + 1)}) for most in mtcnn.MOST_CROPS.values())
  assert classes == 8
  assert mtcnn.cut._cache_size() <= classes and mtcnn.score._cache_size() <= classes


def test_batches_and_devices_do_not_change_results(detector):
  images = [photo(41, 57), photo(44, 60, 1), photo(48, 64, 2)]
  alone = detection.detect(images, detector, batch_size=1, devices=jax.local_devices()[:1])
  together = detection.detect(images, detector, batch_size=2, devices=jax.local_devices()[:2])
  assert min(map(len, alone)) > 0
  for one, other in zip(alone, together):
    assert_same(one, other)


def test_number_of_classes():
  assert len({side_class(side) for side in range(1, 4097)}) <= 32
  assert all(side <= side_class(side) <= max(32, 1.26 * side) for side in range(1, 5000))
  assert [row_class(count) for count in (0, 1, 16, 17, 1000)] == [16, 16, 16, 32, 1024]
  assert row_class(1000, 256) == 256


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (13, 13), (20, 20)])
def test_tiny_photos(detector, size):
  found = detection.detect([np.zeros((*size, 3), np.uint8)], detector)[0]
  assert found.size == size and found.point_n52.shape == (len(found), 5, 2)


def test_no_candidates_anywhere(random_params):
  strict = Mtcnn(random_params, MtcnnConfig(smallest=14, thresholds=(1, 1, 1)))
  assert len(detection.detect([photo(41, 57)], strict)[0]) == 0
  late = Mtcnn(random_params, MtcnnConfig(smallest=14, thresholds=(0.55, 1, 1)))
  assert len(detection.detect([photo(41, 57)], late)[0]) == 0


@pytest.mark.parametrize("kind", ["gaussian", "linear", "none"])
def test_soft_suppression_keeps_more_boxes_with_lower_scores(random_params, detector, kind):
  soft = Mtcnn(random_params, MtcnnConfig(
    smallest=14, thresholds=CONFIG.thresholds, final=detection.Suppression(kind, 0.7, of="smaller", inclusive=True, least=0)))
  hard, found = (detection.detect([photo(41, 57)], each)[0] for each in (detector, soft))
  assert len(found) >= len(hard) > 0
  assert (np.diff(found.score_n) <= 0).all()
  assert found.score_n[0] == hard.score_n[0]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_means_over_areas_equal_their_definition(height, width, rows, columns, seed):
  image = np.random.default_rng(seed).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
  image[:, height:] = image[:, :, width:] = 77  # padding of the size class
  y = bins(np.int32(height), np.int32(rows), np.arange(50)[:, None])
  x = bins(np.int32(width), np.int32(columns), np.arange(50)[None])
  found = _means(_sums(image)[0], x, y)
  np.testing.assert_allclose(found[:rows, :columns], slow_mtcnn.area(image[0, :height, :width], rows, columns), rtol=1e-6)


_sums, _means = jax.jit(integral), jax.jit(area_means)
_crops = jax.jit(crops, static_argnames="side")


def test_crops_beyond_the_border_are_filled_with_zeros():
  image = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
  sums = _sums(image)
  boxes = np.array([[-6, -5, 18, 19], [10, 4, 34, 28], [2, 3, 14, 11]], np.int32)
  found = _crops(sums.reshape(-1, 3), np.array(sums.shape[1:3]), np.array([1, 0, 1]), boxes, 12)
  wide = np.pad(image, ((0, 0), (40, 40), (40, 40), (0, 0)))
  for crop, number, (x0, y0, x1, y1) in zip(found, (1, 0, 1), boxes + 40):
    np.testing.assert_allclose(crop, slow_mtcnn.area(wide[number, y0:y1, x0:x1], 12, 12), rtol=1e-5, atol=1e-4)


def test_sums_that_wrap_around_are_exact():
  image = np.full((1, 3000, 3000, 1), 255, np.uint8)  # 2.3e9 in all, beyond int32
  sums = _sums(image)
  assert (np.asarray(sums[0, 3000, 3000] - sums[0, 100, 3000] - sums[0, 3000, 200] + sums[0, 100, 200]) == 255 * 2900 * 2800).all()


@given(st.integers(1, 300), st.integers(1, 300), st.floats(10, 40))
def test_levels_lie_apart_in_the_canvas(height, width, smallest):
  plan = layout(height, width, window=12, smallest=smallest, factor=0.709)
  sizes = plan.photo_sizes(height, width)
  assert (plan.level_hw >= 0).sum() == sizes.prod(-1).sum()  # no pixel belongs to two levels
  for number, (rows, columns) in enumerate(sizes):
    y, x = np.nonzero(plan.level_hw == number)
    assert (y.min() % 2, x.min() % 2) == (0, 0)
    assert (y.max() - y.min() + 1, x.max() - x.min() + 1) == (rows, columns)
  if sizes.size:
    assert plan.level_hw.size <= 1.6 * sizes.prod(-1).sum() + 4000


def test_wrong_settings_are_named():
  for settings, message in (({"smallest": 1}, "smallest is 1"), ({"thresholds": (0.5, 2, 0.5)}, "thresholds are"),
                            ({"factor": 1}, "factor is 1"), ({"border": "mirror"}, "takes crop, zeros"),
                            ({"points_in": "photo"}, "takes box, crop")):
    with pytest.raises(ValueError, match=message):
      MtcnnConfig(**settings)
  with pytest.raises(ValueError, match="suppression 'none of it': takes hard"):
    detection.Suppression("none of it")
