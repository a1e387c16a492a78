"""Published figures and input checks that all networks share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from jax import Array

from jaxface.models.preprocess import Preprocess, concrete_range

# Wide enough for unit-variance noise in place of an image in a test; unscaled pixels are far outside.
_SLACK = 2.0


@dataclass(frozen=True)
class Published:
  """Figures that a paper reports for its network.

  Attributes:
    paper: authors, title or venue, year, table.
    parameters: as reported; None if it is not.
    multiply_adds: for one image, as reported ("FLOPS" of the older papers are multiply-adds).
    lfw: accuracy on LFW in percent, on the paper's own training set.
    note: information needed for a comparison.
  """

  paper: str
  parameters: float | None = None
  multiply_adds: float | None = None
  lfw: float | None = None
  note: str = ""


def check_image(image_bhwc: Array, convention: Preprocess, network: str) -> None:
  """Rejects images that violate the convention in anything but their size.

  Args:
    image_bhwc: the argument of the network.
    convention: the input convention of the network.
    network: name for the message.
  Raises:
    ValueError: rank, channels or dtype are wrong, or, outside `jit`, the numbers are out of range; names the convention.
  """
  want = f"{network} takes float images [B, H, W, {convention.channels}] as its convention makes them ({convention})"
  if image_bhwc.ndim != 4 or image_bhwc.shape[-1] != convention.channels:
    raise ValueError(f"{want}; got shape {image_bhwc.shape}")
  if not jnp.issubdtype(image_bhwc.dtype, jnp.floating):
    raise ValueError(f"{want}; got {image_bhwc.dtype}: Preprocess.apply converts them")
  found = concrete_range(image_bhwc)
  if found is not None:
    (least, most), (low, high) = found, convention.range
    slack = _SLACK * (high - low)
    if least < low - slack or most > high + slack:
      raise ValueError(f"{want}; got numbers in {least:.4g}..{most:.4g}")


def takes_image(call: Callable[..., Array]) -> Callable[..., Array]:
  """Decorator of a network's `__call__(self, image_bhwc, train)`, under `nn.compact`: rejects images of another convention.

  The network has a `convention`, its `Preprocess`. Another size than the convention's is allowed if the
  parameters were made for it.
  """

  @functools.wraps(call)
  def checked(self: Any, image_bhwc: Array, train: bool = False) -> Array:
    name = type(self).__name__
    check_image(image_bhwc, self.convention, name)
    try:
      return call(self, image_bhwc, train)
    except ScopeParamShapeError as error:
      height, width = image_bhwc.shape[1:3]
      raise ValueError(
        f"{name} has parameters for another image size than {height}x{width} pixels, or of another variant; its"
        f" convention is {self.convention}: {error}"
      ) from error

  return checked


__all__ = ["Published", "check_image", "takes_image"]
