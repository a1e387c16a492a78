"""Principal components, also of rows that do not fit into memory."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.linalg

# Variances below this share of the largest one are rounding errors: whitening would divide by them.
NEGLIGIBLE = 1e-12


class PrincipalComponents(NamedTuple):
  """Directions of largest variance of rows.

  Attributes:
    mean_d: [D] float64, the mean, which is subtracted.
    axis_kd: [K, D] float64, orthonormal, by falling variance; K is the smaller of D and one less than the number of rows.
    variance_k: [K] float64, variance of the rows along each axis, with the divisor N − 1.
  """

  mean_d: np.ndarray
  axis_kd: np.ndarray
  variance_k: np.ndarray

  def apply(self, row_nd: np.ndarray, size: int, *, whiten: bool = False) -> np.ndarray:
    """The first components of rows.

    Args:
      row_nd: [N, D] float.
      size: number of components, at most K.
      whiten: divide each by its standard deviation, so that the rows of the fit have variance one along each axis.
    Returns:
      [N, size] float64.
    Raises:
      ValueError: whitening along an axis without variance.
    """
    found_nk = (row_nd - self.mean_d) @ self.axis_kd[:size].T
    if not whiten:
      return found_nk
    most = int((self.variance_k > NEGLIGIBLE * self.variance_k[:1]).sum())
    if size > most:
      raise ValueError(f"{size} components cannot be whitened: the rows of the fit vary along {most} axes only")
    return found_nk / np.sqrt(self.variance_k[:size])


def fit_components(unit_nd: np.ndarray) -> PrincipalComponents:
  """Principal components of rows.

  Args:
    unit_nd: [N, D] float, N at least 2; rows at length one where directions are compared.
  Raises:
    ValueError: fewer than two rows.
  """
  return fit_components_by_blocks([unit_nd])


def fit_components_by_blocks(blocks: Iterable[np.ndarray], count: int | None = None) -> PrincipalComponents:
  """Principal components of the rows of all blocks, of which one is in memory at a time: exact, in one pass.

  Args:
    blocks: [n, D] float each, with at least 2 rows together. The scatter matrix takes 8 · D² bytes.
    count: number of components to find; None for all. Few of many are found in half the time.
  Raises:
    ValueError: fewer than two rows, or blocks of different sizes D.
  """
  rows, mean_d, scatter_dd = 0, np.zeros(0), np.zeros((0, 0))
  for block_nd in blocks:
    if not len(block_nd):
      continue
    block_nd = np.asarray(block_nd, np.float64)
    if not rows:
      mean_d, scatter_dd = np.zeros(block_nd.shape[1]), np.zeros((block_nd.shape[1],) * 2)
    elif block_nd.shape[1] != len(mean_d):
      raise ValueError(f"rows of {len(mean_d)} and of {block_nd.shape[1]} numbers: components need rows of one size")
    here_d = block_nd.mean(0)
    around_nd, apart_d = block_nd - here_d, here_d - mean_d
    total = rows + len(block_nd)
    scatter_dd += around_nd.T @ around_nd
    scatter_dd += np.outer(apart_d, apart_d) * (rows * len(block_nd) / total)
    mean_d = mean_d + apart_d * (len(block_nd) / total)
    rows = total
  if rows < 2:
    raise ValueError(f"{rows} embeddings: principal components need at least two")
  # Of the covariance, [D, D], which is far smaller than the rows; eigenvalues ascend.
  size = len(mean_d)
  most = min(size, rows - 1, size if count is None else count)
  if most < size // 4:
    value_k, axis_dk = scipy.linalg.eigh(scatter_dd, subset_by_index=(size - most, size - 1))
  else:
    value_k, axis_dk = np.linalg.eigh(scatter_dd)
  return PrincipalComponents(mean_d, axis_dk[:, ::-1].T[:most], np.maximum(value_k[::-1][:most], 0) / (rows - 1))


__all__ = ["PrincipalComponents", "fit_components", "fit_components_by_blocks"]
