"""Input conventions by name: what a network expects its pixels to be."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxface.models.registry import unknown


@dataclass(frozen=True)
class Preprocess:
  """From RGB pixels in 0..255 to the numbers a network was trained on.

  Attributes:
    name: of the convention.
    size: height and width in pixels that the network takes; larger images are cropped around their centre.
    channels: of the image.
    mean: subtracted, per channel, in units of 0..255.
    std: divided by, per channel, in units of 0..255.
    template: alignment template that the network was trained on.
  """

  name: str
  size: tuple[int, int] = (112, 112)
  channels: int = 3
  mean: tuple[float, ...] = (127.5, 127.5, 127.5)
  std: tuple[float, ...] = (127.5, 127.5, 127.5)
  template: str = "arcface112"

  def __post_init__(self):
    for field in ("mean", "std"):
      if len(getattr(self, field)) != self.channels:
        numbers = len(getattr(self, field))
        raise ValueError(f"preprocess {self.name!r}: {field} has {numbers} numbers, expected {self.channels}")
    if min(self.size) < 1 or min(self.std) <= 0:
      raise ValueError(f"preprocess {self.name!r}: size {self.size} and std {self.std} must be positive")

  def apply(self, image_bhwc: Array) -> Array:
    """Crop around the centre and normalise; can be jitted.

    Args:
      image_bhwc: [B, H, W, C] uint8, or float in 0..255.
    Returns:
      [B, *size, C] float32.
    Raises:
      ValueError: another rank, dtype or number of channels, or an image smaller than `size`.
    """
    height, width = self.size
    shape = f"[B, H >= {height}, W >= {width}, {self.channels}]"
    want = f"preprocess {self.name!r} takes {shape} uint8, or float in 0..255"
    if image_bhwc.ndim != 4 or image_bhwc.shape[-1] != self.channels:
      raise ValueError(f"{want}; got shape {image_bhwc.shape}")
    if image_bhwc.dtype != jnp.uint8 and not jnp.issubdtype(image_bhwc.dtype, jnp.floating):
      raise ValueError(f"{want}; got {image_bhwc.dtype}")
    rows, columns = image_bhwc.shape[1:3]
    if rows < height or columns < width:
      raise ValueError(f"{want}; got {rows}x{columns} pixels")
    top, left = (rows - height) // 2, (columns - width) // 2
    crop_bhwc = image_bhwc[:, top : top + height, left : left + width].astype(jnp.float32)
    return (crop_bhwc - jnp.asarray(self.mean, jnp.float32)) / jnp.asarray(self.std, jnp.float32)

  def to_json(self) -> dict[str, Any]:
    """Plain numbers and strings, for `from_json`."""
    return asdict(self)

  @classmethod
  def from_json(cls, plain: dict[str, Any]) -> "Preprocess":
    """The inverse of `to_json`; raises ValueError that names a missing, unknown or mistyped entry."""
    fields = cls.__dataclass_fields__
    if not isinstance(plain, dict) or set(plain) != set(fields):
      found = sorted(plain) if isinstance(plain, dict) else type(plain).__name__
      raise ValueError(f"preprocess has entries {found}, expected {sorted(fields)}")
    try:
      size = tuple(int(n) for n in plain["size"])
      mean, std = (tuple(float(n) for n in plain[key]) for key in ("mean", "std"))
      if len(size) != 2:
        raise ValueError(f"size {plain['size']} is not (height, width)")
      return cls(str(plain["name"]), size, int(plain["channels"]), mean, std, str(plain["template"]))
    except TypeError as error:
      raise ValueError(f"preprocess: {error}") from error


PREPROCESS: dict[str, Preprocess] = {
  p.name: p
  for p in (
    Preprocess("unit"),
    # ImageNet's means and deviations of x / 255, as torchvision prints them.
    Preprocess(
      "imagenet",
      mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
      std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
  )
}


def get_preprocess(name: str, *, size: int | tuple[int, int] = 0, template: str | None = None) -> Preprocess:
  """A registered convention, for another image size or template if asked.

  Args:
    name: one of `PREPROCESS`.
    size: height and width in pixels, one number for a square; 0 keeps 112×112.
    template: name of the alignment template; None keeps "arcface112".
  Raises:
    ValueError: no such convention; the message lists them.
  """
  if name not in PREPROCESS:
    raise ValueError(unknown("preprocess", name, sorted(PREPROCESS)))
  found = PREPROCESS[name]
  if size:
    height, width = (size, size) if isinstance(size, int) else size
    found = replace(found, size=(height, width))
  return found if template is None else replace(found, template=template)


__all__ = ["PREPROCESS", "Preprocess", "get_preprocess"]
