"""Linear regression with a penalty on the weights, in closed form."""

import numpy as np

# Rows of which products are summed at once: bounds the memory of their copies in float64.
_ROWS = 2048


def checked_means(feature_nd: np.ndarray, target_nt: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
  """Means of features [D] and of targets [T], float64, of a regression that can be solved.

  Args:
    feature_nd: [N, D] features.
    target_nt: [N, T] targets.
    penalty: λ.
  Raises:
    ValueError: a penalty that is not positive, lengths that differ, or numbers that are not finite.
  """
  if not (np.isfinite(penalty) and penalty > 0):
    raise ValueError(f"the penalty is {penalty}: it must be a positive number")
  if len(feature_nd) != len(target_nt) or not len(feature_nd):
    raise ValueError(f"{len(feature_nd)} rows of features and {len(target_nt)} of targets: needs as many, at least one")
  mean_d, mean_t = feature_nd.mean(0, dtype=np.float64), target_nt.mean(0, dtype=np.float64)
  if not (np.isfinite(mean_d).all() and np.isfinite(mean_t).all()):
    raise ValueError("features or targets are not finite")
  return mean_d, mean_t


def fit_ridge(feature_nd: np.ndarray, target_nt: np.ndarray, *, penalty: float) -> tuple[np.ndarray, np.ndarray]:
  """The weights W and bias b that minimise the mean of ‖x W + b − y‖², plus λ ‖W‖²; the bias is free.

  With X and Y less their means, W = (XᵀX + λ N I)⁻¹ XᵀY, or, where there are fewer rows than features, the equal Xᵀ (XXᵀ + λ N I)⁻¹ Y; by
  Cholesky's decomposition in float64.

  Args:
    feature_nd: [N, D] features x.
    target_nt: [N, T] targets y.
    penalty: λ > 0.
  Returns:
    [D, T] and [T] float64.
  Raises:
    ValueError: a penalty that is not positive, lengths that differ, or numbers that are not finite.
  """
  from scipy.linalg import cho_factor, cho_solve

  mean_d, mean_t = checked_means(feature_nd, target_nt, penalty)
  aim_nt = target_nt - mean_t
  count, size = feature_nd.shape

  def rows(start: int) -> np.ndarray:
    return feature_nd[start : start + _ROWS] - mean_d

  if count < size:
    # Products of blocks of columns: rows need not be in memory in float64 together.
    gram = np.zeros((count, count))
    for start in range(0, size, _ROWS):
      part = feature_nd[:, start : start + _ROWS] - mean_d[start : start + _ROWS]
      gram += part @ part.T
    gram[np.diag_indices(count)] += penalty * count
    dual_nt = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), aim_nt)
    weight_dt = sum(rows(start).T @ dual_nt[start : start + _ROWS] for start in range(0, count, _ROWS))
  else:
    gram, right_dt = np.zeros((size, size)), np.zeros((size, aim_nt.shape[1]))
    for start in range(0, count, _ROWS):
      part = rows(start)
      gram += part.T @ part
      right_dt += part.T @ aim_nt[start : start + _ROWS]
    gram[np.diag_indices(size)] += penalty * count
    weight_dt = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), right_dt)
  return weight_dt, mean_t - mean_d @ weight_dt


__all__ = ["checked_means", "fit_ridge"]
