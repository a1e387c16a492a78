"""Photos of any size in bounded memory: large JPEGs are decoded at a fraction of their size."""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image

from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image, image_size
from jaxface.formats.orientation import jpeg_orientation, upright

# Pixels of a decoded photo, and of a baseline JPEG's header: libjpeg decodes it at down to 1/8 of its size, row by row.
MAX_PIXELS = 64_000_000
MAX_STORED_PIXELS = 1_000_000_000
_SIDEWAYS = range(5, 9)


def shrink_image(image: np.ndarray, largest: int) -> np.ndarray:
  """Reduces the longer side to at most `largest` pixels, by the mean over areas.

  Args:
    image: [H, W, 3] uint8.
    largest: in pixels.
  Returns:
    [h, w, 3] uint8; `image` itself if it is small enough.
  """
  height, width = image.shape[:2]
  factor = max(height, width) / largest
  if factor <= 1:
    return image
  size = (max(1, round(width / factor)), max(1, round(height / factor)))
  return np.array(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def decode_reduced(data: bytes | memoryview, largest: int, *, where: str) -> tuple[np.ndarray, tuple[int, int]]:
  """`decode_image` with the longer side reduced to at most `largest` pixels.

  Args:
    data: the bytes of an image file; of an animation, the first frame is read.
    largest: in pixels.
    where: name for messages.
  Returns:
    [h, w, 3] uint8, upright, and its (height, width) before the reduction, upright.
  Raises:
    DamagedData: truncated, corrupt, huge, or not an image.
  """
  height, width, channels = image_size(data, where=where)
  jpeg = bytes(data[:3]) == b"\xff\xd8\xff"
  if not jpeg or channels == 4 or height * width <= MAX_PIXELS:
    image = decode_image(data, where=where, max_pixels=MAX_PIXELS)
    return shrink_image(image, largest), image.shape[:2]
  if height * width > MAX_STORED_PIXELS or _is_progressive(data):
    kind, most = ("progressive ", MAX_PIXELS) if height * width <= MAX_STORED_PIXELS else ("", MAX_STORED_PIXELS)
    raise DamagedData(f"huge {kind}JPEG: {width}×{height} pixels, at most {most:,} are read", file=where)
  scale = largest / max(height, width)
  try:
    small = simplejpeg.decode_jpeg(data, min_height=max(1, int(height * scale)), min_width=max(1, int(width * scale)))
  except ValueError as error:
    raise DamagedData(f"JPEG cannot be decoded: {error}", file=where) from error
  orientation = jpeg_orientation(data)
  size = (width, height) if orientation in _SIDEWAYS else (height, width)
  return upright(shrink_image(small, largest), orientation), size


def _is_progressive(data: bytes | memoryview) -> bool:
  """Whether a JPEG is stored in several scans, whose coefficients are all in memory while it is decoded."""
  limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
  try:
    return bool(Image.open(io.BytesIO(data)).info.get("progressive"))
  except Exception:  # decoding names the fault
    return False
  finally:
    Image.MAX_IMAGE_PIXELS = limit


__all__ = ["MAX_PIXELS", "MAX_STORED_PIXELS", "decode_reduced", "shrink_image"]
