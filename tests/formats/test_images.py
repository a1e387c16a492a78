"""Every kind of image becomes RGB of eight bits, or is named as damaged; Pillow and arrays are the oracle."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image, encode_jpeg, fit_image, image_size, is_plain_jpeg


def saved(image: Image.Image, kind: str, **options) -> bytes:
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def picture(height=20, width=30) -> np.ndarray:
  y, x = np.mgrid[:height, :width]
  return np.stack([x * 8, y * 8, 255 - x * 4], -1).astype(np.uint8)


def mean_error(left, right) -> float:
  return np.abs(left.astype(int) - right.astype(int)).mean()


def test_jpeg_keeps_the_picture():
  assert mean_error(decode_image(encode_jpeg(picture()), where="x"), picture()) < 2


def test_encoding_is_deterministic():
  assert encode_jpeg(picture()) == encode_jpeg(picture().copy())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_lossless_formats_are_exact(kind):
  data = saved(Image.fromarray(picture()), kind, **({"lossless": True} if kind == "WEBP" else {}))
  np.testing.assert_array_equal(decode_image(data, where="x"), picture())
  assert image_size(data) == (20, 30, 3)
  assert not is_plain_jpeg(data)


def test_grey_is_repeated():
  for kind in ("JPEG", "PNG"):
    data = saved(Image.fromarray(picture()[..., 0]), kind)
    image = decode_image(data, where="x")
    assert image.shape == (20, 30, 3)
    assert (image == image[..., :1]).all()
    assert image_size(data)[2] == 1
    assert not is_plain_jpeg(data)


def test_cmyk_is_converted():
  data = saved(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
  assert image_size(data)[2] == 4
  assert not is_plain_jpeg(data)
  assert mean_error(decode_image(data, where="x"), picture()) < 4


def test_sixteen_bits_are_scaled():
  deep = (np.arange(20 * 30).reshape(20, 30) * 109).astype(np.uint16)
  image = decode_image(saved(Image.fromarray(deep), "PNG"), where="x")
  np.testing.assert_array_equal(image, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, -1))


def test_sixteen_bit_colour_is_scaled():
  deep = np.stack([np.full((4, 5), value) for value in (0x1234, 0x8001, 0xFFFF)], -1)

  def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
  png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
  png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
  assert decode_image(png, where="x")[0, 0].tolist() == [0x12, 0x80, 0xFF]


def test_transparency_and_palettes():
  solid = np.dstack([picture(), np.full((20, 30), 255, np.uint8)])
  np.testing.assert_array_equal(decode_image(saved(Image.fromarray(solid), "PNG"), where="x"), picture())
  palette = Image.fromarray(picture()).quantize(16)
  np.testing.assert_array_equal(decode_image(saved(palette, "PNG"), where="x"), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("keep", [0, 2, 20, 200, -40])
def test_truncated_jpeg_is_damaged_and_named(keep):
  data = encode_jpeg(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
  with pytest.raises(DamagedData, match=r"^folder/face\.jpg: ") as caught:
    decode_image(data[:keep], where="folder/face.jpg")
  assert caught.value.file == "folder/face.jpg"


def test_truncated_png_text_and_float_are_damaged():
  png = saved(Image.fromarray(picture()), "PNG")
  for data in (png[:-30], b"not an image", saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")):
    with pytest.raises(DamagedData):
      decode_image(data, where="x")


def test_huge_images_are_refused_before_memory_is_taken():
  def header(side: int) -> bytes:
    content = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(content)) + struct.pack(">I", 1000) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content + end

  jpeg = bytearray(encode_jpeg(picture()))
  at = jpeg.index(b"\xff\xc0") + 5
  jpeg[at : at + 4] = struct.pack(">HH", 60000, 60000)
  tracemalloc.start()
  for data in (header(9000), header(60000), bytes(jpeg)):
    with pytest.raises(DamagedData, match="huge"):
      decode_image(data, where="x")
  assert tracemalloc.get_traced_memory()[1] < 5_000_000
  tracemalloc.stop()
  with pytest.raises(DamagedData, match="30×20 pixels, at most 500 "):
    decode_image(encode_jpeg(picture()), where="x", max_pixels=500)


def test_fit_crops_the_centre_and_keeps_what_fits():
  image = np.zeros((40, 80, 3), np.uint8)
  image[:, 20:60] = 200
  np.testing.assert_array_equal(fit_image(image, (40, 40)), np.full((40, 40, 3), 200))
  np.testing.assert_array_equal(fit_image(image, (20, 20))[2:-2, 2:-2], np.full((16, 16, 3), 200))
  assert fit_image(image, (40, 80)) is image
  assert fit_image(image, (112, 96)).shape == (112, 96, 3)
