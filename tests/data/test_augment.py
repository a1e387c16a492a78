"""Laws of augmentation as a whole: keys, batches, devices, ranges, the limits of its configuration."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.augmentation import STREAMS, AugmentConfig, augment


@dataclasses.dataclass(frozen=True)
class Rows:
  """An augmentation of one's own: some rows of the image turn grey."""

  probability: float = 1.0

  def __call__(self, image_hwc, key):
    drawn, where = jax.random.split(key)
    grey_h = jax.random.bernoulli(where, 0.5, image_hwc.shape[:1]) & jax.random.bernoulli(drawn, self.probability)
    return jnp.where(grey_h[:, None, None], 128.0, image_hwc)


OFF = AugmentConfig(mirror=0.0, shift=0, jitter=0.0)
ALONE = {
  "mirror": {"mirror": 1.0},
  "shift": {"shift": 2},
  "crop": {"crop": 1.0},
  "rotate": {"rotate": 1.0},
  "low_resolution": {"low_resolution": 1.0},
  "blur": {"blur": 1.0},
  "jitter": {"jitter": 1.0},
  "hue": {"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.5, "hue": 0.3},
  "grey": {"grey": 1.0},
  "invert": {"invert": 1.0},
  "noise": {"noise": 1.0},
  "cut_out": {"cut_out": 1.0},
  "own": {"own": (Rows(),)},
}
EVERYTHING = AugmentConfig(
  crop=0.5, rotate=0.5, low_resolution=0.5, blur=0.5, saturation=0.3, hue=0.1, grey=0.3, invert=0.3, noise=0.5, cut_out=0.5,
  own=(Rows(0.5), Rows(0.5)),
)


@pytest.fixture(scope="module")
def image_bhwc():
  return np.random.default_rng(0).integers(0, 256, (16, 20, 18, 3), dtype=np.uint8)


POSITION = np.arange(100, 116, dtype=np.uint32)
run = jax.jit(augment, static_argnums=3)


def test_everything_off_is_the_identity(image_bhwc):
  out = run(image_bhwc, 0, POSITION, OFF)
  assert out.dtype == jnp.float32
  np.testing.assert_array_equal(out, image_bhwc.astype(np.float32))


def test_what_is_off_is_not_traced(image_bhwc):
  def size(config):
    return len(jax.make_jaxpr(lambda image: augment(image, 0, POSITION, config))(image_bhwc).eqns)

  for change in ALONE.values():
    assert size(OFF) < size(dataclasses.replace(OFF, **change)) < size(EVERYTHING)


def test_every_stream_is_tried_here():
  assert set(ALONE) | {"joint"} == set(STREAMS)  # joint: keys of `JointAugmentation`, which augment does not use


@pytest.mark.parametrize("name", ALONE)
def test_each_operation_changes_images_within_the_range(image_bhwc, name):
  out = np.asarray(run(image_bhwc, 0, POSITION, dataclasses.replace(OFF, **ALONE[name])))
  changed_b = np.abs(out - image_bhwc).max((1, 2, 3)) > 0
  assert changed_b.mean() > 0.6
  assert out.min() >= 0 and out.max() <= 255
  assert np.isfinite(out).all()


@pytest.mark.parametrize("name", sorted(set(ALONE) - {"shift"}))
def test_probability_is_kept(name):
  """Over 600 images a probability of 0.3 is met within four standard deviations; shift has none."""
  change = {key: 0.3 if value == 1.0 else (Rows(0.3),) if key == "own" else value for key, value in ALONE[name].items()}
  image = np.random.default_rng(1).integers(0, 256, (600, 12, 12, 3), dtype=np.uint8)
  out = np.asarray(run(image, 3, np.arange(600, dtype=np.uint32), dataclasses.replace(OFF, **change)))
  share = (np.abs(out - image).max((1, 2, 3)) > 1e-3).mean()
  # A rotation or a crop may be too small to move a pixel, never the other way round.
  assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 600) + 0.01


def test_an_image_does_not_depend_on_its_batch(image_bhwc):
  whole = run(image_bhwc, 7, POSITION, EVERYTHING)
  order = np.random.default_rng(2).permutation(16)
  np.testing.assert_allclose(run(image_bhwc[order], 7, POSITION[order], EVERYTHING), whole[order], atol=1e-3)
  few = run(image_bhwc[3:5], 7, POSITION[3:5], AugmentConfig())
  np.testing.assert_allclose(few, run(image_bhwc, 7, POSITION, AugmentConfig())[3:5], atol=1e-3)


def test_one_and_eight_devices_agree(image_bhwc):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  image, position = jax.device_put((image_bhwc, POSITION), rows)
  spread = run(image, 7, position, EVERYTHING)
  assert len(spread.sharding.device_set) == 8
  np.testing.assert_allclose(spread, run(image_bhwc, 7, POSITION, EVERYTHING), atol=1e-3)


def test_seeds_and_positions_differ(image_bhwc):
  same = np.repeat(image_bhwc[:1], 16, 0)
  first = np.asarray(run(same, 0, POSITION, EVERYTHING))
  assert len(np.unique(first.reshape(16, -1), axis=0)) == 16
  assert not np.array_equal(first, run(same, 1, POSITION, EVERYTHING))
  np.testing.assert_array_equal(first, run(same, 0, POSITION, EVERYTHING))


def test_high_words_of_positions_count(image_bhwc):
  pair = np.stack([np.zeros_like(POSITION), POSITION], 1)
  low = run(image_bhwc, 0, POSITION, AugmentConfig())
  np.testing.assert_array_equal(run(image_bhwc, 0, pair, AugmentConfig()), low)
  pair[:, 0] = 1
  assert not np.array_equal(run(image_bhwc, 0, pair, AugmentConfig()), low)
  large = run(image_bhwc, 0, POSITION + np.uint32(2**31), AugmentConfig())
  assert np.isfinite(large).all() and not np.array_equal(large, low)


def test_one_operation_does_not_disturb_another(image_bhwc):
  """Turning inversion on leaves the same images mirrored."""
  mirrored = run(image_bhwc, 5, POSITION, dataclasses.replace(OFF, mirror=0.5))
  both = run(image_bhwc, 5, POSITION, dataclasses.replace(OFF, mirror=0.5, invert=1.0))
  np.testing.assert_array_equal(both, 255 - mirrored)


def test_traced_once_for_all_seeds_and_positions(image_bhwc):
  limited = jax.jit(chex.assert_max_traces(lambda image, seed, position: augment(image, seed, position, AugmentConfig()), n=1))
  for seed in range(3):
    limited(image_bhwc, np.int32(seed), POSITION + np.uint32(seed))


@pytest.mark.parametrize(
  "field, value, valid",
  [
    ("mirror", 1.5, "0..1"),
    ("shift", -1, "0..64"),
    ("crop_least", 0.0, "0.1..1"),
    ("hue", 0.7, "0..0.5"),
    ("noise_deviation", 300, "0..255"),
    ("cut_out", float("nan"), "0..1"),
  ],
)
def test_out_of_range_fields_are_named(field, value, valid):
  with pytest.raises(ValueError, match=rf"augment\.{field} is .*{valid}"):
    AugmentConfig(**{field: value})


def test_shift_is_whole():
  with pytest.raises(ValueError, match=r"augment\.shift is 1\.5, should be a whole number"):
    AugmentConfig(shift=1.5)


def test_wrong_ranks_and_batches():
  with pytest.raises(AssertionError):
    augment(np.zeros((4, 4, 3)), 0, np.zeros(4, np.uint32), OFF)
  with pytest.raises(AssertionError):
    augment(np.zeros((2, 4, 4, 3)), 0, np.zeros(3, np.uint32), OFF)
