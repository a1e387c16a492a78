"""Pairs of similar vectors or hashes among all: exact, in blocks of constant memory."""

from collections.abc import Callable

import numpy as np

_ROWS = 2048


def near_vectors(
  unit_nd: np.ndarray, mirrored_nd: np.ndarray, least: float, *, rows: int = _ROWS, done: Callable[[int], object] = lambda count: None
) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of images with an inner product of at least `least`, of both vectors or of the one and the other's mirror image.

  A block of rows is compared with all later ones, so that memory does not grow with their number.

  Args:
    unit_nd: [N, D] float, a vector of each image.
    mirrored_nd: [N, D] float, of the mirror image of each.
    least: threshold.
    rows: rows of a block; memory grows with its square.
    done: called with a number of rows that were compared with all later ones.
  Returns:
    pairs [P, 2] int64, a row and a later row, ordered; and the larger of both products [P] float32.
  Raises:
    ValueError: shapes that do not fit.
  """
  if unit_nd.ndim != 2 or unit_nd.shape != mirrored_nd.shape:
    raise ValueError(f"vectors {unit_nd.shape} and mirrored ones {mirrored_nd.shape}: both must be [N, D]")
  return _all_pairs(lambda rows: unit_nd[rows].astype(np.float32), lambda rows: mirrored_nd[rows].astype(np.float32), len(unit_nd), least, rows, done)


def near_hashes_of_one_set(
  hash_nk: np.ndarray, mirrored_nk: np.ndarray, distance: int, *, rows: int = _ROWS, done: Callable[[int], object] = lambda count: None
) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of images whose hashes, or the hash of the one and the mirrored hash of the other, differ in at most `distance` bits.

  The number of differing bits follows from the product of vectors of −1 and 1, which is exact in float32.

  Args:
    hash_nk: [N, K] uint8, packed bits.
    mirrored_nk: [N, K] uint8, of the mirror images.
    distance: bits.
    rows: as in `near_vectors`.
    done: as in `near_vectors`.
  Returns:
    pairs [P, 2] int64, a row and a later row, ordered; and the bits that differ [P] int64, the fewer of both comparisons.
  Raises:
    ValueError: shapes that do not fit, or a negative distance.
  """
  if hash_nk.ndim != 2 or hash_nk.shape != mirrored_nk.shape or hash_nk.dtype != np.uint8 or distance < 0:
    raise ValueError(f"hashes {hash_nk.shape} and {mirrored_nk.shape}: uint8 of one shape, and a distance of 0 or more, not {distance}")
  bits = 8 * hash_nk.shape[1]
  pair_p2, product_p = _all_pairs(
    lambda rows: _signs(hash_nk[rows]), lambda rows: _signs(mirrored_nk[rows]), len(hash_nk), bits - 2 * distance, rows, done
  )
  return pair_p2, ((bits - product_p) // 2).astype(np.int64)


def _all_pairs(
  direct: Callable[[slice], np.ndarray], mirrored: Callable[[slice], np.ndarray], count: int, least: float, rows: int, done: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray]:
  pairs, values = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
  for start in range(0, count, rows):
    left_rd = direct(slice(start, start + rows))
    for other in range(start, count, rows):
      second = slice(other, other + rows)
      product_rr = left_rd @ direct(second).T
      np.maximum(product_rr, left_rd @ mirrored(second).T, out=product_rr)
      row_p, column_p = np.nonzero(product_rr >= least)
      later = row_p + start < column_p + other
      row_p, column_p = row_p[later], column_p[later]
      pairs.append(np.stack([row_p + start, column_p + other], axis=1).astype(np.int64))
      values.append(product_rr[row_p, column_p])
    done(len(left_rd))
  pair_p2, value_p = np.concatenate(pairs), np.concatenate(values)
  order_p = np.lexsort((pair_p2[:, 1], pair_p2[:, 0]))
  return pair_p2[order_p], value_p[order_p]


def _signs(hash_rk: np.ndarray) -> np.ndarray:
  """[R, 8·K] float32 of −1 and 1."""
  return np.unpackbits(hash_rk, axis=1).astype(np.float32) * 2 - 1


__all__ = ["near_hashes_of_one_set", "near_vectors"]
