"""Linear support vector regression, by scikit-learn."""

from typing import Any

import numpy as np

from jaxface.alignment.ridge import checked_means

_ITERATIONS = 1000


def fit_svr(feature_nd: np.ndarray, target_nt: np.ndarray, *, penalty: float, insensitive: float) -> tuple[np.ndarray, np.ndarray]:
  """The weights W that minimise the mean of max(0, |x W + b − y| − ε)², summed over targets, plus λ ‖W‖².

  Features and targets are taken less their means, and b is what follows from that; with ε = 0 the result is that of `fit_ridge`.

  Args:
    feature_nd: [N, D] features x.
    target_nt: [N, T] targets y; each is a regression of its own.
    penalty: λ > 0.
    insensitive: ε ≥ 0, the error that costs nothing, in units of the targets.
  Returns:
    [D, T] and [T] float64.
  Raises:
    ValueError: a penalty that is not positive, a negative ε, lengths that differ, numbers that are not finite, or no convergence.
    ModuleNotFoundError: scikit-learn is not installed; says how to get it.
  Source: Ho, Lin, "Large-scale Linear Support Vector Regression", 2012, eq. 2 and 3 with the squared loss.
  """
  solver = _linear_svr()
  if not (np.isfinite(insensitive) and insensitive >= 0):
    raise ValueError(f"insensitive is {insensitive}: it must be a number of at least 0")
  mean_d, mean_t = checked_means(feature_nd, target_nt, penalty)
  centred_nd, aim_nt = feature_nd - mean_d, target_nt - mean_t
  weight_dt = np.zeros((feature_nd.shape[1], target_nt.shape[1]))
  for index, aim_n in enumerate(aim_nt.T):
    # Where no error costs anything, the weights are zero, and liblinear has no slope to begin with.
    if np.abs(aim_n).max() <= insensitive:
      continue
    machine = solver(
      epsilon=insensitive, C=1 / (2 * penalty * len(aim_n)), loss="squared_epsilon_insensitive", dual=False, fit_intercept=False, tol=1e-5,
      max_iter=_ITERATIONS,
    )
    machine.fit(centred_nd, aim_n)
    if machine.n_iter_ >= _ITERATIONS:
      raise ValueError(f"the support vector regression of target {index} did not converge in {_ITERATIONS:,} iterations: use a larger penalty than {penalty:g}")
    weight_dt[:, index] = machine.coef_
  return weight_dt, mean_t - mean_d @ weight_dt


def _linear_svr() -> Any:
  try:
    from sklearn.svm import LinearSVR
  except ModuleNotFoundError:
    raise ModuleNotFoundError(
      "support vector regression needs scikit-learn: pip install 'jaxface[verifiers]'. Only the training does; its model runs without it"
    ) from None
  return LinearSVR


__all__ = ["fit_svr"]
