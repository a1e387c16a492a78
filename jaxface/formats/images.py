"""Decoding and encoding of images: JPEG by libjpeg-turbo, other formats by Pillow, with bounded sizes."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from jaxface.formats.errors import DamagedData
from jaxface.formats.orientation import UPRIGHT, jpeg_orientation, upright

# The decoders are imported where they are used: training on a machine without them reads no image.
if TYPE_CHECKING:
  from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff", ".gif")

_JPEG_MAGIC = b"\xff\xd8\xff"
_EXIF_ORIENTATION = 0x0112


def _open(data: bytes | memoryview, where: str) -> Image.Image:
  from PIL import Image, UnidentifiedImageError

  try:
    with warnings.catch_warnings():
      # Pillow warns about large sizes; `decode_image` has its own bound and error.
      warnings.simplefilter("ignore", Image.DecompressionBombWarning)
      return Image.open(io.BytesIO(data))
  except Image.DecompressionBombError as error:
    raise DamagedData(f"huge image: {error}", file=where) from error
  except UnidentifiedImageError as error:
    raise DamagedData(f"not an image that can be read ({len(data)} bytes): no known format", file=where) from error
  except Exception as error:  # Pillow's plugins raise many kinds of errors on damaged headers
    raise DamagedData(f"not an image that can be read ({len(data)} bytes): {error}", file=where) from error


def image_size(data: bytes | memoryview, *, where: str = "image") -> tuple[int, int, int]:
  """Reads height, width and number of channels from the header only.

  Args:
    data: the bytes of an image file.
    where: name for messages.
  Returns:
    (height, width, channels) as stored, before any EXIF rotation.
  Raises:
    DamagedData: the header cannot be read.
  """
  if bytes(data[:3]) == _JPEG_MAGIC:
    import simplejpeg

    try:
      height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
      raise DamagedData(f"JPEG header cannot be read: {error}", file=where) from error
    return height, width, {"Gray": 1, "CMYK": 4, "YCCK": 4}.get(space, 3)
  image = _open(data, where)
  return image.height, image.width, len(image.getbands())


def is_plain_jpeg(data: bytes | memoryview, *, where: str = "image") -> bool:
  """Whether the bytes are a three-channel JPEG without EXIF rotation.

  Args:
    data: the bytes of an image file.
    where: name for messages.
  Returns:
    False for other formats, grey or CMYK JPEGs, and JPEGs with an EXIF rotation.
  Raises:
    DamagedData: the header cannot be read.
  """
  return (
    bytes(data[:3]) == _JPEG_MAGIC
    and image_size(data, where=where)[2] == 3
    and jpeg_orientation(data) == UPRIGHT
  )


def _orientation(image: Image.Image) -> int:
  """Orientation of an image other than JPEG: EXIF data of PNG (eXIf and text) or WebP, or the TIFF tag if Pillow kept it."""
  try:
    return int(image.getexif().get(_EXIF_ORIENTATION, UPRIGHT))
  except Exception:  # the pixels may be sound despite damaged EXIF data
    return UPRIGHT


def decode_image(data: bytes | memoryview, *, where: str, max_pixels: int = 64_000_000) -> np.ndarray:
  """Decodes any supported image to RGB, rotated according to its EXIF data.

  Grey is repeated, CMYK and palettes are converted, 16 bits are scaled to 8, transparency is dropped.

  Args:
    data: the bytes of an image file.
    where: name for messages.
    max_pixels: larger images are rejected before memory is allocated.
  Returns:
    [H, W, 3] uint8.
  Raises:
    DamagedData: truncated, corrupt, huge, or not an image.
  """
  height, width, channels = image_size(data, where=where)
  if height * width > max_pixels:
    raise DamagedData(f"huge image: {width}×{height} pixels, at most {max_pixels:,} are read", file=where)
  jpeg = bytes(data[:3]) == _JPEG_MAGIC
  if jpeg and channels != 4:
    import simplejpeg

    try:
      return upright(simplejpeg.decode_jpeg(data), jpeg_orientation(data))
    except ValueError as error:
      raise DamagedData(f"JPEG cannot be decoded: {error}", file=where) from error
  from PIL import Image

  image = _open(data, where)
  try:
    image.load()
    orientation = jpeg_orientation(data) if jpeg else _orientation(image)
    if image.mode.startswith("I"):
      image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
      raise ValueError("floating-point pixels have no known range: save them as 8 or 16 bits")
    return upright(np.array(image.convert("RGB")), orientation)
  except Exception as error:  # Pillow's plugins raise many kinds of errors on damaged data
    raise DamagedData(f"image cannot be decoded: {error}", file=where) from error


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
  """Encodes RGB pixels as JPEG; equal pixels give equal bytes.

  Args:
    image: [H, W, 3] uint8.
    quality: 1 to 100; chroma is kept at full resolution from 90 up.
  Returns:
    The bytes of a JPEG file.
  """
  import simplejpeg

  return simplejpeg.encode_jpeg(
    np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="444" if quality >= 90 else "420"
  )


def fit_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Crops centrally to the aspect ratio of `size`, then resizes with an antialiasing bicubic filter.

  Args:
    image: [H, W, 3] uint8.
    size: (height, width) of the result.
  Returns:
    [height, width, 3] uint8.
  """
  if image.shape[:2] == tuple(size):
    return image
  from PIL import Image, ImageOps

  return np.array(ImageOps.fit(Image.fromarray(image), (size[1], size[0]), method=Image.Resampling.BICUBIC))
