"""EXIF orientation: found by walking a JPEG's segments, applied to pixels."""

from __future__ import annotations

import struct

import numpy as np

UPRIGHT = 1
_TAG = 0x0112
_EXIF = b"Exif\0\0"
# A file has some ten segments; one with a large colour profile or preview image has some hundred.
_MAX_SEGMENTS = 4096
# What brings stored pixels the right way up, by the value of the tag.
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
  """Turns and mirrors stored pixels the way up that their EXIF data says.

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
  """The EXIF orientation of a JPEG, wherever in its header the EXIF segment lies.

  Args:
    data: the bytes of a JPEG file.
  Returns:
    1 to 8; 1 where there is no EXIF data, or damaged EXIF data.
  """
  return exif_orientation(_exif_of_jpeg(data))


def exif_orientation(exif: bytes) -> int:
  """The orientation that a block of EXIF data states.

  Args:
    exif: a TIFF header and its first directory, with or without "Exif" before it.
  Returns:
    1 to 8; 1 where the data state none, or are damaged: they say nothing about the pixels then.
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
    # SHORT by the standard; some writers make it a BYTE or a LONG.
    form = {1: "B", 3: "H", 4: "I"}.get(kind)
    value = struct.unpack_from(order + form, tiff, at + 8)[0] if form and count == 1 else UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT
  return UPRIGHT


def _exif_of_jpeg(data: bytes | memoryview) -> bytes:
  """The EXIF data of a JPEG: that of all its EXIF segments, since one holds 64 kB at most."""
  data = bytes(data)
  parts, at = [], 2
  for _ in range(_MAX_SEGMENTS):
    at = data.find(b"\xff", at)  # between segments decoders skip what is no marker
    if at < 0 or at + 4 > len(data):
      break
    marker = data[at + 1]
    if marker == 0xFF:  # a marker may be padded with any number of these
      at += 1
    elif marker in (0xD9, 0xDA):  # the end, or the first scan: what follows is pixels
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
