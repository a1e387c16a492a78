"""Random augmentation of training images on the device: a function of (seed, position), independent of the batch.

Operations whose probability or strength is 0 are not traced. User-defined operations come last.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import chex
import jax
import jax.numpy as jnp

from jaxface.data import augment_colour as colour
from jaxface.data import augment_geometry as geometry
from jaxface.data import augment_optics as optics
from jaxface.data.augment_own import Augmentation, check_augmentation_shape
from jaxface.seeds import Purpose, device_key

# Each operation has its own random stream, so that enabling one does not change the others: append only.
STREAMS = (
  "mirror", "shift", "crop", "rotate", "low_resolution", "blur", "jitter", "hue", "grey", "invert", "noise", "cut_out",
  "own", "joint",
)
# Operations that move pixels.
MOVING = ("mirror", "shift", "crop", "rotate")

RANGES = {
  "shift": (0, 64),
  "crop_least": (0.1, 1),
  "rotate_degrees": (0, 180),
  "low_resolution_least": (0.05, 1),
  "blur_pixels": (0, 20),
  "saturation": (0, 1),
  "hue": (0, 0.5),
  "noise_deviation": (0, 255),
}


@dataclass(frozen=True)
class AugmentConfig:
  """Operations of the augmentation, their probabilities per image, and their strengths.

  Attributes:
    mirror: probability of swapping left and right.
    shift: largest random shift of every image in each direction, in whole pixels.
    crop: probability of scaling a random window to the full image.
    crop_least: smallest side of the window, a share of the image's.
    rotate: probability of a rotation about the centre.
    rotate_degrees: largest angle.
    low_resolution: probability of downscaling and upscaling.
    low_resolution_least: fewest pixels per side, a share of the image's.
    blur: probability of a Gaussian blur.
    blur_pixels: largest standard deviation in pixels.
    jitter: probability of the next four together.
    brightness: largest change, a share of the full range.
    contrast: largest change of the factor about middle grey.
    saturation: largest change of the factor about grey.
    hue: largest turn, a share of the circle of hues.
    grey: probability of conversion to grey.
    invert: probability of the negative.
    noise: probability of Gaussian noise.
    noise_deviation: largest standard deviation, in units of 0..255.
    cut_out: probability of a middle grey rectangle.
    cut_out_size: its largest side, a share of the image's.
    own: user-defined operations, applied after the others in this order, see `Augmentation`.
  """

  mirror: float = 0.5
  shift: int = 3
  crop: float = 0.0
  crop_least: float = 0.8
  rotate: float = 0.0
  rotate_degrees: float = 15.0
  low_resolution: float = 0.0
  low_resolution_least: float = 0.25
  blur: float = 0.0
  blur_pixels: float = 1.5
  jitter: float = 1.0
  brightness: float = 0.1
  contrast: float = 0.2
  saturation: float = 0.0
  hue: float = 0.0
  grey: float = 0.0
  invert: float = 0.0
  noise: float = 0.0
  noise_deviation: float = 16.0
  cut_out: float = 0.0
  cut_out_size: float = 0.4
  own: tuple[Augmentation, ...] = ()

  def __post_init__(self):
    if not isinstance(self.own, tuple) or any(isinstance(own, (str, int, float)) for own in self.own):
      raise ValueError(f"augment.own is {self.own!r}, should be a tuple of augmentations, such as (Mine(),) in a file of yours")
    for index, own in enumerate(self.own):
      check_augmentation_shape(own, f"augment.own.{index}")
    for field in dataclasses.fields(self):
      if field.name == "own":
        continue
      value = getattr(self, field.name)
      low, high = RANGES.get(field.name, (0, 1))
      if not low <= value <= high:
        raise ValueError(f"augment.{field.name} is {value}, should be in {low}..{high}")
    if self.shift != int(self.shift):
      raise ValueError(f"augment.shift is {self.shift}, should be a whole number of pixels")


def check_still(config: AugmentConfig) -> None:
  """Rejects an augmentation that moves pixels, for images whose targets are positions.

  Raises:
    ValueError: names the operation.
  """
  for name in MOVING:
    if getattr(config, name):
      raise ValueError(f"augment.{name} is {getattr(config, name)}: it would move the pixels and not the targets; set it to 0")


class JointAugmentation(Protocol):
  """An augmentation that changes images and their targets together, such as a rotation of a face and its points.

  A frozen dataclass; it may change the size of the images.

  Attributes:
    image_shape: (height, width, channels) of the images that it takes.
    target_size: T, numbers of a target that it takes.
  """

  @property
  def image_shape(self) -> tuple[int, int, int]: ...
  @property
  def target_size(self) -> int: ...

  def __call__(self, image_bhwc: jax.Array, target_bt: jax.Array, key_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images and targets, each row a function of its own key.

    Args:
      image_bhwc: [B, *image_shape] uint8.
      target_bt: [B, T] float32.
      key_b: [B] random keys.
    Returns:
      [B, H, W, C] float in 0..255 and [B, T'] float32.
    """
    ...


def joint_keys(seed: int | jax.Array, position_b: jax.Array) -> jax.Array:
  """The keys [B] of a joint augmentation, by seed and position as in `augment`."""
  return jax.vmap(jax.random.fold_in, (0, None))(_keys(seed, position_b), STREAMS.index("joint"))


def augment(image_bhwc: jax.Array, seed: int | jax.Array, position_b: jax.Array, config: AugmentConfig) -> jax.Array:
  """Augments each image at random, depending on seed and position.

  Args:
    image_bhwc: [B, H, W, C] uint8 or float, in 0..255; three channels where colours are changed.
    seed: seed of the run.
    position_b: [B] uint32, global position of each image in the order of the run; or [B, 2], its high and low 32 bits.
    config: the operations.
  Returns:
    [B, H, W, C] float32 in 0..255.
  """
  chex.assert_rank([image_bhwc, position_b], [4, {1, 2}])
  chex.assert_equal(image_bhwc.shape[0], position_b.shape[0])
  key_b = _keys(seed, position_b)
  c = config

  def stream(name: str) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (0, None))(key_b, STREAMS.index(name))

  # Shift by whole pixels while the images are still bytes, a quarter of the memory traffic.
  if c.shift:
    image_bhwc = geometry.shift(image_bhwc, stream("shift"), int(c.shift))
  if c.mirror:
    image_bhwc = geometry.mirror(image_bhwc, stream("mirror"), c.mirror)
  image_bhwc = _resample(image_bhwc.astype(jnp.float32), stream, c)
  if c.jitter and (c.brightness or c.contrast):
    image_bhwc = colour.brightness_contrast(image_bhwc, stream("jitter"), c.jitter, c.brightness, c.contrast)
  if c.jitter and (c.saturation or c.hue):
    image_bhwc = colour.saturation_hue(image_bhwc, stream("hue"), c.jitter, c.saturation, c.hue)
  if c.grey:
    image_bhwc = colour.grey(image_bhwc, stream("grey"), c.grey)
  if c.invert:
    image_bhwc = colour.invert(image_bhwc, stream("invert"), c.invert)
  if c.noise and c.noise_deviation:
    image_bhwc = colour.noise(image_bhwc, stream("noise"), c.noise, c.noise_deviation)
  if c.cut_out and c.cut_out_size:
    image_bhwc = colour.cut_out(image_bhwc, stream("cut_out"), c.cut_out, c.cut_out_size)
  for index, own in enumerate(c.own):
    own_b = jax.vmap(jax.random.fold_in, (0, None))(stream("own"), index)
    image_bhwc = jax.vmap(own)(jnp.clip(image_bhwc, 0.0, 255.0), own_b)
  return jnp.clip(image_bhwc, 0.0, 255.0)


def _keys(seed: int | jax.Array, position_b: jax.Array) -> jax.Array:
  high_low = position_b if position_b.ndim == 2 else jnp.stack([jnp.zeros_like(position_b), position_b], 1)
  root = jax.random.key(seed)
  return jax.vmap(lambda word: device_key(root, Purpose.AUGMENT, word[0], word[1]))(high_low)


def _resample(image_bhwc: jax.Array, stream: Callable[[str], jax.Array], c: AugmentConfig) -> jax.Array:
  """Crop, rotation, low resolution and blur: one gather where there is a rotation, one matrix per axis for the rest."""
  batch, height, width, _ = image_bhwc.shape
  crop = c.crop and c.crop_least < 1
  window = geometry.whole_window(batch)
  if crop:
    window = geometry.crop_window(stream("crop"), c.crop, c.crop_least, (height, width))
  rows, columns = [], []
  if c.rotate and c.rotate_degrees:
    image_bhwc = geometry.rotate(image_bhwc, geometry.angles(stream("rotate"), c.rotate, c.rotate_degrees), window)
  elif crop:
    rows.append(geometry.window_matrix(window.scale_b, window.top_b, height))
    columns.append(geometry.window_matrix(window.scale_b, window.left_b, width))
  if c.low_resolution and c.low_resolution_least < 1:
    share_b = optics.pixel_shares(stream("low_resolution"), c.low_resolution, c.low_resolution_least)
    rows.append(optics.low_resolution_matrix(share_b, height))
    columns.append(optics.low_resolution_matrix(share_b, width))
  if c.blur and c.blur_pixels:
    deviation_b = optics.blur_deviations(stream("blur"), c.blur, c.blur_pixels)
    rows.append(optics.blur_matrix(deviation_b, height))
    columns.append(optics.blur_matrix(deviation_b, width))
  if not rows:
    return image_bhwc
  return optics.apply_matrices(image_bhwc, _product(rows), _product(columns))


def _product(matrices: list[jax.Array]) -> jax.Array:
  """The product of the matrices, the first applied first."""
  whole = matrices[0]
  for matrix in matrices[1:]:
    whole = jnp.matmul(matrix, whole, precision=optics.EXACT)
  return whole
