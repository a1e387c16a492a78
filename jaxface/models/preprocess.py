"""Input conventions by name: size, range, colour order and alignment that a network expects."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.models.registry import unknown

COLOURS = {"rgb": 3, "bgr": 3, "grey": 1}
FITS = ("crop", "resize")
# Rec. 601, as in Pillow and OpenCV.
LUMA = (0.299, 0.587, 0.114)


def concrete_range(x: Array) -> tuple[float, float] | None:
  """Minimum and maximum of an array; None for a tracer (under `jit`) and for an empty array."""
  if isinstance(x, jax.core.Tracer) or not x.size:
    return None
  numbers = np.asarray(x, np.float32)
  return float(numbers.min()), float(numbers.max())


def to_grey(image_bhwc: Array) -> Array:
  """RGB [B, H, W, 3] to [B, H, W, 1]."""
  return jnp.tensordot(image_bhwc, jnp.asarray(LUMA, image_bhwc.dtype), 1)[..., None]


@dataclass(frozen=True)
class Preprocess:
  """Conversion of RGB pixels in 0..255 to the input that a network was trained on.

  Attributes:
    name: name of the convention.
    size: height and width of the input in pixels.
    mean: subtracted, per channel in the order of `colour`, in units of 0..255; one number applies to all channels.
    std: divisor, likewise.
    template: alignment template that the network was trained on; "unknown" if not specified.
    colour: order of the channels: "rgb", "bgr", or "grey", one channel by the weights of Rec. 601.
    fit: how an image of another size is fitted to `size`: "crop" takes the middle and rejects a smaller image; "resize"
      crops the middle to the aspect ratio and resizes it.
  """

  name: str
  size: tuple[int, int] = (112, 112)
  mean: tuple[float, ...] = (127.5,)
  std: tuple[float, ...] = (127.5,)
  template: str = "arcface112"
  colour: str = "rgb"
  fit: str = "crop"

  def __post_init__(self):
    for field, valid in (("colour", tuple(COLOURS)), ("fit", FITS)):
      if getattr(self, field) not in valid:
        raise ValueError(f"preprocess {self.name!r}: {unknown(field, getattr(self, field), list(valid))}")
    for field in ("mean", "std"):
      numbers = len(getattr(self, field))
      if numbers not in (1, self.channels):
        raise ValueError(f"preprocess {self.name!r}: {field} has {numbers} numbers, expected 1 or {self.channels}")
    if min(self.size) < 1 or min(self.std) <= 0:
      raise ValueError(f"preprocess {self.name!r}: size {self.size} and std {self.std} must be positive")

  @property
  def channels(self) -> int:
    """Number of channels of the input."""
    return COLOURS[self.colour]

  @property
  def range(self) -> tuple[float, float]:
    """The smallest and largest value of a converted pixel."""
    mean, std = np.broadcast_arrays(np.asarray(self.mean), np.asarray(self.std))
    return float(((0 - mean) / std).min()), float(((255 - mean) / std).max())

  def __str__(self) -> str:
    height, width = self.size
    low, high = self.range
    return (
      f"{self.name!r}: {height}x{width} pixels, {self.colour}, scaled to {low:.4g}..{high:.4g}, template {self.template!r}"
    )

  def apply(self, image_bhwc: Array) -> Array:
    """Convert images to the size, colour order and range of the convention; can be jitted.

    Args:
      image_bhwc: [B, H, W, 3] RGB, or [B, H, W, 1] for grey input; uint8, or float in 0..255.
    Returns:
      [B, *size, channels] float32.
    Raises:
      ValueError: another rank, dtype or number of channels; an image too small for the crop; outside `jit` also floats
        outside of 0..255, or all between 0 and 1 (already scaled).
    """
    self.check(image_bhwc)
    x_bhwc = self._fit(image_bhwc.astype(jnp.float32))
    if self.colour == "grey" and x_bhwc.shape[-1] == 3:
      x_bhwc = to_grey(x_bhwc)
    elif self.colour == "bgr":
      x_bhwc = x_bhwc[..., ::-1]
    return (x_bhwc - jnp.asarray(self.mean, jnp.float32)) / jnp.asarray(self.std, jnp.float32)

  def check(self, image_bhwc: Array) -> None:
    """Rejects images that `apply` does not take, with its errors."""
    height, width = self.size
    least = f"H >= {height}, W >= {width}" if self.fit == "crop" else "H, W"
    last = "3 or 1" if self.colour == "grey" else "3"
    want = f"preprocess {self.name!r} takes [B, {least}, {last}] uint8, or float in 0..255"
    if image_bhwc.ndim != 4 or image_bhwc.shape[-1] not in (3, self.channels):
      raise ValueError(f"{want}; got shape {image_bhwc.shape}")
    if image_bhwc.dtype != jnp.uint8 and not jnp.issubdtype(image_bhwc.dtype, jnp.floating):
      raise ValueError(f"{want}; got {image_bhwc.dtype}")
    found = None if image_bhwc.dtype == jnp.uint8 else concrete_range(image_bhwc)
    if found is not None:
      low, high = found
      # Rounding errors or an overshooting resize may exceed the range slightly.
      if low < -8 or high > 263:
        raise ValueError(f"{want}; got numbers in {low:.4g}..{high:.4g}")
      if 0 < high <= 1:
        raise ValueError(f"{want}; got numbers in {low:.4g}..{high:.4g}, which seem to be scaled already")
    rows, columns = image_bhwc.shape[1:3]
    if self.fit == "crop" and (rows < height or columns < width):
      raise ValueError(f"{want}; got {rows}x{columns} pixels")

  def middle(self, image_bhwc: Array) -> Array:
    """The part of images that the network sees, before it is resized: the middle, at `size` or at its aspect ratio."""
    (rows, columns), (height, width) = image_bhwc.shape[1:3], self.size
    if self.fit == "crop":
      keep_h, keep_w = height, width
    else:
      keep_h = min(rows, max(1, round(columns * height / width)))
      keep_w = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - keep_h) // 2, (columns - keep_w) // 2
    return image_bhwc[:, top : top + keep_h, left : left + keep_w]

  def _fit(self, x_bhwc: Array) -> Array:
    """`x_bhwc` at the size of the convention."""
    x_bhwc, (height, width) = self.middle(x_bhwc), self.size
    if x_bhwc.shape[1:3] == self.size:
      return x_bhwc
    return jax.image.resize(x_bhwc, (x_bhwc.shape[0], height, width, x_bhwc.shape[-1]), "linear")

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
      return cls(str(plain["name"]), size, mean, std, *(str(plain[key]) for key in ("template", "colour", "fit")))
    except TypeError as error:
      raise ValueError(f"preprocess: {error}") from error


PREPROCESS: dict[str, Preprocess] = {
  p.name: p
  for p in (
    Preprocess("unit"),
    Preprocess("zero_one", mean=(0.0,), std=(255.0,)),
    # Caffe's (x − 127.5) / 128 on OpenCV's channel order: SphereFace and its successors.
    Preprocess("sphereface", (112, 96), std=(128.0,), template="sphereface96x112", colour="bgr"),
    # ImageNet's means and deviations of x / 255, as in torchvision.
    Preprocess(
      "imagenet",
      mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
      std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    # The means of the released VGG-Face network, without a divisor.
    Preprocess("vggface", (224, 224), mean=(129.1863, 104.7624, 93.5940), std=(1.0,), fit="resize"),
    Preprocess("lightcnn", (128, 128), mean=(0.0,), std=(255.0,), template="lightcnn128", colour="grey", fit="resize"),
  )
}


def get_preprocess(
  name: str, *, size: int | tuple[int, int] = 0, template: str | None = None, colour: str = "", fit: str = ""
) -> Preprocess:
  """A registered convention, with optional changes.

  Args:
    name: one of `PREPROCESS`.
    size: height and width in pixels, one number for a square; 0 keeps the convention's.
    template: name of the alignment template; None keeps the convention's.
    colour: order of the channels; "" keeps the convention's.
    fit: how images of another size are treated; "" keeps the convention's.
  Raises:
    ValueError: no such convention; the message lists them.
  """
  if name not in PREPROCESS:
    raise ValueError(unknown("preprocess", name, sorted(PREPROCESS)))
  return changed(PREPROCESS[name], size=size, template=template, colour=colour, fit=fit)


def changed(
  preprocess: Preprocess, *, size: int | tuple[int, int] = 0, template: str | None = None, colour: str = "", fit: str = ""
) -> Preprocess:
  """A convention with the given values replaced; see `get_preprocess`."""
  changes: dict[str, Any] = {key: value for key, value in (("colour", colour), ("fit", fit)) if value}
  if size:
    changes["size"] = (size, size) if isinstance(size, int) else (size[0], size[1])
  return replace(preprocess, **changes, template=preprocess.template if template is None else template)


__all__ = ["COLOURS", "FITS", "PREPROCESS", "Preprocess", "changed", "concrete_range", "get_preprocess", "to_grey"]
