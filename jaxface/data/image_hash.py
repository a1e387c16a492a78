"""Perceptual hashes: 256 bits of an image that change little when it is resized, compressed again, or made brighter."""

from functools import cache

import numpy as np
from PIL import Image

BITS = 256
_SIDE, _SIZE = 16, 64  # frequencies kept in each direction, and pixels of the reduced image


def perceptual_hash(image_hwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Hash of an image and of its mirror image.

  The image is reduced to 64×64 grey pixels; a bit tells whether one of the 16×16 lowest frequencies of its discrete cosine
  transform is above their median. Source: C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
  section 3.2.1, which keeps 8×8; aligned faces need more bits, since they have the lowest frequencies in common.

  Args:
    image_hwc: [H, W, 3] uint8.
  Returns:
    Two arrays [32] uint8, 256 bits each.
  """
  grey = Image.fromarray(image_hwc).convert("L").convert("F").resize((_SIZE, _SIZE), Image.Resampling.BOX)
  basis = _cosines()
  wave_kk = basis @ np.asarray(grey, np.float64) @ basis.T
  # Mirroring changes the sign of the odd horizontal frequencies.
  mirrored_kk = wave_kk * np.where(np.arange(_SIDE) % 2, -1.0, 1.0)
  return _bits(wave_kk), _bits(mirrored_kk)


def near_hashes(hash_nk: np.ndarray, other_mk: np.ndarray, distance: int) -> np.ndarray:
  """Pairs of hashes that differ in at most `distance` bits.

  Args:
    hash_nk: [N, 32] uint8.
    other_mk: [M, 32] uint8.
    distance: bits.
  Returns:
    [P, 3] int64: row of `hash_nk`, row of `other_mk`, bits that differ; ordered by the first two.
  """
  left_nw, right_mw = hash_nk.view(np.uint64), other_mk.view(np.uint64)
  found = [np.empty((0, 3), np.int64)]
  for start in range(0, len(left_nw), 64):
    block_bw = left_nw[start : start + 64]
    bits_bm = sum(np.bitwise_count(block_bw[:, None, word] ^ right_mw[None, :, word]).astype(np.uint16) for word in range(4))
    row_p, column_p = np.nonzero(np.asarray(bits_bm) <= distance)
    found.append(np.stack([row_p + start, column_p, np.asarray(bits_bm)[row_p, column_p]], axis=1).astype(np.int64))
  return np.concatenate(found)


def _bits(wave_kk: np.ndarray) -> np.ndarray:
  flat = wave_kk.ravel()
  return np.packbits(flat > np.median(flat[1:]))  # without the constant, which is far above all others


@cache
def _cosines() -> np.ndarray:
  """[16, 64] basis of the discrete cosine transform (DCT-II), without normalisation."""
  return np.cos(np.pi * np.arange(_SIDE)[:, None] * (2 * np.arange(_SIZE) + 1) / (2 * _SIZE))


__all__ = ["BITS", "near_hashes", "perceptual_hash"]
