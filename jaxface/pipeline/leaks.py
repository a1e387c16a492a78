"""Finds images and identities that stand in a training set and in a test set."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.data.config import open_records
from jaxface.data.folder import FolderSource
from jaxface.data.image_hash import BITS, near_hashes, perceptual_hash
from jaxface.data.source import Source, identity_names, read_image
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import FILE
from jaxface.formats.parallel import num_cores

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
class IdentityLeak:
  """An identity of the training set with the name of one of the test set.

  Attributes:
    train: its name in the training set.
    test: its name in the test set.
  """

  train: str
  test: str


@dataclass(frozen=True)
class Leaks:
  """What a training set has of a test set.

  Attributes:
    train_images: number of images compared, of the training set.
    test_images: likewise of the test set.
    images: pairs of images, the closest first.
    identities: pairs of identities, by name.
    notes: lines for the user: what was not compared.
  """

  train_images: int
  test_images: int
  images: tuple[ImageLeak, ...]
  identities: tuple[IdentityLeak, ...]
  notes: tuple[str, ...] = ()

  def __bool__(self) -> bool:
    """Whether anything was found."""
    return bool(self.images or self.identities)

  def summary(self) -> str:
    """One line for a terminal."""
    where = f"{self.train_images:,} training and {self.test_images:,} test images"
    if not self:
      return f"no image and no identity name of the test set is in the training set ({where})"
    people = {leak.test for leak in self.identities}
    pictures = {leak.test for leak in self.images}
    return f"{len(pictures):,} test images and {len(people):,} test identities are in the training set ({where})"

  def to_json(self) -> dict[str, Any]:
    """Everything as plain JSON values."""
    return asdict(self)


def find_leaks(train: str | Path, test: str | Path, *, distance: int = DISTANCE, progress: bool = False) -> Leaks:
  """Compare two sets of images: decoded pixels, perceptual hashes (also mirrored), and the names of identities.

  Args:
    train: folder of images of any size, or packed records.
    test: likewise.
    distance: largest number of differing bits, of 256, between the hashes of near-identical images.
    progress: draw progress bars.
  Returns:
    `Leaks`.
  Raises:
    ValueError: a distance outside 0 … 128.
    FileNotFoundError: no images there.
  """
  if not 0 <= distance <= BITS // 2:
    raise ValueError(f"distance is {distance}: hashes have {BITS} bits, and unrelated ones differ in about {BITS // 2}")
  left, right = (_Prints.of(open_photos(path), f"{what} images", progress) for what, path in (("training", train), ("test", test)))
  names, name_notes = _same_names(left.people, right.people)
  notes = [f"{what} set: {note}" for what, one in (("training", left), ("test", right)) for note in one.notes]
  return Leaks(len(left.names), len(right.names), tuple(_same_images(left, right, distance)), names, (*notes, *name_notes))


def open_photos(path: str | Path) -> Source:
  """Packed records, or a folder of images of any size."""
  return open_records(path) if (Path(path) / FILE).is_file() else FolderSource(path, size=None)


def photo_reader(source: Source) -> Callable[[int], np.ndarray]:
  """A function that reads one whole image [H, W, 3] uint8 by record number."""
  return source.read_whole if isinstance(source, FolderSource) else partial(read_image, source)


@dataclass(frozen=True)
class _Prints:
  """Fingerprints of the readable images of a set: [N] digests of pixels, [N, 32] hashes, [N, 32] hashes of the mirror images."""

  names: list[str]
  people: list[str]
  digests: list[bytes]
  hash_nk: np.ndarray
  mirrored_nk: np.ndarray
  notes: list[str]

  @classmethod
  def of(cls, source: Source, what: str, progress: bool) -> "_Prints":
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


def _same_images(left: _Prints, right: _Prints, distance: int) -> list[ImageLeak]:
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


def _same_names(train: list[str], test: list[str]) -> tuple[tuple[IdentityLeak, ...], list[str]]:
  """Identities whose names agree but for case, accents, punctuation and order of the words; notes on numbered identities."""
  notes, known = [], []
  for what, names in (("training", train), ("test", test)):
    kept = [name for name in names if not _NUMBER.fullmatch(name)]
    known.append(kept)
    if len(kept) < len(names):
      notes.append(f"{what} set: {len(names) - len(kept):,} of {len(names):,} identities are numbers, not names, and were not compared by name")
  by_key: dict[str, list[str]] = {}
  for name in known[0]:
    if key := plain_name(name):
      by_key.setdefault(key, []).append(name)
  return tuple(IdentityLeak(other, name) for name in known[1] for other in by_key.get(plain_name(name), ())), notes


# A number, also after a word: 0000123, n000042, person_17, m.01abc.
_NUMBER = re.compile(r"[a-z._-]*\d{2,}|\d|m\.[0-9a-z_]+", re.IGNORECASE)


def plain_name(name: str) -> str:
  """A person's name without case, accents, punctuation and order of its words."""
  letters = unicodedata.normalize("NFKD", name).casefold()
  words = re.findall(r"[^\W\d_]+", "".join(one for one in letters if not unicodedata.combining(one)))
  return " ".join(sorted(words))


__all__ = [
  "DISTANCE", "IdentityLeak", "ImageLeak", "Leaks", "find_leaks", "open_photos", "photo_reader", "plain_name",
]
