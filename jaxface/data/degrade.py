"""Images made worse by a known amount: compression, resolution, blur, noise, occlusion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

from jaxface.data.source import Source, UnreadableRow
from jaxface.formats.images import decode_image, encode_jpeg
from jaxface.losses.ranges import check_name

Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
GREY = 127


@dataclass(frozen=True)
class Degradation:
  """A way to make images worse.

  Attributes:
    what: its levels, for axes: "JPEG quality".
    low: least level.
    high: largest level.
    change: (image [H, W, 3] uint8, level, random numbers of this image) -> image of the same shape.
  """

  what: str
  low: float
  high: float
  change: Change


def _jpeg(image_hwc: np.ndarray, quality: float, _: np.random.Generator) -> np.ndarray:
  return decode_image(encode_jpeg(image_hwc, quality=round(quality)), where="compressed image")


def _pixels(image_hwc: np.ndarray, count: float, _: np.random.Generator) -> np.ndarray:
  """Reduced to about `count` pixels of the same aspect ratio, antialiased, and enlarged again."""
  height, width = image_hwc.shape[:2]
  scale = min(1.0, (count / (height * width)) ** 0.5)
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  small = Image.fromarray(image_hwc).resize(size, Image.Resampling.BICUBIC)
  return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _blur(image_hwc: np.ndarray, sigma: float, _: np.random.Generator) -> np.ndarray:
  return np.asarray(Image.fromarray(image_hwc).filter(ImageFilter.GaussianBlur(sigma)))


def _noise(image_hwc: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
  noisy = image_hwc + sigma * random.standard_normal(image_hwc.shape, np.float32)
  return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _occlusion(image_hwc: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
  """A grey rectangle of the image's aspect ratio that covers `share` of it, at a random place."""
  out, (height, width) = image_hwc.copy(), image_hwc.shape[:2]
  tall, wide = round(height * share**0.5), round(width * share**0.5)
  top, left = random.integers(0, height - tall + 1), random.integers(0, width - wide + 1)
  out[top : top + tall, left : left + wide] = GREY
  return out


DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType({
  "jpeg": Degradation("JPEG quality", 1, 100, _jpeg),
  "pixels": Degradation("pixels", 1, 1e9, _pixels),
  "blur": Degradation("standard deviation of the blur, pixels", 0, 1e3, _blur),
  "noise": Degradation("standard deviation of the noise, of 255", 0, 255, _noise),
  "occlusion": Degradation("share of the image that is covered", 0, 1, _occlusion),
})


class DegradedSource:
  """Some records of a source, made worse.

  What is random depends on the seed and the name of the image: every level has the same places and the same noise pattern.

  Args:
    source: any source.
    record_n: [N] int, its records to keep, in this order.
    name: one of `DEGRADATIONS`; empty changes nothing.
    level: its level.
    seed: of noise and places.
  Raises:
    ValueError: an unknown name, or a level out of range.
  """

  def __init__(self, source: Source, record_n: np.ndarray, name: str = "", level: float = 0.0, seed: int = 0):
    self.source, self.record_n, self.level, self.seed = source, np.asarray(record_n, np.int64), level, seed
    self.change = check_level(name, level).change if name else None
    names = source.names()
    self._names = [names[record] for record in self.record_n]
    self.num_records, self.num_identities = len(self.record_n), source.num_identities
    self.label_n = np.asarray(source.label_n)[self.record_n]
    self.image_shape, self.template = source.image_shape, source.template

  def names(self) -> list[str]:
    """Name of each record."""
    return self._names

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """As `jaxface.data.Source.read`."""
    errors = self.source.read(self.record_n[record_n], out)
    if self.change:
      torn = {error.row for error in errors}
      for row in (row for row in range(len(out)) if row not in torn):
        key = [self.seed, *self._names[int(record_n[row])].encode()]
        out[row] = self.change(out[row], self.level, np.random.default_rng(key))
    return errors


def check_level(name: str, level: float) -> Degradation:
  """The degradation, if it has this level.

  Raises:
    ValueError: an unknown name, or a level out of range.
  """
  check_name("degradation", name, tuple(DEGRADATIONS))
  one = DEGRADATIONS[name]
  if not one.low <= level <= one.high:
    raise ValueError(f"{name} = {level:g}: {one.what} is from {one.low:g} to {one.high:g}")
  return one


__all__ = ["DEGRADATIONS", "Degradation", "DegradedSource", "check_level"]
