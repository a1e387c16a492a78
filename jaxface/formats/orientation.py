"""EXIF orientation: found by walking a JPEG's segments, applied to pixels."""

from __future__ import annotations

import struct

import numpy as np

UPRIGHT = 1
_TAG = 0x0112
_EXIF = b"Exif\0\0"
# A file has some ten segments; one with a large colour profile or preview image has some hundred.
_MAX_SEGMENTS = 4096
# Transform to the upright orientation, by the value of the tag.
_TURNS = {
  2: lambda image: image[:, ::-1],
  3: lambda image: image[::-1, ::-1],
  4: lambda image: image[::-1],
  5: lambda image: image.swapaxes(0, 1),
  6: lambda image: image[::-1].swapaxes(0, 1),
  7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
  8: lambda image: image[:, ::-1].swapaxes(0, 1),
}


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
  """Rotates and mirrors stored pixels according to their EXIF orientation.

  Args:
    image: [H, W, C].
    orientation: 1 to 8, the value of the EXIF tag.
  Returns:
    [H, W, C], or [W, H, C] for orientations 5 to 8; C-contiguous.
  Source: CIPA DC-008 (Exif 2.32), tag 0x0112.
  """
  turn = _TURNS.get(orientation)
  return image if turn is None else np.ascontiguousarray(turn(image))


def jpeg_orientation(data: bytes | memoryview) -> int:
  """The EXIF orientation of a JPEG, at any position of the EXIF segment in its header.

  Args:
    data: the bytes of a JPEG file.
  Returns:
    1 to 8; 1 if the EXIF data are missing or damaged.
  """
  return exif_orientation(_exif_of_jpeg(data))


def exif_orientation(exif: bytes) -> int:
  """The orientation in a block of EXIF data.

  Args:
    exif: a TIFF header and its first directory, with or without "Exif" before it.
  Returns:
    1 to 8; 1 if the data contain none, or are damaged.
  """
  tiff = exif.removeprefix(_EXIF)
  order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
  if order is None or len(tiff) < 10:
    return UPRIGHT
  (start,) = struct.unpack_from(f"{order}I", tiff, 4)
  if start + 2 > len(tiff):
    return UPRIGHT
  (entries,) = struct.unpack_from(f"{order}H", tiff, start)
  for at in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
    tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, at)
    if tag != _TAG:
      continue
    # SHORT by the standard; some writers use BYTE or LONG.
    form = {1: "B", 3: "H", 4: "I"}.get(kind)
    value = struct.unpack_from(order + form, tiff, at + 8)[0] if form and count == 1 else UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT
  return UPRIGHT


def _exif_of_jpeg(data: bytes | memoryview) -> bytes:
  """The EXIF data of a JPEG, from all its EXIF segments, since a segment has at most 64 kB."""
  data = bytes(data)
  parts, at = [], 2
  for _ in range(_MAX_SEGMENTS):
    at = data.find(b"\xff", at)  # decoders skip other bytes between segments
    if at < 0 or at + 4 > len(data):
      break
    marker = data[at + 1]
    if marker == 0xFF:  # fill bytes before a marker
      at += 1
    elif marker in (0xD9, 0xDA):  # the end, or the first scan, which is followed by pixels
      break
    elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # markers without content
      at += 2
    else:
      end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
      if marker == 0xE1 and data.startswith(_EXIF, at + 4):
        parts.append(data[at + 4 + len(_EXIF) : end])
      at = end
  return b"".join(parts)


__all__ = ["UPRIGHT", "exif_orientation", "jpeg_orientation", "upright"]
