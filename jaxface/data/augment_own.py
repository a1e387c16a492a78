"""User-defined augmentations: their contract (docs/own_parts.md), and its check before a run."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.losses.own_part import WrongPart, called, check_members, failed

AUGMENTATION_MEMBERS = {"__call__": "def __call__(self, image_hwc, key): return jnp.clip(image_hwc, 0, 255)"}
# Interpolation may exceed the range by rounding errors.
_SLACK = 1e-2
_DRAWS = 8


class Augmentation(Protocol):
  """A random change of one image; a frozen dataclass, whose fields are options (`--augment.own.0.FIELD`)."""

  def __call__(self, image_hwc: Array, key: Array) -> Array:
    """The image, changed.

    Runs on the device under `jit` and `vmap`, after the changes of `AugmentConfig`: a choice is `jnp.where`, not `if`.

    Args:
      image_hwc: [H, W, 3] float32 in 0..255.
      key: random key of this image, a function of the run's seed and of the image's position in its order. All random numbers
        must be drawn from it, so that a resumed run gets the same images.
    Returns:
      [H, W, 3] float32 in 0..255.
    """


def check_augmentation_shape(
  augmentation: Any, where: str = "augmentation", image_shape: tuple[int, ...] = (112, 112, 3)
) -> None:
  """Check an augmentation by abstract evaluation, without devices.

  Args:
    augmentation: see `Augmentation`.
    where: name of its field, for messages.
    image_shape: shape of an image.
  Raises:
    WrongPart: a member is missing, takes other arguments, or returns something else.
  """
  check_members(augmentation, where, Augmentation, AUGMENTATION_MEMBERS)

  def run(image_bhwc: Any) -> Any:
    return jax.vmap(augmentation)(image_bhwc, jax.random.split(jax.random.key(0), len(image_bhwc)))

  try:
    found = jax.eval_shape(run, jax.ShapeDtypeStruct((2, *image_shape), np.float32))
  except Exception as error:
    raise WrongPart(
      f"{called(augmentation, where)} fails on an image {list(image_shape)}, as jit and vmap call it: {failed(augmentation, error)}"
    ) from error
  shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
  if shape != (2, *image_shape) or dtype != np.float32:
    given = f"{dtype} {list(shape[1:])}" if shape else type(found).__name__
    raise WrongPart(
      f"{called(augmentation, where)} makes {given} of an image float32 {list(image_shape)}; shape and type must stay:"
      " `return jnp.asarray(..., jnp.float32)`"
    )


def check_augmentation(
  augmentation: Any, where: str = "augmentation", image_shape: tuple[int, ...] = (112, 112, 3)
) -> None:
  """Check an augmentation on a noisy, a black and a white image.

  Args:
    augmentation: see `Augmentation`.
    where: name of its field, for messages.
    image_shape: shape of an image.
  Raises:
    WrongPart: it violates its contract: another shape, values outside 0..255, random numbers that do not come from the key,
      or another result when compiled.
  """
  check_augmentation_shape(augmentation, where, image_shape)
  name = called(augmentation, where)
  noisy_hwc = np.random.default_rng(0).integers(0, 256, image_shape)
  image_nhwc = jnp.asarray(np.stack([noisy_hwc, np.zeros(image_shape), np.full(image_shape, 255)]), jnp.float32)
  key_nd = jax.random.split(jax.random.key(0), (len(image_nhwc), _DRAWS))
  drawn_ndhwc = np.asarray(jax.jit(jax.vmap(jax.vmap(augmentation, (None, 0))))(image_nhwc, key_nd))
  if not np.isfinite(drawn_ndhwc).all():
    raise WrongPart(f"{name} makes numbers that are not finite; images are in 0..255")
  least, most = float(drawn_ndhwc.min()), float(drawn_ndhwc.max())
  if least < -_SLACK or most > 255 + _SLACK:
    raise WrongPart(
      f"{name} makes numbers in {least:.4g}..{most:.4g}; images are in 0..255: `return jnp.clip(image_hwc, 0, 255)`"
    )
  if most <= 1:
    raise WrongPart(f"{name} makes numbers in {least:.4g}..{most:.4g} even of a white image; images are in 0..255: `return 255 * ...`")
  for image_hwc, key_d, drawn_dhwc in zip(image_nhwc, key_nd, drawn_ndhwc):
    first_hwc, second_hwc = (np.asarray(augmentation(image_hwc, key_d[0])) for _ in range(2))
    if not np.array_equal(first_hwc, second_hwc):
      raise WrongPart(
        f"{name} makes two images of one image and one key: draw from the key alone, as in `jax.random.uniform(key)`"
      )
    # One of a thousand pixels may round to the other side of a threshold.
    if np.mean(np.abs(first_hwc - drawn_dhwc[0]) > 1) > 1e-3:
      raise WrongPart(
        f"{name} makes another image under jit than without: what it computes must depend on image and key alone"
      )


__all__ = ["AUGMENTATION_MEMBERS", "Augmentation", "check_augmentation", "check_augmentation_shape"]
