"""Images of two sets with equal pixels or near-identical perceptual hashes, also of mirror images."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tqdm import tqdm

from jaxface.data.image_hash import BITS, near_hashes, perceptual_hash
from jaxface.data.source import Source, identity_names
from jaxface.formats.errors import DamagedData
from jaxface.formats.parallel import num_cores
from jaxface.pipeline.leaks.photos import photo_reader

# Bits: between those of changed copies and of other photos in aligned LFW, see docs/check_image_hash.py.
DISTANCE = 40
IDENTICAL, NEAR, MIRRORED = "same pixels", "near-identical", "mirrored"
_CHUNK = 256


@dataclass(frozen=True)
class ImageLeak:
  """An image of the training set that is an image of the test set.

  Attributes:
    kind: "same pixels", "near-identical", or "mirrored".
    train: name of the training image.
    test: name of the test image.
    bits: of the 256 bits of their hashes, how many differ.
  """

  kind: str
  train: str
  test: str
  bits: int


@dataclass(frozen=True)
class Prints:
  """Fingerprints of the readable images of a set: [N] digests of pixels, [N, 32] hashes, [N, 32] hashes of the mirror images."""

  names: list[str]
  people: list[str]
  digests: list[bytes]
  hash_nk: np.ndarray
  mirrored_nk: np.ndarray
  notes: list[str]

  @classmethod
  def of(cls, source: Source, what: str, progress: bool) -> "Prints":
    names, found, unread = source.names(), [], []
    for name, one in zip(tqdm(names, desc=what, unit="image", disable=not progress), _in_threads(source)):
      found.append((name, *one)) if one else unread.append(name)
    notes = [f"{len(unread):,} images cannot be read and were not compared, the first is {unread[0]}"] if unread else []
    hashes = np.array([one[2:] for one in found], np.uint8).reshape(len(found), 2, BITS // 8)
    return cls(
      [one[0] for one in found], _people(source), [one[1] for one in found], np.ascontiguousarray(hashes[:, 0]),
      np.ascontiguousarray(hashes[:, 1]), notes,
    )


def _in_threads(source: Source) -> Iterator[tuple[bytes, np.ndarray, np.ndarray] | None]:
  """Fingerprint of each image in order; None for one that cannot be read."""
  read = photo_reader(source)

  def prints(record: int) -> tuple[bytes, np.ndarray, np.ndarray] | None:
    try:
      image_hwc = read(record)
    except DamagedData:
      return None
    digest = hashlib.sha256(repr(image_hwc.shape).encode() + np.ascontiguousarray(image_hwc).tobytes())
    return digest.digest(), *perceptual_hash(image_hwc)

  records = iter(range(source.num_records))
  with ThreadPoolExecutor(num_cores(), thread_name_prefix="jaxface-leaks") as pool:
    while chunk := list(islice(records, _CHUNK)):  # bounded memory
      yield from pool.map(prints, chunk)


def _people(source: Source) -> list[str]:
  """Names of the identities; the folders of the images if the source has no names."""
  return identity_names(source) or sorted({name.split("/", 1)[0] for name in source.names() if "/" in name})


def same_images(left: Prints, right: Prints, distance: int) -> list[ImageLeak]:
  """All pairs, each with its closest kind; the closest pairs first."""
  bits: dict[tuple[int, int], tuple[int, str]] = {}
  for kind, hash_mk in ((NEAR, right.hash_nk), (MIRRORED, right.mirrored_nk)):
    for train, test, differ in near_hashes(left.hash_nk, hash_mk, distance).tolist():
      bits[train, test] = min(bits.get((train, test), (BITS, kind)), (differ, kind))
  rows: dict[bytes, list[int]] = {}
  for row, digest in enumerate(right.digests):
    rows.setdefault(digest, []).append(row)
  for train, digest in enumerate(left.digests):
    bits.update({(train, test): (0, IDENTICAL) for test in rows.get(digest, ())})
  order = sorted(bits.items(), key=lambda item: (item[1][0], item[1][1] != IDENTICAL, item[0]))
  return [ImageLeak(kind, left.names[train], right.names[test], differ) for (train, test), (differ, kind) in order]


__all__ = ["DISTANCE", "IDENTICAL", "MIRRORED", "NEAR", "ImageLeak", "Prints", "same_images"]
