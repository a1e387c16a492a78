"""What near-duplicates are found by: digests of files, perceptual hashes, and VLAD of dense local descriptors, in parts that a rerun keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from jaxface.data.image_hash import BITS, perceptual_hash
from jaxface.descriptors.aggregation import fit_words, vlad
from jaxface.descriptors.dense import DENSE_SIZE, dense_descriptors
from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image
from jaxface.formats.members import read_member
from jaxface.formats.npz import npz_array, reading_npz
from jaxface.formats.parallel import num_cores
from jaxface.pipeline.cleaning.state import Cleaning

SIDE, WORDS, COMPONENTS = 64, 16, 128
_PART, _SAMPLE, _BATCH, _FITTED = 4096, 1000, 128, 10_000


@dataclass(frozen=True)
class Fingerprints:
  """Of the readable images.

  Attributes:
    rows: [M] int64, rows of the images.
    digest_m: [M] bytes of 32, of the file.
    hash_mk: [M, 32] uint8, perceptual hashes.
    mirrored_mk: [M, 32] uint8, of the mirror images.
    vlad_mx: [M, X] float32, VLAD on its first principal components, of length one; zeros for an image without contrast.
    mirrored_mx: [M, X] float32, of the mirror images.
    size_m: [M] int64, pixels.
    unreadable: rows of the images that cannot be read, with the reason.
  """

  rows: np.ndarray
  digest_m: np.ndarray
  hash_mk: np.ndarray
  mirrored_mk: np.ndarray
  vlad_mx: np.ndarray
  mirrored_mx: np.ndarray
  size_m: np.ndarray
  unreadable: Sequence[tuple[int, str]]


def grey_image(image_hwc: np.ndarray) -> np.ndarray:
  """[64, 64] float32 grey values."""
  return np.asarray(Image.fromarray(image_hwc).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)


@dataclass(frozen=True)
class Vocabulary:
  """What turns grey images into short vectors: visual words [K, D], and the mean [K·D] and components [K·D, X] of their VLAD."""

  word_kd: np.ndarray
  mean_y: np.ndarray
  component_yx: np.ndarray

  @classmethod
  def fit(cls, grey_nhw: np.ndarray) -> Vocabulary:
    """From a sample of images [N, 64, 64]; equal images give equal words."""
    descriptor_nrd = dense_descriptors(grey_nhw)
    flat_md = descriptor_nrd.reshape(-1, DENSE_SIZE)
    flat_md = flat_md[np.abs(flat_md).max(1) > 0]
    if not len(flat_md):  # images without contrast
      return cls(np.zeros((1, DENSE_SIZE), np.float32), np.zeros(DENSE_SIZE, np.float32), np.eye(DENSE_SIZE, dtype=np.float32))
    word_kd = fit_words(flat_md[:: max(len(flat_md) // _FITTED, 1)], min(WORDS, len(flat_md)))
    vlad_ny = vlad(descriptor_nrd, word_kd)
    if len(grey_nhw) < 2 * COMPONENTS:  # too few for components: different images would come near in those that there are
      return cls(word_kd, np.zeros(word_kd.size, np.float32), np.eye(word_kd.size, dtype=np.float32))
    mean_y = vlad_ny.mean(0)
    _, _, axis_xy = np.linalg.svd(vlad_ny - mean_y, full_matrices=False)
    return cls(word_kd, mean_y, np.ascontiguousarray(axis_xy[:COMPONENTS].T))

  def vectors(self, grey_nhw: np.ndarray) -> np.ndarray:
    """[N, X] float32 of length one, zeros for an image without contrast."""
    vlad_ny = vlad(dense_descriptors(grey_nhw), self.word_kd)
    short_nx = (vlad_ny - self.mean_y) @ self.component_yx
    length_n1 = np.linalg.norm(short_nx, axis=1, keepdims=True)
    plain_n1 = (np.abs(vlad_ny).max(1, keepdims=True) > 0) & (length_n1 > 1e-6)
    return np.where(plain_n1, short_nx / np.maximum(length_n1, 1e-6), 0).astype(np.float32)


@dataclass(frozen=True)
class _One:
  digest: bytes
  hash_k: np.ndarray
  mirrored_k: np.ndarray
  grey_hw: np.ndarray
  pixels: int


def fingerprints(cleaning: Cleaning, *, progress: bool = False, say: Callable[[str], object] = lambda line: None) -> Fingerprints:
  """Reads every image once, for hashes and VLAD; the visual words are fitted to an even sample of the images.

  Args:
    cleaning: of the images.
    progress: draw a progress bar.
    say: called with each line for the user.
  Returns:
    `Fingerprints`.
  Raises:
    DamagedData: no image can be read.
  """
  count = len(cleaning.paths)
  folder, stamp = cleaning.work / "prints", cleaning.source.stamp()[:16]
  folder.mkdir(parents=True, exist_ok=True)
  words_file = folder / f"{stamp}.words.npz"
  with ThreadPoolExecutor(num_cores(), thread_name_prefix="jaxface-clean") as pool:
    if words_file.is_file():
      with reading_npz(words_file) as archive:
        words = Vocabulary(*(npz_array(archive, name) for name in ("words", "mean", "components")))
    else:
      sample = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int)).tolist()
      seen = [one for one in pool.map(lambda row: _read(cleaning, row), sample) if isinstance(one, _One)]
      if not seen:
        raise DamagedData(f"none of {len(sample):,} images of an even sample can be read", file=str(cleaning.source.root))
      words = Vocabulary.fit(np.stack([one.grey_hw for one in seen]))
      with atomic_file(words_file) as out:
        np.savez(out, words=words.word_kd, mean=words.mean_y, components=words.component_yx)
    parts = []
    unreadable: list[tuple[int, str]] = []
    with tqdm(total=count, unit="img", desc="duplicates", disable=not progress) as bar:
      for number, start in enumerate(range(0, count, _PART)):
        file = folder / f"{stamp}.{number:05d}.npz"
        if not file.is_file():
          _write_part(file, cleaning, range(start, min(start + _PART, count)), words, pool)
        with reading_npz(file) as archive:
          part = {name: npz_array(archive, name) for name in ("rows", "digest", "hash", "mirrored", "vlad", "mirrored_vlad", "size", "unread", "why")}
        unreadable += list(zip(part["unread"].tolist(), part["why"].tolist()))
        parts.append(part)
        bar.update(min(start + _PART, count) - start)
  joined = {name: np.concatenate([part[name] for part in parts]) for name in ("rows", "digest", "hash", "mirrored", "vlad", "mirrored_vlad", "size")}
  if unreadable:
    say(f"{len(unreadable):,} images cannot be read (first: {cleaning.paths[unreadable[0][0]]}: {unreadable[0][1]})")
  return Fingerprints(
    joined["rows"], joined["digest"], joined["hash"], joined["mirrored"], joined["vlad"], joined["mirrored_vlad"], joined["size"], unreadable
  )


def _read(cleaning: Cleaning, row: int) -> _One | str:
  path = cleaning.source.images[row].path
  try:
    data = read_member(cleaning.source.root, path)
    image_hwc = decode_image(data, where=str(cleaning.source.root / path))
  except DamagedData as error:
    return error.what
  return _One(hashlib.sha256(data).digest(), *perceptual_hash(image_hwc), grey_image(image_hwc), image_hwc.shape[0] * image_hwc.shape[1])


def _write_part(file: Path, cleaning: Cleaning, rows: range, words: Vocabulary, pool: ThreadPoolExecutor) -> None:
  kept: list[int] = []
  unread: list[tuple[int, str]] = []
  digests, hashes, mirrored, sizes = [], [], [], []
  size = words.component_yx.shape[1]
  vlads = [np.zeros((0, size), np.float32)]
  mirrored_vlads = [np.zeros((0, size), np.float32)]
  for start in range(0, len(rows), _BATCH):
    batch = rows[start : start + _BATCH]
    greys = []
    for row, one in zip(batch, pool.map(lambda row: _read(cleaning, row), batch)):
      if isinstance(one, str):
        unread.append((row, one))
        continue
      kept.append(row)
      greys.append(one.grey_hw)
      digests.append(np.frombuffer(one.digest, np.uint8))
      hashes.append(one.hash_k)
      mirrored.append(one.mirrored_k)
      sizes.append(one.pixels)
    if greys:
      grey_nhw = np.stack(greys)
      vlads.append(words.vectors(grey_nhw))
      mirrored_vlads.append(words.vectors(np.ascontiguousarray(grey_nhw[:, :, ::-1])))
  with atomic_file(file) as out:
    np.savez(
      out, rows=np.array(kept, np.int64), digest=np.array(digests, np.uint8).reshape(-1, 32), hash=np.array(hashes, np.uint8).reshape(-1, BITS // 8),
      mirrored=np.array(mirrored, np.uint8).reshape(-1, BITS // 8), vlad=np.concatenate(vlads), mirrored_vlad=np.concatenate(mirrored_vlads),
      size=np.array(sizes, np.int64), unread=np.array([row for row, _ in unread], np.int64), why=np.array([why for _, why in unread] or [""], np.str_)[: len(unread)],
    )


__all__ = ["COMPONENTS", "SIDE", "WORDS", "Fingerprints", "Vocabulary", "fingerprints", "grey_image"]
