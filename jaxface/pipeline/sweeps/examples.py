"""One image at each level of a sweep, as pictures."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxface.data.degrade import DegradedSource
from jaxface.data.source import Source
from jaxface.formats.atomic import atomic_file

GAP = 4
_WHITE = 255


def example_images(source: Source, record: int, axis: str, levels: Sequence[float], seed: int) -> list[tuple[float | None, np.ndarray]]:
  """An image at each level, and unchanged at the end.

  Args:
    source: the images.
    record: number of the image.
    axis: one of `jaxface.data.DEGRADATIONS`.
    levels: its levels.
    seed: of what is random.
  Returns:
    (level, image [H, W, 3] uint8) pairs; the level of the unchanged image is None.
  """
  found: list[tuple[float | None, np.ndarray]] = []
  for level in (*levels, None):
    one = DegradedSource(source, np.array([record]), "" if level is None else axis, level or 0.0, seed)
    out = np.empty((1, *source.image_shape), np.uint8)
    for error in one.read(np.array([0]), out):
      raise error
    found.append((level, out[0]))
  return found


def data_url(image_hwc: np.ndarray) -> str:
  """An image as a data URL, PNG: further compression would change what the picture shows."""
  return "data:image/png;base64," + base64.b64encode(_png(image_hwc)).decode()


def write_strip(path: Path, images: Sequence[np.ndarray]) -> None:
  """Write images of one size side by side, as PNG."""
  height, _, channels = images[0].shape
  gap = np.full((height, GAP, channels), _WHITE, np.uint8)
  parts = [part for image in images for part in (gap, image)][1:]
  with atomic_file(path) as file:
    file.write(_png(np.concatenate(parts, axis=1)))


def _png(image_hwc: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(image_hwc).save(file, "PNG", optimize=True)
  return file.getvalue()


__all__ = ["data_url", "example_images", "write_strip"]
