"""One vector of an image from its local descriptors: how often each visual word occurs, or VLAD, the differences from the nearest words."""

import numpy as np

_ROUNDS = 15


def fit_words(descriptor_md: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
  """Visual words: centres of k-means, begun with k-means++.

  Args:
    descriptor_md: [M, D] float, descriptors of some images.
    count: K, number of words.
    seed: of the first centres.
  Returns:
    [K, D] float32.
  Raises:
    ValueError: fewer descriptors than words.
  """
  descriptor_md = np.asarray(descriptor_md, np.float32)
  if len(descriptor_md) < count:
    raise ValueError(f"{count} words need as many descriptors, there are {len(descriptor_md)}")
  generator = np.random.default_rng(seed)
  word_kd = descriptor_md[generator.integers(len(descriptor_md), size=1)]
  for _ in range(count - 1):
    far_m = np.maximum(_squared(descriptor_md, word_kd).min(1), 0).astype(np.float64)
    draw = far_m / far_m.sum() if far_m.sum() > 0 else None
    word_kd = np.concatenate([word_kd, descriptor_md[generator.choice(len(descriptor_md), size=1, p=draw)]])
  for _ in range(_ROUNDS):
    nearest_m = _squared(descriptor_md, word_kd).argmin(1)
    total_kd = np.zeros_like(word_kd, np.float64)
    np.add.at(total_kd, nearest_m, descriptor_md)
    count_k = np.bincount(nearest_m, minlength=count)
    # A word without descriptors stays where it is.
    word_kd = np.where(count_k[:, None] > 0, total_kd / np.maximum(count_k, 1)[:, None], word_kd).astype(np.float32)
  return word_kd


def vlad(descriptor_nrd: np.ndarray, word_kd: np.ndarray) -> np.ndarray:
  """Sums of the differences of descriptors from their nearest word, each word's sum scaled to length one, then all.

  Descriptors of zeros, of regions without contrast, do not count; an image with no others gives zeros.

  Args:
    descriptor_nrd: [N, R, D] local descriptors of each image.
    word_kd: [K, D] words.
  Returns:
    [N, K·D] float32, of length one.
  Source: H. Jégou et al., "Aggregating Local Descriptors into a Compact Image Representation", 2010; R. Arandjelović and A. Zisserman,
    "All about VLAD", 2013 (intra-normalisation).
  """
  images, _, size = descriptor_nrd.shape
  flat_md, kept, cell = _words_of(descriptor_nrd, word_kd)
  nearest = cell % len(word_kd)
  # Descriptors in order of their cell, so that each sum is one slice.
  order = np.argsort(cell, kind="stable")
  first = np.flatnonzero(np.diff(cell[order], prepend=-1))
  found_xd = np.zeros((images * len(word_kd), size), np.float32)
  if len(first):
    found_xd[cell[order][first]] = np.add.reduceat((flat_md[kept] - word_kd[nearest])[order], first, axis=0)
  found_xd /= np.maximum(np.linalg.norm(found_xd, axis=1, keepdims=True), 1e-6)
  found_nx = found_xd.reshape(images, -1)
  length_n1 = np.linalg.norm(found_nx, axis=1, keepdims=True)
  return np.where(length_n1 > 0, found_nx / np.maximum(length_n1, 1e-6), 0).astype(np.float32)


def bag_of_words(descriptor_nrd: np.ndarray, word_kd: np.ndarray) -> np.ndarray:
  """Histograms of visual words: how many descriptors of an image have each word as the nearest one.

  Descriptors of zeros, of regions without contrast, do not count; an image with no others gives zeros. Vectors have length one, so that
  their product is the cosine of the histograms.

  Args:
    descriptor_nrd: [N, R, D] local descriptors of each image.
    word_kd: [K, D] words, the dictionary (`fit_words`).
  Returns:
    [N, K] float32.
  Source: J. Sivic, A. Zisserman, "Video Google: A Text Retrieval Approach to Object Matching in Videos", 2003; G. Csurka et al., "Visual
    Categorization with Bags of Keypoints", 2004.
  """
  _, _, cell = _words_of(descriptor_nrd, word_kd)
  count_nk = np.bincount(cell, minlength=len(descriptor_nrd) * len(word_kd)).reshape(-1, len(word_kd))
  return (count_nk / np.maximum(np.linalg.norm(count_nk, axis=1, keepdims=True), 1)).astype(np.float32)


def _words_of(descriptor_nrd: np.ndarray, word_kd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Descriptors [M, D] of all images, numbers of those that are not zero, and image · K + nearest word of each of these."""
  flat_md = np.asarray(descriptor_nrd, np.float32).reshape(-1, descriptor_nrd.shape[-1])
  kept = np.flatnonzero(np.abs(flat_md).max(1) > 0) if len(flat_md) else np.zeros(0, np.int64)
  return flat_md, kept, kept // descriptor_nrd.shape[1] * len(word_kd) + _squared(flat_md[kept], word_kd).argmin(1)


def _squared(x_md: np.ndarray, word_kd: np.ndarray) -> np.ndarray:
  """[M, K] squared distances."""
  return (x_md**2).sum(1)[:, None] - 2 * (x_md @ word_kd.T) + (word_kd**2).sum(1)


__all__ = ["bag_of_words", "fit_words", "vlad"]
