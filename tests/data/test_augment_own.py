"""An augmentation of one's own: what it lacks is named, with the line to add; what it computes is tried before a run."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.augment_own import check_augmentation, check_augmentation_shape
from jaxface.data.augmentation import AugmentConfig, augment
from jaxface.losses.own_part import WrongPart
from jaxface.training.config import Experiment
from jaxface.training.resolve import describe

SHAPE = (8, 6, 3)


@dataclass(frozen=True)
class Fog:
  """Every image is drawn towards white."""

  most: float = 0.5

  def __call__(self, image_hwc, key):
    share = self.most * jax.random.uniform(key)
    return (1 - share) * image_hwc + share * 255


def made(call):
  """An augmentation that does what a function says."""
  return dataclass(frozen=True)(type("Mine", (), {"__call__": call, "__module__": __name__}))()


def test_what_keeps_the_contract_passes():
  check_augmentation(Fog(), image_shape=SHAPE)
  check_augmentation_shape(Fog())


def test_changes_of_ones_own_come_in_order_after_the_others_by_seed_and_position():
  config = AugmentConfig(mirror=0.0, shift=0, jitter=0.0, invert=1.0, own=(Fog(), Fog(0.0)))
  image_bhwc, position_b = np.zeros((4, *SHAPE), np.uint8), np.arange(4, dtype=np.uint32)
  run = jax.jit(augment, static_argnums=3)
  out = np.asarray(run(image_bhwc, 0, position_b, config))
  np.testing.assert_array_equal(out, 255)  # inverted black is white, and stays white in fog
  bright = np.asarray(run(255 - image_bhwc, 0, position_b, config))[:, 0, 0, 0]
  assert len(set(bright.tolist())) == 4 and bright.min() > 0 and bright.max() < 255 / 2
  order = np.array([2, 0, 3, 1])
  np.testing.assert_array_equal(run(255 - image_bhwc, 0, position_b[order], config)[:, 0, 0, 0], bright[order])
  assert not np.array_equal(run(255 - image_bhwc, 1, position_b, config)[:, 0, 0, 0], bright)
  first = np.asarray(run(255 - image_bhwc, 0, position_b, dataclasses.replace(config, own=(Fog(),))))[:, 0, 0, 0]
  np.testing.assert_array_equal(first, bright)  # the second has a key of its own, and here no strength


def test_its_fields_are_options_and_its_class_is_part_of_the_run():
  experiment = Experiment(augment=AugmentConfig(own=(Fog(),))).with_overrides({"augment.own.0.most": "0.25"})
  assert experiment.augment.own == (Fog(0.25),)
  described = describe(experiment)
  assert described["augment.own.0.most"] == 0.25 and described["augment.own.0"] == "Fog"
  assert not Experiment(augment=AugmentConfig(own=(Fog(),))).with_overrides({"augment.own": ""}).augment.own
  with pytest.raises(ValueError, match=r"needs one of its fields, such as --augment\.own\.0\.most"):
    Experiment(augment=AugmentConfig(own=(Fog(),))).with_overrides({"augment.own.0": "fog"})
  with pytest.raises(ValueError, match="needs one of its fields, and it has none"):
    Experiment(augment=AugmentConfig(own=(made(lambda self, image_hwc, key: image_hwc),))).with_overrides({"augment.own.0": "fog"})


@pytest.mark.parametrize(
  ("augmentation", "message"),
  [
    (Fog, r"augment\.own\.0: .*test_augment_own\.py: Fog is a class: give an instance, Fog\(\)"),
    (lambda image_hwc, key: image_hwc, r"is a function: write a class with __call__, under the line\n  @dataclass\(frozen=True\)"),
    (
      dataclass(frozen=True)(type("Mine", (), {}))(),
      r"Mine lacks members of an augmentation\. Add:\n  def __call__\(self, image_hwc, key\): return jnp\.clip\(image_hwc, 0, 255\)",
    ),
    (type("Mine", (), {"__call__": lambda self, image_hwc, key: image_hwc})(), "is not a frozen dataclass"),
    (made(lambda self, image_hwc: image_hwc), r"__call__ takes \(image_hwc\), but too many positional arguments\. It is called as in:"),
    (
      made(lambda self, image_hwc, key: image_hwc if jax.random.uniform(key) < 0.5 else 255 - image_hwc),
      r"fails on an image \[112, 112, 3\], as jit and vmap call it: line \d+: TracerBoolConversionError",
    ),
    (made(lambda self, image_hwc, key: image_hwc[1:]), r"makes float32 \[111, 112, 3\] of an image float32 \[112, 112, 3\]; shape and type"),
    (made(lambda self, image_hwc, key: image_hwc.astype(jnp.uint8)), r"makes uint8 \[112, 112, 3\].*`return jnp\.asarray\(\.\.\., jnp\.float32\)`"),
    (made(lambda self, image_hwc, key: (image_hwc, key)), "makes tuple of an image"),
  ],
)
def test_what_is_missing_is_said_when_an_experiment_is_made(augmentation, message):
  with pytest.raises(WrongPart, match=message):
    AugmentConfig(own=(augmentation,))


def test_own_is_a_tuple():
  with pytest.raises(ValueError, match=r"augment\.own is Fog\(most=0\.5\), should be a tuple of augmentations, such as \(Mine\(\),\)"):
    AugmentConfig(own=Fog())



@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda self, image_hwc, key: image_hwc + 10, r"makes numbers in 10\.\.265; images are in 0\.\.255: `return jnp\.clip\(image_hwc, 0, 255\)`"),
    (lambda self, image_hwc, key: image_hwc / 0, "makes numbers that are not finite"),
    (lambda self, image_hwc, key: image_hwc / 255, r"makes numbers in 0\.\.1 even of a white image; images are in 0\.\.255: `return 255 \* \.\.\.`"),
    (
      lambda self, image_hwc, key: image_hwc * np.random.uniform(),
      r"makes two images of one image and one key: draw from the key alone, as in `jax\.random\.uniform\(key\)`",
    ),
    (
      lambda self, image_hwc, key: image_hwc / (1 + isinstance(image_hwc, jax.core.Tracer)),
      "makes another image under jit than without",
    ),
  ],
)
def test_what_it_computes_is_tried(call, message):
  with pytest.raises(WrongPart, match=rf"augment\.own\.1: .*Mine {message}"):
    check_augmentation(made(call), "augment.own.1", SHAPE)
