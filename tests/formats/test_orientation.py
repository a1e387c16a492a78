"""EXIF orientation: all eight, in every format, wherever in the file it stands; Pillow and arrays are the oracle."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from jaxface.formats.images import decode_image, is_plain_jpeg
from jaxface.formats.orientation import exif_orientation, jpeg_orientation, upright

ORIENTATIONS = range(1, 9)
# By the standard: which side of the stored picture is shown at the top, and which at the left.
CORNER = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "bl", 7: "br", 8: "tr"}


def picture(height=24, width=40) -> np.ndarray:
  """Its corners differ: red, green, blue, white from the upper left one, row by row."""
  image = np.zeros((height, width, 3), np.uint8)
  for (row, column), colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))):
    image[row * height // 2 :, column * width // 2 :] = colour
  return image


def exif_of(orientation: int, **tags) -> Image.Exif:
  exif = Image.Exif()
  exif[0x0112] = orientation
  for tag, value in tags.items():
    exif[int(tag[1:], 16)] = value
  return exif


def jpeg(orientation: int, *, mode: str = "RGB", **tags) -> bytes:
  file = io.BytesIO()
  image = Image.fromarray(picture()).convert(mode)
  image.save(file, "JPEG", quality=95, subsampling=0, exif=exif_of(orientation, **tags))
  return file.getvalue()


def with_segments(data: bytes, *segments: tuple[int, bytes], before_exif: bool = True) -> bytes:
  """The file with more segments in its header: right behind its first marker, or behind all segments that Pillow wrote."""
  at = 2 if before_exif else data.index(b"\xff\xdb")
  block = b"".join(b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
  return data[:at] + block + data[at:]


def shown(data: bytes) -> np.ndarray:
  return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def assert_shown(data: bytes) -> None:
  expected, found = shown(data), decode_image(data, where="x")
  assert found.shape == expected.shape
  assert np.abs(found.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_all_eight_by_hand(orientation):
  image = np.array([["tl", "tr"], ["bl", "br"]])[..., None]
  turned = upright(image, orientation)
  # 5 to 8 swap rows and columns: the neighbour to the right of the first corner was its neighbour below.
  assert turned[0, 0, 0] == CORNER[orientation]
  right = {1: "tr", 2: "tl", 3: "bl", 4: "br", 5: "bl", 6: "tl", 7: "tr", 8: "br"}[orientation]
  assert turned[0, 1, 0] == right


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(orientation, mode):
  data = jpeg(orientation, mode=mode)
  assert_shown(data)
  assert is_plain_jpeg(data) == (orientation == 1 and mode == "RGB")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_formats(orientation, kind):
  file = io.BytesIO()
  options = {"lossless": True} if kind == "WEBP" else {}
  Image.fromarray(picture()).save(file, kind, exif=exif_of(orientation), **options)
  np.testing.assert_array_equal(decode_image(file.getvalue(), where="x"), upright(picture(), orientation))


def test_png_with_its_exif_behind_the_pixels():
  file = io.BytesIO()
  Image.fromarray(picture()).save(file, "PNG", exif=exif_of(6))
  data = file.getvalue()
  at = data.index(b"eXIf") - 4
  chunk = data[at : at + 12 + int.from_bytes(data[at : at + 4], "big")]
  end = data.index(b"IEND") - 4
  moved = data[:at] + data[at + len(chunk) : end] + chunk + data[end:]
  np.testing.assert_array_equal(decode_image(moved, where="x"), upright(picture(), 6))


def test_png_with_damaged_exif_keeps_its_pixels():
  info = PngImagePlugin.PngInfo()
  info.add(b"eXIf", b"MM\0*\0\0\0\xff")
  file = io.BytesIO()
  Image.fromarray(picture()).save(file, "PNG", pnginfo=info)
  np.testing.assert_array_equal(decode_image(file.getvalue(), where="x"), picture())


@pytest.mark.parametrize("size", [4_000, 5_000, 60_000])
@pytest.mark.parametrize("count", [1, 5])
def test_segments_before_exif(size, count):
  """A colour profile, an XMP packet or a preview image may come first: 20 kB are common, 4 kB were looked at."""
  profile = [(0xE2, b"ICC_PROFILE\0" + bytes([number + 1, count]) + b"x" * size) for number in range(count)]
  xmp = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"y" * size)
  data = with_segments(jpeg(6), *profile, xmp)
  assert data.index(b"Exif\0\0") > 4000
  assert_shown(data)
  assert not is_plain_jpeg(data)


def test_a_large_tag_inside_exif_before_the_directory():
  """The directory may lie behind its values: here 50 kB of a description, so that the tag itself stands late."""
  body = b"d" * 50_000
  entries = struct.pack("<HHHIIHHIHHI", 2, 0x010E, 2, len(body), 8, 0x0112, 3, 1, 8, 0, 0)
  exif = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8 + len(body)) + body + entries
  assert exif_orientation(exif) == 8
  data = with_segments(jpeg(1), (0xE1, exif))
  plain = data.replace(jpeg(1)[2:][: jpeg(1).index(b"\xff\xdb") - 2], b"", 1)  # without the segments that Pillow wrote
  assert jpeg_orientation(plain) == 8
  assert_shown(plain)


def test_exif_in_two_segments():
  """More than 64 kB of EXIF data go on in a second segment."""
  body = b"d" * 80_000
  entries = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 5, 0, 0)
  tiff = b"MM\0*" + struct.pack(">I", 8 + len(body)) + body + entries
  head = jpeg(1)
  bare = head[:2] + head[head.index(b"\xff\xdb") :]
  data = with_segments(bare, (0xE1, b"Exif\0\0" + tiff[:65_000]), (0xE1, b"Exif\0\0" + tiff[65_000:]))
  assert jpeg_orientation(data) == 5
  assert_shown(data)


def test_padding_and_rubbish_between_segments():
  data = jpeg(3)
  assert jpeg_orientation(data[:2] + b"\xff\xff" + data[2:]) == 3
  assert jpeg_orientation(data[:2] + b"\0\0" + data[2:]) == 3


def test_a_word_in_the_pixels_is_no_exif():
  """The thumbnail or a comment may spell "Exif"; a walk is not misled by it, and stops where pixels begin."""
  comment = (0xFE, b"Exif\0\0II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0))
  data = with_segments(jpeg(1), comment)
  assert jpeg_orientation(data) == 1
  start = data.index(b"\xff\xda")
  late = data[: start + 12] + b"\xff\xe1" + comment[1] + data[start + 12 :]
  assert jpeg_orientation(late) == 1


def test_types_of_the_tag():
  for kind, value in ((1, b"\6\0\0\0"), (3, b"\6\0\0\0"), (4, b"\6\0\0\0")):
    tiff = b"II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, 1) + value
    assert exif_orientation(tiff) == 6
  for kind, count, value in ((3, 1, 9), (3, 1, 0), (2, 1, 6), (3, 2, 6)):
    tiff = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, kind, count, value, 0)
    assert exif_orientation(tiff) == 1


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_damaged_headers_say_nothing_and_do_no_harm(junk, at, byte):
  assert exif_orientation(junk) in ORIENTATIONS
  assert exif_orientation(b"MM\0*" + junk) in ORIENTATIONS
  assert jpeg_orientation(b"\xff\xd8\xff" + junk) in ORIENTATIONS
  data = bytearray(jpeg(6))
  data[min(at, len(data) - 1)] = byte
  assert jpeg_orientation(bytes(data)) in ORIENTATIONS


def test_a_file_of_empty_segments_ends_the_walk():
  data = b"\xff\xd8" + b"\xff\xe0\0\2" * 5000 + jpeg(6)[2:]
  assert jpeg_orientation(data) == 1


@pytest.mark.real_data
def test_a_real_face_with_a_long_header(face_data):
  """A face of CelebA with a profile of 20 kB before its EXIF data is decoded upright."""
  path = next(iter(sorted((face_data / "celeba_aligned112").glob("*/*.jpg"))))
  face = Image.open(path)
  file = io.BytesIO()
  face.rotate(90, expand=True).save(file, "JPEG", quality=98, subsampling=0, exif=exif_of(6), icc_profile=b"p" * 20_000)
  data = file.getvalue()
  exif, rest = data.index(b"\xff\xe1"), data.index(b"\xff\xe2")
  assert exif < rest  # Pillow writes EXIF first, cameras and editors need not
  block = data[exif:rest]
  end = rest + 2 + int.from_bytes(data[rest + 2 : rest + 4], "big")
  data = data[:exif] + data[rest:end] + block + data[end:]
  found = decode_image(data, where="x").astype(int)
  assert np.abs(found - np.asarray(face.convert("RGB"))).mean() < 2
  assert np.abs(np.rot90(found) - np.asarray(face.convert("RGB"))).mean() > 10
